"""The commands through their entry point: outputs, defaults that chain, configuration with sources."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from omp_cli.commands.table import COMMANDS, find
from omp_cli.core.base.files import read_jsonl, sha256_of
from omp_cli.core.base.manifest import read_manifest
from omp_cli.core.base.registry import Family
from omp_cli.core.encoders import ENCODERS
from omp_cli.core.measure.episodes import Episode
from omp_cli.core.methods import METHODS
from omp_cli.core.nets import NETS
from omp_cli.core.rl.base import ALGORITHMS
from tests.conftest import TINY, Omp


def test_the_three_lines_chain_without_arguments(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the card, on the toy: each command takes the newest output of the one before and says which."""
    monkeypatch.chdir(tmp_path)
    prepared = omp("prepare", "toy", "--points", "48", "--demos", 3, "--workers", 1)
    assert prepared.code == 0, prepared.err
    assert "contact_sheet.png" in prepared.out
    trained = omp("pretrain", "--derivative", "dde", "--steps", 10, *TINY)
    assert trained.code == 0, trained.err
    assert "reach-p48-d3-s0 (the newest below data/)" in trained.err
    tested = omp("eval", "--episodes", 2, "--workers", 1)
    assert tested.code == 0, tested.err
    assert "(the newest below runs/)" in tested.err
    assert "/2 = " in tested.out
    assert "Wilson" in tested.out


