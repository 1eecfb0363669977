"""The command line as real processes: killed, terminated, interrupted, several at once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from omp_cli.core.base.files import read_jsonl
from omp_cli.core.base.manifest import read_manifest
from omp_cli.core.base.run import CHECKPOINTS, EPISODES
from omp_cli.core.checkpoint import EMA, MODEL, TRAINING, checkpoints_in, load_tensors
from tests.conftest import TINY, in_process, omp_process

LONG = ["--steps", "120", *TINY, "--set", "train.keep=2"]
LONG += ["--derivative", "dde", "--epsilon", "auto"]  # measured once; a resumed run has to take the same number


def wait_for(path: Path, process: subprocess.Popen[str], count: int = 1) -> None:
    """Wait until ``count`` checkpoints are there."""
    deadline = time.monotonic() + 120
    while len(checkpoints_in(path)) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=180)
    return process.returncode, out, err


def same_weights(a: Path, b: Path) -> None:
    for name in (MODEL, EMA, TRAINING):
        one, two = (load_tensors(checkpoints_in(p / CHECKPOINTS)[-1] / name) for p in (a, b))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[k], two[k]) for k in one), name


def test_killed_terminated_and_interrupted_runs_continue_to_the_same_bits(workshop: Path, tmp_path: Path) -> None:
    in_process(tmp_path, "pretrain", workshop / "toy", *LONG, "--out", "whole")
    cut = tmp_path / "cut"
    process = omp_process("pretrain", workshop / "toy", *LONG, "--out", cut)
    wait_for(cut / CHECKPOINTS, process)
    process.send_signal(signal.SIGKILL)
    assert finish(process)[0] == -signal.SIGKILL
    assert read_manifest(cut).status == "running"
    (cut / CHECKPOINTS / ".step-00000120.99.tmp").mkdir()  # what a kill in the middle of a write leaves

    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        newest = checkpoints_in(cut / CHECKPOINTS)[-1]
        process = omp_process("pretrain", "--resume", cut)
        deadline = time.monotonic() + 120
        while checkpoints_in(cut / CHECKPOINTS)[-1] == newest:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        got, _, err = finish(process)
        assert got == code, err
        assert "--resume" in err
        assert read_manifest(cut).status == "interrupted"

    code, _, err = finish(omp_process("pretrain", "--resume", cut))
    assert code == 0, err
    assert "continuing at step" in err
    assert read_manifest(cut).status == "succeeded"
    assert not list((cut / CHECKPOINTS).glob(".*"))
    same_weights(tmp_path / "whole", cut)


def test_prepare_killed_and_continued_gives_the_same_content(workshop: Path, tmp_path: Path) -> None:
    line = ["prepare", "toy", "--demos", 8, "--points", 48, "--workers", 2, "--out", tmp_path / "toy"]
    process = omp_process(*line)
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "toy" / ".episodes").glob("*.npz"))) < 2 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    finish(process)
    code, _, err = finish(omp_process(*line))
    assert code == 0, err
    one, two = (read_manifest(p).metrics["content_sha256"] for p in (workshop / "toy", tmp_path / "toy"))
    assert one == two


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_eval_can_be_stopped(workshop: Path, tmp_path: Path, number: signal.Signals) -> None:
    line = ("eval", workshop / "run", "--episodes", 400, "--workers", 1, "--json", "--out", tmp_path / "e")
    process = omp_process(*line)
    assert process.stderr is not None
    assert "40/400" in process.stderr.readline()  # it is rolling out, and has imported what it needs
    process.send_signal(number)
    code, out, err = finish(process)
    assert code == {signal.SIGTERM: 143, signal.SIGINT: 130}[number], err
    assert json.loads(out)["error"]["code"] == code
    assert "Traceback" not in err
    assert "continue with --resume RUN" in err
    assert read_manifest(tmp_path / "e").status == "interrupted"
    assert len(read_jsonl(tmp_path / "e" / EPISODES)) >= 40


def test_two_processes_of_torchrun_train_what_one_does(workshop: Path, tmp_path: Path) -> None:
    """Same draws, and terms over the whole batch gathered: the weights agree to float32 rounding."""
    line = [str(workshop / "toy"), "--steps", "4", *TINY, "--lambda-da", "0.1", "--lambda-disp", "0.5"]
    line += ["--derivative", "dde", "--epsilon", "auto"]
    in_process(tmp_path, "pretrain", *line, "--out", "one")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29517"]
    done = subprocess.run(
        [*launcher, "-m", "omp_cli", "pretrain", *line, "--json", "--out", str(tmp_path / "two")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["result"]
    assert result["processes"] == 2
    assert result["epsilon"] == read_manifest(tmp_path / "one").metrics["epsilon"]
    for name in (MODEL, EMA):
        one, two = (load_tensors(checkpoints_in(tmp_path / n / CHECKPOINTS)[-1] / name) for n in ("one", "two"))
        for key in one:
            torch.testing.assert_close(one[key], two[key], rtol=1e-4, atol=1e-5, msg=f"{name} {key}")
