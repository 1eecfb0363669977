"""Options that a command would accept and pass over are refused, whatever the command; repeated values are too."""

import re
from pathlib import Path

import pytest

import omp_cli
from omp_cli.commands.environment import NO_SETTINGS
from tests.conftest import Omp


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("memprofile --horizon 4 --horizon 4", "horizons: 4 is named twice"),
        ("memprofile --derivative dde --derivative dde", "derivatives: dde is named twice"),
        ("memprofile --preset light --preset light", "presets: light is named twice"),
        ("memprofile --points 64 --points 64", "points: 64 is named twice"),
        ("memprofile --batch 8 --batch 8", "batches: 8 is named twice"),
        ("memprofile --set epsilons=[0.1,0.1]", "epsilons: 0.1 is named twice"),
        ("memprofile --preset dmpo-state --points 64 --horizon 8", "dmpo-state sees no cloud"),
        ("bench-latency --nfe 1 --nfe 1", "nfe: 1 is named twice"),
        ("bench-latency --batch 2 --batch 2", "batch: 2 is named twice"),
        ("bench-latency --backend eager --backend eager", "backend: eager is named twice"),
        ("bench-latency --preset light --preset light", "--preset: one is named twice"),
        ("pretrain --derivative jvp --epsilon 0.01", "method.epsilon does not count: the derivative is jvp"),
        ("pretrain --set train.epochs=3 --set train.steps=5", "train.steps does not count: train.epochs = 3"),
        ("bench-latency --preset dmpo-state --set weights=raw", "--weights: presets have fresh weights alone"),
        ("memprofile --paper --set horizons=[8]", "--paper has its own presets, horizons, points"),
        ("memprofile --paper --set image=[64,64,3]", "image does not count"),
        ("memprofile --checkpoint run --set points=[64]", "--checkpoint analyses the error of du/dt alone"),
        ("memprofile --checkpoint run --set repeats=3", "--checkpoint analyses the error of du/dt alone"),
        ("memprofile --preset dmpo-state --set points=[64]", "dmpo-state sees no cloud"),
        ("export run --batch 3 --dynamic-batch", "batch does not count"),
        ("manifest run --schema", "--schema: it is that of all manifests"),
        ("manifest --schema --files", "--schema: it is that of all manifests"),
        ("prepare --list --demos 3", "--list shows the catalogue"),
        ("prepare metaworld --list --suite hard", "--list shows the catalogue"),
        ("sweep examples/sweeps/toy.toml --address here", "--address is for --engine ray"),
        ("sweep examples/sweeps/toy.toml --gpus 1 --device cuda:1", "--gpus chooses the GPU of each job"),
        ("sweep examples/sweeps/toy.toml --device tpu", "unknown device"),
        ("view data --seed 1", "--seed: this omp view draws nothing at random"),
        ("--seed 1 runs", "--seed: this omp runs draws nothing at random"),
        ("runs --out runs", "--out: omp runs makes no folder"),
        ("manifest runs --out runs", "--out: omp manifest makes no folder"),
        ("pretrain --lambda-disp 0 --set method.dispersion.form=hinge", "method.dispersion.form does not count"),
    ],
)
def test_refused_in_one_line(omp: Omp, line: str, words: str) -> None:
    ran = omp(*line.split(), "--dry-run")
    assert ran.code == 2
    assert words in " ".join(ran.err.split())
    assert "Traceback" not in ran.err


def test_a_variable_that_no_command_reads_is_told_in_one_line(omp: Omp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_CLI_STEPS", "5")
    monkeypatch.setenv("OMP_CLI_TRIAN__LR", "1")
    monkeypatch.setenv("OMP_CLI_TRAIN__LR", "0.5")
    monkeypatch.setenv("OMP_CLI_EPISODES", "3")
    monkeypatch.setenv("OMP_CLI_CACHE", "cache")
    for command in ("pretrain", "eval", "runs", "memprofile"):
        told = [line for line in omp(command, "--dry-run").err.splitlines() if line.startswith("OMP_CLI_")]
        example = "--steps is OMP_CLI_TRAIN__STEPS" if command == "pretrain" else "train.lr is OMP_CLI_TRAIN__LR"
        assert told[0] == f"OMP_CLI_STEPS: no command reads this variable; {example}"
        assert told[1].startswith("OMP_CLI_TRIAN__LR: no command reads this variable")
        assert len(told) == 2, "the others are settings, perhaps of another command"
        assert "OMP_CLI_STEPS" not in omp(command, "--dry-run", "--quiet").err


def test_variables_that_are_no_settings_are_known() -> None:
    sources = [path.read_text() for path in Path(omp_cli.__file__).parent.rglob("*.py")]
    read = {name for text in sources for name in re.findall(r'"OMP_CLI_([A-Z_]*[A-Z])"', text)}
    assert {name.lower() for name in read} == NO_SETTINGS