def test_json_is_one_document_and_the_rest_goes_to_stderr(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    done = omp("eval", workshop / "run", "--json", "--episodes", 2, "--workers", 1, "--out", tmp_path / "e")
    assert done.json["schema_version"] == 1
    assert done.json["command"] == "eval"
    assert done.json["result"]["success_any"]["episodes"] == 2
    assert Path(done.json["manifest"]).is_file()
    rows = [json.loads(line) for line in (tmp_path / "e" / "episodes.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    assert {"task", "seed", "success_any", "success_chunk", "steps", "episode_return"} <= rows[0].keys()


def test_global_options_stand_before_or_after_the_command(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    line = ("eval", workshop / "run", "--episodes", 1, "--workers", 1)
    before = omp("--json", "--seed", 3, "--quiet", *line, "--out", tmp_path / "a")
    after = omp(*line, "--json", "--seed", 3, "--quiet", "--out", tmp_path / "b")
    assert before.json["result"] == after.json["result"]
    assert before.err == after.err == ""


def test_verbose_says_where_time_went_and_the_manifest_always_does(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    lines = {
        "prepare": ("toy", "--points", 48, "--demos", 2, "--workers", 1),
        "pretrain": (workshop / "toy", "--steps", 5, *TINY),
        "eval": (workshop / "run", "--episodes", 2, "--workers", 1),
    }
    parts = {"prepare": "contact sheet", "pretrain": "backward", "eval": "policy"}
    for command, line in lines.items():
        folder = tmp_path / command
        shown = omp("--verbose", "--quiet", command, *line, "--out", folder)
        assert "Where time went" in shown.err
        assert parts[command] in shown.err
        assert "Where time went" not in shown.out
        metrics = json.loads((folder / "manifest.json").read_text())["metrics"]
        assert metrics["seconds_by_part"][parts[command]] >= 0
        assert ("worker_seconds_by_part" in metrics) == (command != "pretrain")
        if command != "pretrain":
            assert metrics["worker_seconds_by_part"]["physics"] > 0
    silent = omp("--quiet", "eval", *lines["eval"], "--out", tmp_path / "silent")
    assert silent.err == ""


def test_an_evaluation_counts_its_environments_and_charges_each_part_its_own(
    omp: Omp, workshop: Path, tmp_path: Path
) -> None:
    line = ("eval", workshop / "run", "--episodes", 3, "--max-steps", 3, "--workers", 1, "--verbose")
    for together, title in ((1, "1 environment"), (9, "3 environments together")):
        shown = omp(*line, "--set", f"together={together}", "--out", tmp_path / str(together))
        assert f"Where time went: {title}" in [line.strip() for line in shown.err.splitlines()]
    metrics = json.loads((tmp_path / "9" / "manifest.json").read_text())["metrics"]
    assert metrics["environments"] == 3
    assert {"the data's own figures", "plot and video"} <= set(metrics["seconds_by_part"])


def test_verbose_shows_the_traceback_and_the_hint_once(omp: Omp, tmp_path: Path) -> None:
    shown = omp("--verbose", "prepare", "metawrld", "--out", tmp_path / "d")
    assert shown.code == 2
    assert "Traceback" in shown.err
    assert shown.err.count("hint:") == 1, shown.err


def test_dry_run_shows_sources_and_touches_nothing(
    omp: Omp, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_CLI_TRAIN__LR", "0.5")
    (tmp_path / "c.toml").write_text("[train]\nlr = 0.1\nwarmup_steps = 7\n[method]\nepsilon = 0.02\n")
    line = ("pretrain", workshop / "toy", "--config", "c.toml", "--set", "encoder.points=16", "--epsilon", "0.03")
    shown = omp(*line, "--dry-run", "--json").json
    expected = {
        "train.lr": (0.5, "environment"),
        "train.warmup_steps": (7, "file c.toml"),
        "encoder.points": (16, "--set"),
        "method.epsilon": (0.03, "flag"),
        "method.name": ("omp", "preset light, version 2"),
        "train.eps": (1e-8, "default"),
    }
    for key, (value, source) in expected.items():
        assert shown["config"][key] == {"value": value, "source": source}
    assert shown["parameters"] > 1e6
    assert "parameters" in omp(*line, "--dry-run").out
    for other in (("prepare", "toy"), ("eval", workshop / "run")):
        assert omp(*other, "--dry-run").code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["c.toml"]


def test_steps_on_the_line_beat_epochs_of_a_preset(omp: Omp, workshop: Path) -> None:
    line = (
        "pretrain",
        workshop / "toy",
        "--preset",
        "omp-paper",
        "--set",
        "net.dims=[16, 16, 32]",
        "--dry-run",
        "--json",
    )
    frames = omp(*line).json["frames"]
    assert omp(*line).json["steps"] == -(-1000 * frames // 128)
    assert omp(*line, "--steps", 7).json["steps"] == 7


def test_prepare_takes_several_tasks_and_groups(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--demos", 2, "--points", 32, "--workers", 1, "--json")
    runs = omp("prepare", "toy", "--suite", "toy", "--task", "reach", *options).json["runs"]
    assert [run["result"]["task"] for run in runs] == ["reach", "detour", "fork"]
    assert all(Path(run["run_dir"], "demos.zarr").is_dir() for run in runs)
    again = omp("prepare", "toy", "--suite", "toy", *options).json["runs"]
    assert [run["result"]["reused"] for run in again] == [True, True, True]


def test_eval_writes_plot_and_video(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    line = ("eval", workshop / "run", "--episodes", 2, "--max-steps", 9, "--workers", 1, "--curve", 1, "--video")
    done = omp(*line, "--json", "--out", tmp_path / "e")
    assert done.code == 0, done.err
    assert [row["checkpoint_step"] for row in done.json["result"]["curve"]] == [10, 20]
    assert (tmp_path / "e" / "success.png").read_bytes()[:4] == b"\x89PNG"
    import imageio_ffmpeg

    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "e" / "video.mp4"))
    assert frames == 2 * (10 + 20)
    assert seconds > 0


def test_nfe_and_weights_are_recorded_and_change_the_actions(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    returns = {}
    for nfe, kind in ((1, "ema"), (5, "ema"), (1, "raw")):
        line = ("eval", workshop / "run", "--episodes", 1, "--workers", 1, "--nfe", nfe, "--weights", kind)
        result = omp(*line, "--json", "--out", tmp_path / f"{nfe}{kind}").json["result"]
        assert (result["nfe"], result["weights"]) == (nfe, kind)
        returns[nfe, kind] = result["mean_return"]
    assert len(set(returns.values())) == 3


def test_what_decides_in_an_evaluation_is_recorded(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    line = ("eval", workshop / "run", "--episodes", 1, "--workers", 1, "--device", "cpu", "--json")
    result = omp(*line, "--precision", "fp16", "--out", tmp_path / "a").json["result"]
    assert result["runtime"] == "eager: a graph needs CUDA, and this runs on cpu"
    assert result["against_float32"]["max_abs"] > 0
    done = omp(*line, "--set", "graph=on", "--out", tmp_path / "b")
    assert (done.code, (tmp_path / "b").exists()) == (2, False)
    assert "graph: on, but a graph needs CUDA" in done.err


def test_a_checkpoint_can_be_named_itself(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    early = workshop / "run" / "checkpoints" / "step-00000010"
    done = omp("eval", early, "--episodes", 1, "--workers", 1, "--json", "--out", tmp_path / "e")
    assert done.json["result"]["checkpoint_step"] == 10
    assert "no curve over training" in omp("eval", early, "--curve", 5, "--dry-run").err
    assert "no curve" not in omp("eval", workshop / "run", "--curve", 5, "--dry-run").err


def test_a_finished_run_is_not_written_over(omp: Omp, toy: Path, workshop: Path, tmp_path: Path) -> None:
    line = ("eval", workshop / "run", "--episodes", 1, "--max-steps", 3, "--workers", 1, "--out", tmp_path / "e")
    assert omp(*line).code == 0
    other = ("prepare", "toy", "--demos", 9, "--points", 48, "--workers", 1, "--out", toy)
    before = [sha256_of(folder) for folder in (tmp_path / "e", toy)]
    for again, words in ((line, "finished run of omp eval"), ((*line, "--dry-run"), "--out DIR"), (other, "made with")):
        refused = omp(*again)
        assert refused.code == 2
        assert words in " ".join(refused.err.split())
    assert [sha256_of(folder) for folder in (tmp_path / "e", toy)] == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_stopped_command_advises_what_it_has(command: str) -> None:
    again, options = find(command).again, find(command).load().__signature__.parameters  # type: ignore[attr-defined]
    assert ("--resume" in again) == ("resume" in options)
    assert ("goes on" in again) == (command in ("prepare", "sweep"))


def test_a_stopped_evaluation_keeps_the_episodes_that_have_ended(
    omp: Omp, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = iter(range(2))

    def add(self: Episode, *_: object) -> None:
        self.success_chunk = True
        if next(ended, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(Episode, "add", add)
    line = ("eval", workshop / "run", "--curve", 1, "--workers", 1, "--json", "--out", tmp_path / "e")
    stopped = omp(*line)
    assert stopped.code == 130
    assert stopped.json["error"]["hint"] == "run the line again, or continue with --resume RUN"
    manifest = read_manifest(tmp_path / "e")
    assert (manifest.status, [a.path for a in manifest.artifacts]) == ("interrupted", ["episodes.jsonl"])
    rows = read_jsonl(tmp_path / "e" / "episodes.jsonl")
    assert [(row["checkpoint_step"], row["index"]) for row in rows] == [(10, 0), (20, 0)]


def test_manifest_command_checks_files(omp: Omp, run: Path) -> None:
    checked = omp("manifest", run, "--files").out
    assert "omp pretrain" in checked
    assert f"{len(read_manifest(run).artifacts)} artifacts are as the manifest has them" in checked
    assert omp("manifest", "--schema").json["title"] == "Manifest"
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write("{}\n")
    assert omp("manifest", run).code == 0
    assert omp("manifest", run, "--files").code == 3


def test_tensorboard_is_an_extra(omp: Omp, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    line = ("pretrain", workshop / "toy", "--steps", 2, *TINY, "--set", "train.tracker=tensorboard")
    done = omp(*line, "--out", tmp_path / "r")
    assert done.code == 4
    assert "pip install" in done.err


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; sys.argv=['omp','--help']; from omp_cli import app\ntry: app.main()\nexcept SystemExit: pass\n"
    heavy = {"torch", "numpy", "pydantic", "metaworld", "mujoco", "zarr", "scipy", "gymnasium"}
    code += f"heavy = {heavy} & set(sys.modules)\n"
    code += "sys.exit(f'imported {heavy}' if heavy else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "prepare" in done.stdout


@pytest.mark.parametrize(
    ("command", "families"), [("pretrain", (METHODS, NETS, ENCODERS)), ("finetune", (ALGORITHMS,))]
)
def test_help_names_every_member_of_a_family(command: str, families: tuple[Family[Any], ...], omp: Omp) -> None:
    words = set(re.findall(r"[a-z0-9-]+", omp(command, "--help").out))
    assert {name for family in families for name in family.names()} <= words


def test_every_command_is_listed_and_its_options_are_built_when_asked(omp: Omp) -> None:
    listed = omp("--help").out
    for command in COMMANDS:
        assert command in listed
        assert "--json" in omp(command, "--help").out
    assert "--derivative" in omp("--quiet", "pretrain", "--help").out
    refused = omp("pretain")
    assert refused.code == 2
    assert "pretrain" in refused.err


@pytest.mark.parametrize("command", ["prepare", "pretrain", "eval", "manifest"])
def test_help_of_every_command_has_an_example(omp: Omp, command: str) -> None:
    shown = omp(command, "--help")
    assert shown.code == 0
    assert f"Example: omp {command}" in shown.out
    assert "--dry-run" in shown.out


def test_version(omp: Omp) -> None:
    assert omp("--version").out.startswith("omp 0.")


def test_the_next_line_carries_the_plugins_of_this_one(omp: Omp, tmp_path: Path) -> None:
    plugin = tmp_path / "my parts.py"
    plugin.write_text('"""Nothing of its own."""\n')
    for line in (("--plugin", plugin, "prepare"), ("prepare", f"--plugin={plugin}")):
        made = omp(*line, "toy", "--demos", 1, "--points", 16, "--workers", 1, "--out", tmp_path / "toy")
        assert made.code == 0, made.err
        assert f"next: omp --plugin '{plugin}' pretrain" in made.out
    assert "next: omp pretrain" in omp("prepare", "toy", "--demos", 1, "--points", 16, "--out", tmp_path / "toy").out
