"""The catalogue: whole, unambiguous, and as the facts have it; one's own on top."""

import re
from pathlib import Path

import pytest

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.data.catalogue import Catalogue, cache_folder, read_catalogue
from omp_cli.core.data.readers import FORMATS


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_CLI_CATALOGUE", raising=False)


@pytest.fixture
def catalogue() -> Catalogue:
    return read_catalogue()


def test_every_set_is_named_once_and_can_be_used(catalogue: Catalogue) -> None:
    assert len({e.name for e in catalogue.entries}) == len(catalogue.entries) > 100
    for entry in catalogue.entries:
        assert catalogue.suite(entry.suite).facts(entry.task) is not None, entry.name
        assert entry.format in (*FORMATS.names(), "robomimic-raw", "expert"), entry.name
        assert (entry.fetched == "by hand") == (entry.page is not None)
        assert not entry.checked, "no address was opened with this omp"
        assert len({f.name for f in entry.files}) == len(entry.files), "they share a folder of the cache"
        for file in entry.files:
            for url in entry.urls(file):
                assert re.fullmatch(r"https?://[\w./-]+\.(hdf5|npz|json|pickle)", url), url
                assert "drive.google.com" not in url, "Drive is never scraped"


def test_the_papers_sets_are_there(catalogue: Catalogue) -> None:
    for task in ("lift", "can", "square", "transport"):
        for source in ("ph", "mh", "ph-v141", "mh-v141", "dmpo-img", "dmpo-state", "dppo-img"):
            assert catalogue.find("robomimic", task, source).task == task
    url = "https://huggingface.co/datasets/robomimic/robomimic_datasets/resolve/main/v1.5/can/ph/low_dim_v15.hdf5"
    can = catalogue.find("robomimic", "can", None)
    assert can.urls(can.files[0]) == (url,)
    hopper = catalogue.find("gym", "hopper-medium", "d4rl")
    assert [u.rpartition("/")[2] for u in hopper.urls(hopper.files[0])] == ["hopper_medium-v2.hdf5"] * 2
    partial = catalogue.find("kitchen", "partial", "minari")
    assert (partial.files[0].size, partial.max_steps) == (155875701, 450)
    assert catalogue.find("adroit", "pen-human", None).format == "d4rl"
    assert catalogue.find("robomimic", "lift", "mh").max_steps == 500
    assert all(s.facts(s.task) is not None for s in catalogue.suites.values())


def test_sizes_say_what_is_exact(catalogue: Catalogue) -> None:
    assert catalogue.find("robomimic", "can", "ph").size == "~58 MB"
    assert catalogue.find("robomimic", "lift", "ph").size == "unknown"
    assert catalogue.find("robomimic", "transport", "mh-image").size == "~32,000 MB"


def test_wrong_names_get_the_nearest(catalogue: Catalogue) -> None:
    for arguments, words in (
        (("robomimik", "can", None), "robomimic"),
        (("robomimic", "cann", None), "did you mean can"),
        (("robomimic", "can", "hp"), "ph"),
    ):
        with pytest.raises(UsageError) as error:
            catalogue.find(*arguments)
        assert words in error.value.hint


OWN = """
schema = 1
[suites.mine]
task = "push"
tasks = { push = { max_steps = 5, control_hz = 2.0 } }
[[group]]
licence = "MIT"
format = "robomimic"
base = "http://localhost/"
sets = [{ suite = "mine", task = "push", source = "a", files = ["a.hdf5"] },
        { suite = "robomimic", task = "can", source = "ph", files = ["b.hdf5"] }]
"""


def test_ones_own_catalogue_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalogue: Catalogue) -> None:
    (tmp_path / "c.toml").write_text(OWN)
    monkeypatch.setenv("OMP_CLI_CATALOGUE", str(tmp_path / "c.toml"))
    both = read_catalogue()
    assert len(both.entries) == len(catalogue.entries) + 1
    entry = both.find("robomimic", "can", None)
    assert entry.urls(entry.files[0]) == ("http://localhost/b.hdf5",)
    assert both.suite("mine").facts("push") is not None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("schema = 1", "schema = 9", "schema 9"),
        ("schema = 1", "schema = = 1", "c.toml"),
        ('licence = "MIT"', "", "licence"),
        ('base = "http://localhost/"', "", "needs either a base or a page"),
        ('"a.hdf5"', '{ path = "a.hdf5", sha256 = "12" }', "sha256"),
        ("max_steps = 5", "max_steps = 0", "max_steps"),
    ],
)
def test_a_malformed_catalogue_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, words: str
) -> None:
    (tmp_path / "c.toml").write_text(OWN.replace(old, new, 1))
    monkeypatch.setenv("OMP_CLI_CATALOGUE", str(tmp_path / "c.toml"))
    with pytest.raises(DataError, match=words) as error:
        read_catalogue()
    assert "\n" not in error.value.message
    monkeypatch.setenv("OMP_CLI_CATALOGUE", str(tmp_path / "none.toml"))
    with pytest.raises(DataError, match="no such file"):
        read_catalogue()


def test_the_home_folder_of_nobody_is_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_CLI_CATALOGUE", "~nobody-of-that-name/c.toml")
    with pytest.raises(DataError, match=r"catalogue ~nobody-of-that-name/c\.toml: no such file"):
        read_catalogue()
    monkeypatch.setenv("OMP_CLI_CACHE", "~nobody-of-that-name/cache")
    assert cache_folder() == Path("~nobody-of-that-name/cache")
    monkeypatch.setenv("OMP_CLI_CACHE", "~/cache")
    assert cache_folder() == Path.home() / "cache"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"schema = 1\n# \xff", "not UTF-8"),
        (b"schema = 1\nsuites = [1]", "suites is a list, expected an object"),
        (b"schema = 1\nsuites = {gym = 1}", "suites.gym"),
        (b"schema = 1\ngroup = 3", "group is the number 3, expected a list"),
        (b"schema = 1\ngroup = [1]", "one of group is the number 1, expected a table"),
        (b"schema = 1\n[[group]]\nsets = [1]", "group 1: one of sets is the number 1, expected a table"),
        (b"a = " + 20_000 * b"[", "own.toml"),
        (b"schema = " + 10_000 * b"9", "own.toml"),
    ],
)
def test_a_catalogue_of_any_content_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, words: str
) -> None:
    (tmp_path / "own.toml").write_bytes(text)
    monkeypatch.setenv("OMP_CLI_CATALOGUE", str(tmp_path / "own.toml"))
    with pytest.raises(DataError) as error:
        read_catalogue()
    assert words in error.value.message
    assert "own.toml" in error.value.message
    assert "\n" not in error.value.message


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OMP_CLI_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() == tmp_path / "x" / "omp-cli"
    monkeypatch.setenv("OMP_CLI_CACHE", str(tmp_path / "y"))
    assert cache_folder() == tmp_path / "y"
