"""What holds for every source of data, those of suites included."""

from typing import Any

import pytest

from omp_cli.commands import options
from omp_cli.core.base.errors import UsageError
from omp_cli.core.families import SOURCES, SUITES
from omp_cli.core.prepare.source import FILES, RECORD, Asked, own_sources, source_for
from tests.cli.test_bad_input import refused
from tests.conftest import Omp

OFFERED = options.union(*(SOURCES.get(name).Config for name in SOURCES.names()))
VALUES: dict[Any, tuple[str, ...]] = {bool: (), int: ("3",), float: ("0.5",), str: ("x",)}


def line_of(name: str) -> tuple[str, ...]:
    """A line of omp prepare that means this source."""
    suite, _, own = name.partition("/")
    if name == RECORD:
        return ("toy",)
    if name == FILES:
        return ("kitchen",)
    return (suite, *(() if own == FILES else ("--source", own)))


@pytest.mark.parametrize("name", SOURCES.names())
def test_a_source_belongs_to_a_suite_or_to_all(name: str) -> None:
    suite, _, own = name.partition("/")
    assert name in (RECORD, FILES) or (suite in SUITES.names() and own)
    words = line_of(name)
    found = source_for(Asked(words[0], source=words[2] if len(words) > 1 else None))
    assert found is SOURCES.get(name)


@pytest.mark.parametrize("name", SOURCES.names())
def test_an_option_of_another_source_is_refused_and_one_of_its_own_sets_what_it_says(
    name: str, omp: Omp, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_CLI_CACHE", str(tmp_path / "cache"))
    known = {option.name: option for option in options.options_of(SOURCES.get(name).Config)}
    assert known.keys() < {option.name for option in OFFERED}, "each lacks something that another has"
    for option in OFFERED:
        given = (*line_of(name), option.name, *VALUES[option.kind])
        if option.name not in known:
            refused(omp("prepare", *given, "--dry-run"), 2, f"{option.name} does not go with")
        elif not option.flag.key and option.kind is not str:
            shown = omp("prepare", *given, "--dry-run", "--json")
            if shown.code == 0:  # one that is fetched by hand, or has no such thing, is refused for that
                assert shown.json["config"][known[option.name].key]["source"] == "flag"
    assert list(tmp_path.iterdir()) == []


def test_what_has_nothing_to_record_asks_for_a_source() -> None:
    with pytest.raises(UsageError, match="gym has no scripted expert") as found:
        source_for(Asked("gym"))
    assert "sb3" in found.value.hint
    assert own_sources() == {"gym": ["sb3"], "robomimic": ["scripted", "scripted-noisy"]}
    assert source_for(Asked("gym", only_files=True)) is SOURCES.get(FILES)
    assert source_for(Asked("nosuch")) is SOURCES.get(RECORD), "which says that there is no such suite"


def test_settings_that_name_another_data_set_than_the_line_are_refused(omp: Omp) -> None:
    for words in ("suite=gym", "task=mixed"):
        line = ("prepare", "kitchen", "--task", "complete", "--source", "d4rl", "--set", words)
        refused(omp(*line, "--dry-run"), 2, words.partition("=")[0], "is asked for")
