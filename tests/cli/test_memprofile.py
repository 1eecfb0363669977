"""``omp memprofile`` and ``--epsilon auto`` through the entry point."""

import json
from pathlib import Path

import pytest

from omp_cli.core.base.manifest import read_manifest
from omp_cli.core.base.run import CHECKPOINTS
from omp_cli.core.checkpoint import checkpoints_in, open_checkpoint
from tests.conftest import TINY, Omp

SMALL = ("--set", "pretrain.net.hidden=32", "--set", "pretrain.encoder.channels=[8,16]", "--set", "repeats=1")
QUICK = ("memprofile", "--preset", "light", "--horizon", 4, "--points", 32, "--batch", 4, *SMALL)


def test_rows_plots_and_manifest(omp: Omp, tmp_path: Path) -> None:
    done = omp(*QUICK, "--json", "--out", tmp_path / "m", "--set", "epsilons=[0.1, 0.005, 1e-5]")
    assert done.code == 0, done.err
    rows, (accuracy,) = done.json["result"]["rows"], done.json["result"]["accuracy"]
    assert [(r["how"], r["derivative"]) for r in rows] == [
        (how, way) for way in ("none", "dde", "forward", "jvp") for how in ("measured cpu", "predicted cuda")
    ]
    assert all(row["dynamic"] > 0 and row["dynamic_ratio"] > 0 for row in rows)
    assert accuracy["best"]["float64"] == 1e-5
    assert accuracy["best"]["float32"] == 0.005
    assert [row["precision"] for row in accuracy["rows"]][:2] == ["float64", "float32"]
    manifest = read_manifest(tmp_path / "m")
    assert manifest.status == "succeeded"
    assert manifest.metrics["rows"] == json.loads(json.dumps(rows))
    assert {a.path for a in manifest.artifacts} == {"memory.png", "epsilon.png"}
    for name in ("memory.png", "epsilon.png"):
        assert (tmp_path / "m" / name).read_bytes()[:4] == b"\x89PNG"
    assert "USDT" not in done.err


def test_tables_for_people_say_how_each_row_was_made(omp: Omp, tmp_path: Path) -> None:
    done = omp(*QUICK, "--derivative", "dde", "--derivative", "none", "--no-accuracy", "--out", tmp_path / "m")
    assert done.code == 0, done.err
    for text in ("measured cpu", "predicted cuda", "without kernels' workspaces", "critical points taken as"):
        assert text in done.out
    assert not (tmp_path / "m" / "epsilon.png").exists()


def test_the_papers_table(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omp_cli.core.measure.memory.paper.HORIZONS", (16,))
    done = omp("memprofile", "--paper", "--derivative", "dde", "--out", tmp_path / "m")
    assert done.code == 0, done.err
    for text in ("Adroit Hammer", "19.19", "6.12", "5.11", "predicted cuda", "Place Bottle are assumed"):
        assert text in " ".join(done.out.split())
    assert "measured" not in done.out


def test_the_error_of_a_trained_runs_derivative(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    done = omp("memprofile", "--checkpoint", workshop / "run", "--json", "--out", tmp_path / "m")
    assert done.code == 0, done.err
    (accuracy,) = done.json["result"]["accuracy"]
    assert (accuracy["weights"], done.json["result"]["rows"]) == ("step 30", [])
    assert read_manifest(tmp_path / "m").inputs[0].kind == "checkpoint"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (("--preset", "lihgt"), "unknown preset"),
        (("--derivative", "backward"), "derivatives"),
        (("--preset", "omp-small", "--horizon", 6), "divisible by 4"),
        (("--preset", "dp3-paper"), "its method has no du/dt"),
        (("--paper", "--horizon", 4), "--paper has its own"),
        (("--checkpoint", "x", "--paper"), "--checkpoint analyses"),
        (("--snapshot", "--device", "cpu"), "--snapshot needs a CUDA device"),
        (("--checkpoint", "x", "--no-measure"), "--checkpoint has no rows"),
        (("--checkpoint", "x", "--set", "predict=false"), "--checkpoint has no rows"),
        (("--no-measure", "--no-predict", "--no-accuracy"), "nothing is left to profile"),
        (("--no-measure", "--no-predict", "--derivative", "none"), "nothing is left to profile"),
        (("--no-measure", "--no-accuracy", "--set", "pretrain.train.precision=bf16"), "nothing is left to profile"),
        (("--paper", "--no-predict", "--device", "cpu"), "nothing is left to profile"),
        (("--set", "repeat=3"), "unknown setting repeat"),
    ],
)
def test_bad_input_is_one_line(
    omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: tuple[object, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = omp("memprofile", *line)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.iterdir())


def test_bf16_is_measured_and_what_is_not_predicted_is_told(omp: Omp, tmp_path: Path) -> None:
    line = (*QUICK, "--derivative", "dde", "--set", "pretrain.train.precision=bf16")
    done = omp(*line, "--no-accuracy", "--json", "--out", tmp_path / "m")
    assert done.code == 0, done.err
    assert [row["how"] for row in done.json["result"]["rows"]] == ["measured cpu"]
    assert "light: bf16 is measured, not predicted" in done.err
    shown = omp(*line, "--no-measure", "--dry-run", "--json")
    assert "light: bf16 is not predicted" in shown.err
    assert shown.json["rows"] == "none"
    assert "bf16" not in omp(*line, "--no-predict", "--dry-run").err


def test_a_checkpoint_without_its_accuracy_is_nothing(omp: Omp, workshop: Path) -> None:
    done = omp("memprofile", "--checkpoint", workshop / "run", "--no-accuracy")
    assert (done.code, "nothing is left to profile" in done.err) == (2, True)


def test_dry_run_touches_nothing(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = omp(*QUICK, "--dry-run", "--json").json
    assert shown["cases"] == 4
    assert shown["config"]["horizons"] == {"value": [4], "source": "flag"}
    assert shown["config"]["pretrain.net.hidden"] == {"value": 32, "source": "--set"}
    assert not list(tmp_path.iterdir())


def test_epsilon_auto_is_measured_told_and_kept(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    line = ("pretrain", workshop / "toy", "--derivative", "dde", "--epsilon", "auto", "--steps", 20, *TINY)
    done = omp(*line, "--json", "--out", tmp_path / "r")
    assert done.code == 0, done.err
    epsilon = done.json["result"]["epsilon"]
    assert 1e-4 < epsilon < 0.1
    assert f"epsilon {epsilon:g}: du/dt is off by" in done.err
    manifest = read_manifest(tmp_path / "r")
    assert manifest.config["method.epsilon"].value == "auto"
    assert manifest.metrics["epsilon"] == epsilon
    for path in checkpoints_in(tmp_path / "r" / CHECKPOINTS):
        assert open_checkpoint(path).meta.policy["method"]["epsilon"] == epsilon
    rows = [json.loads(text) for text in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert {row["epsilon"] for row in rows} == {epsilon}
    assert omp("eval", tmp_path / "r", "--episodes", 1, "--workers", 1, "--out", tmp_path / "e").code == 0


def test_exact_derivatives_leave_epsilon_alone(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('method.epsilon = "auto"\n')  # on the line it would be refused
    line = (
        "pretrain",
        workshop / "toy",
        "--derivative",
        "forward",
        "--config",
        tmp_path / "c.toml",
        "--steps",
        5,
        *TINY,
    )
    done = omp(*line, "--json", "--out", tmp_path / "r")
    assert done.code == 0, done.err
    assert "epsilon" not in done.json["result"]
