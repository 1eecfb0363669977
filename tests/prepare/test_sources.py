"""What holds for every source of data, those of suites included."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.flags import options_of, union
from omp_cli.core.families import SOURCES, SUITES
from omp_cli.core.prepare.choose import own_sources, source_for
from omp_cli.core.prepare.source import EXPERT, FILES, RECORD, Asked
from tests.cli.test_bad_input import refused
from tests.conftest import Omp

OFFERED = union(*(SOURCES.get(name).Config for name in SOURCES.names()))
VALUES: dict[Any, tuple[str, ...]] = {bool: (), int: ("3",), float: ("0.5",), str: ("x",), list[Path]: ("x",)}


@pytest.fixture(scope="module")
def expert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with an expert in it."""
    file = tmp_path_factory.mktemp("expert") / "e.npz"
    np.savez(file, w0=np.eye(2), b0=np.zeros(2))
    return file


def line_of(name: str, expert: Path) -> tuple[str, ...]:
    """A line of omp prepare that means this source."""
    suite, _, own = name.partition("/")
    if name == RECORD:
        return ("toy",)
    if name == FILES:
        return ("kitchen",)
    if name == EXPERT:
        return ("toy", "--expert", str(expert))
    return (suite, *(() if own == FILES else ("--source", own)))


@pytest.mark.parametrize("name", SOURCES.names())
def test_a_source_belongs_to_a_suite_or_to_all(name: str, expert: Path) -> None:
    suite, _, own = name.partition("/")
    assert name in (RECORD, FILES, EXPERT) or (suite in SUITES.names() and own)
    words = line_of(name, expert)
    chosen = dict(zip(words[1::2], words[2::2], strict=True))
    found = source_for(
        Asked(words[0], source=chosen.get("--source"), expert=Path(e) if (e := chosen.get("--expert")) else None)
    )
    assert found is SOURCES.get(name)


@pytest.mark.parametrize("name", SOURCES.names())
def test_an_option_of_another_source_is_refused_and_one_of_its_own_sets_what_it_says(
    name: str, omp: Omp, expert: Path, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_CLI_CACHE", str(tmp_path / "cache"))
    known = {option.name: option for option in options_of(SOURCES.get(name).Config)}
    assert known.keys() < {option.name for option in OFFERED}, "each lacks something that another has"
    for option in OFFERED:
        given = (*line_of(name, expert), option.name, *VALUES[option.kind])
        if option.name not in known:
            refused(omp("prepare", *given, "--dry-run"), 2, f"{option.name} does not go with")
        elif not option.flag.key and option.kind is not str:
            shown = omp("prepare", *given, "--dry-run", "--json")
            if shown.code == 0:  # one that is fetched by hand, or has no such thing, is refused for that
                assert shown.json["config"][known[option.name].key]["source"] == "flag"
    assert list(tmp_path.iterdir()) == []


def test_what_has_nothing_to_record_asks_for_a_source() -> None:
    with pytest.raises(UsageError, match="gym has no scripted expert") as refusal:
        source_for(Asked("gym"))
    assert "sb3" in refusal.value.hint
    shipped = {
        "adroit": ["dapg"],
        "gym": ["sb3"],
        "robomimic": ["robosuite", "scripted", "scripted-disturbed", "scripted-noisy"],
    }
    found = {suite: names for suite, names in own_sources().items() if suite in shipped}
    assert found == shipped  # a plugin of another test may have brought a suite with its own
    assert source_for(Asked("gym", only_files=True)) is SOURCES.get(FILES)
    assert source_for(Asked("nosuch")) is SOURCES.get(RECORD), "which says that there is no such suite"


def test_settings_that_name_another_data_set_than_the_line_are_refused(omp: Omp) -> None:
    for words in ("suite=gym", "task=mixed"):
        line = ("prepare", "kitchen", "--task", "complete", "--source", "d4rl", "--set", words)
        refused(omp(*line, "--dry-run"), 2, words.partition("=")[0], "is asked for")
