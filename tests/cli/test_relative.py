"""``chunk.relative`` through the commands: a policy whose actions count from the state is one like any other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import omp_cli
from omp_cli.core.checkpoint import open_run
from omp_cli.core.data.store import read_store
from tests.cli.test_bad_input import refused
from tests.cli.test_finetune import ONE, QUICK
from tests.conftest import TINY, Omp

RELATIVE = ("--set", "chunk.relative=0-1=0", "--set", "chunk.relative_state=0-2")


@pytest.fixture
def counting(omp: Omp, toy: Path, tmp_path: Path) -> Path:
    """A run of a few steps on the toy, whose velocities count from the arm's position: nonsense, and arithmetic."""
    done = omp("pretrain", toy, "--steps", 10, *TINY, *RELATIVE, "--out", tmp_path / "counting")
    assert done.code == 0, done.err
    return tmp_path / "counting"


def test_every_command_takes_it(omp: Omp, counting: Path, tmp_path: Path) -> None:
    policy = open_run(counting)[-1].load("ema", torch.device("cpu"))
    assert [(part.first, part.count) for part in policy.spec.relative_actions] == [(0, 2)]
    for name, line in {
        "eval": ("eval", counting, *ONE),
        "offline": ("eval", counting, "--offline", "--on", "train"),
        "dmpo": ("finetune", counting, "--set", "algorithm.bc.weight=0.1", *QUICK),
        "latency": ("bench-latency", counting, "--nfe", 1, "--budget", 0.2, "--backend", "eager"),
        "student": (
            "pretrain",
            data_of(counting),
            "--method",
            "onedp",
            "--teacher",
            counting,
            "--steps",
            5,
            *TINY,
            *RELATIVE,
        ),
    }.items():
        done = omp(*line, "--out", tmp_path / name)
        assert done.code == 0, (name, done.err)


def data_of(run: Path) -> Path:
    return Path(json.loads((run / "manifest.json").read_text())["inputs"][0]["path"])


def test_an_export_gives_out_what_the_policy_does(omp: Omp, counting: Path, tmp_path: Path) -> None:
    data = read_store(data_of(counting))
    assert omp("export", counting, "--format", "pt2", "--out", tmp_path / "x").code == 0
    frame = {key: data.arrays[key][3] for key in ("state", "point_cloud")}
    ours, theirs = (omp_cli.load(path, seed=0).act(frame) for path in (counting, tmp_path / "x" / "policy.pt2"))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_what_is_wrong_is_one_line(omp: Omp, toy: Path, tmp_path: Path) -> None:
    line = ("pretrain", toy, "--steps", 10, *TINY, "--out", tmp_path / "r")
    refused(omp(*line, "--set", "chunk.relative=0"), 2, "chunk.relative: 0: the state has no action[0]", "0=PLACE")
    refused(omp(*line, "--set", "chunk.relative=0:pose"), 2, "0:pose: a pose is x, y, z and a rotation")
