"""The file of a sweep: what it may say, and what is told about a wrong one."""

from pathlib import Path

import pytest

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.sweep.config import read_sweep, slug

GOOD = """
seeds = [0, 1]
tasks = ["hammer"]
prepare = "metaworld --points 512"
pretrain = ["--set", "train.steps=3", "--lr", 0.1]
[variants."omp dde"]
pretrain = "--set 'encoder.channels=[8, 16]'"
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "s.toml"
    file.write_text(text)
    return file


def test_words_are_a_string_as_for_a_shell_or_a_list(tmp_path: Path) -> None:
    found = read_sweep(write(tmp_path, GOOD))
    assert found.prepare == ("metaworld", "--points", "512")
    assert found.pretrain == ("--set", "train.steps=3", "--lr", "0.1")
    assert found.variants["omp dde"].pretrain == ("--set", "encoder.channels=[8, 16]")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[variants.", "[variant.", ("variants", "required")),
        ("seeds", "seedz", ("unknown setting seedz", "seeds")),
        ("[0, 1]", "[0, 'a']", ("seeds.1",)),
        ('pretrain = "--set', 'pretrian = "--set', ("omp dde", "pretrian")),
        ("--points 512", "--task hammer", ("prepare", "--task")),
        ("--set 'enc", "--seed=3 --set 'enc", ("pretrain", "--seed=3")),
        ("--set 'enc", "--out there --set 'enc", ("pretrain", "--out")),
        ("--points 512", "-thammer", ("prepare", "-thammer")),
        ("[0, 1]", "[-1]", ("seeds.0",)),
        ("omp dde", "x" * 101, ("at most 100",)),
        ("[variants", "finetune = ''\n[variants.'omp dde, fine-tuned']\n[variants", ("'omp dde'", "fine-tuned")),
        ("16]'", "16]", ("pretrain", "quotation")),
        ("omp dde", "---", ("'---'", "letter")),
        ("[variants", "[variants.omp_dde]\n[variants", ("'omp_dde'", "'omp dde'")),
        ("[variants", "[vari ants", ("s.toml", "line 6")),
        ('[variants."omp dde"]', "[variants]", ("variants.pretrain",)),
    ],
)
def test_one_line_says_what_is_wrong(tmp_path: Path, old: str, new: str, words: tuple[str, ...]) -> None:
    assert old in GOOD
    with pytest.raises(UsageError) as caught:
        read_sweep(write(tmp_path, GOOD.replace(old, new, 1)))
    assert "\n" not in caught.value.message
    for word in (str(tmp_path), *words):
        assert word in f"{caught.value.message} {caught.value.hint}"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_sweep(tmp_path / "s.toml")


def test_names_as_folders() -> None:
    assert slug("OMP, no DA (eps 0.01)") == "omp-no-da-eps-0.01"
    assert slug("..") == ""
