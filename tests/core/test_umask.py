"""What is written can be read by whom the umask lets read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from omp_cli.core.base.files import atomic
from tests.conftest import TINY, Omp


@pytest.fixture(params=[0o022, 0o027, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_all_that_a_run_leaves_is_as_open_as_the_umask_says(omp: Omp, toy: Path, tmp_path: Path, umask: int) -> None:
    out = tmp_path / "run"
    done = omp("pretrain", toy, "--steps", 2, *TINY, "--out", out)
    assert done.code == 0, done.err
    paths = [out, *out.rglob("*")]
    assert {"model.safetensors", "ema.safetensors", "manifest.json", "policy.json"} <= {p.name for p in paths}
    assert {p: oct(mode(p)) for p in paths if mode(p) != (0o777 if p.is_dir() else 0o666) & ~umask} == {}


def test_what_can_be_executed_stays_so_and_nothing_is_left_over(tmp_path: Path, umask: int) -> None:
    with atomic(tmp_path / "folder") as temporary:
        (temporary / "below").mkdir(parents=True, mode=0o700)
        save_file({"x": torch.zeros(1)}, temporary / "below" / "w.safetensors")
        (temporary / "script").touch(mode=0o700)
    assert mode(tmp_path / "folder" / "script") == 0o700 | 0o666 & ~umask
    assert mode(tmp_path / "folder" / "below" / "w.safetensors") == 0o666 & ~umask
    assert mode(tmp_path / "folder" / "below") == 0o777 & ~umask
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
