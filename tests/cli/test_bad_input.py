"""Bad input: one clear line, the documented exit code, nothing lost."""

import errno
import json
import pickle
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from omp_cli.core.base import files
from omp_cli.core.base.files import seal_of, sha256_of
from omp_cli.core.base.manifest import read_manifest, write_manifest
from omp_cli.core.base.run import CHECKPOINTS
from omp_cli.core.base.signals import ERRORS
from tests.conftest import TINY, Omp, Ran
from tests.data.test_store import DAMAGES, damage


def refused(ran: Ran, code: int, *words: str) -> None:
    """The exit code, one line of error, at most one of hint, no traceback, and the words in them."""
    assert ran.code == code, ran.err
    assert "Traceback" not in ran.err
    begin = "stopped:" if code in {error.exit_code for error in ERRORS.values()} else "error:"
    lines = [line for line in ran.err.splitlines() if line.startswith((begin, "hint:"))]
    assert sum(line.startswith(begin) for line in lines) == 1, ran.err
    for word in words:
        assert word in " ".join(lines), ran.err


class Exploding:
    """Unpickling this leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("prepare", "metaworld", "--task", "drawr-open"), ("unknown task 'drawr-open'", "drawer-open")),
        (("prepare", "metawrld"), ("unknown suite", "metaworld")),
        (("prepare", "metaworld", "--suite", "hrd"), ("unknown group", "hard")),
        (("prepare", "toy", "--points", "0"), ("cloud.points", "16")),
        (("prepare", "toy", "--set", "collect.demo=3"), ("collect.demo", "demos")),
        (("prepare", "metaworld", "--frame", "wrld"), ("frame",)),
        (("prepare", "metaworld", "--robot", "arm"), ("robot", "gripper")),
        (("prepare", "metaworld", "--fovea", "3", "--frame", "dp3"), ("fovea", "world frame")),
        (("prepare",), ("benchmark",)),
        (("evl",), ("evl",)),
        (("eval", "--nfee", "1"), ("--nfee",)),
        (("eval", "--video-episodes", "3"), ("--video",)),
        (("prepare", "toy", "--set", "suite.name=metaworld"), ("suite.name", "metaworld", "toy")),
        (("prepare", "toy", "--quality", "expert"), ("--quality",)),
        (("bench-latency", "--table", "--preset", "dmpo"), ("--table",)),
        (("bench-latency", "--weights", "raw"), ("--weights", "name a run or a checkpoint")),
        (("pretrain", "--resume", "somewhere", "--out", "elsewhere"), ("--resume",)),
        (("finetune", "--resume", "somewhere", "--out", "elsewhere"), ("--resume",)),
        (("pretrain", "--seed", "99999999999999999999"), ("--seed",)),
        (("pretrain", "--lr", "inf"), ("train.lr", "finite")),
        (("memprofile", "--set", "epsilons=[0]"), ("epsilons", "greater than 0")),
    ],
)
def test_usage(omp: Omp, line: tuple[str, ...], words: tuple[str, ...], tmp_path: Path, monkeypatch: object) -> None:
    ran = omp(*line)
    refused(Ran(ran.code, ran.out, ran.err.replace("BENCHMARK", "benchmark")), 2, *words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--method", "opm"), ("unknown method 'opm'", "omp")),
        (("--net", "unet"), ("unknown net", "unet1d")),
        (("--preset", "ligth"), ("unknown preset", "light")),
        (("--derivative", "backward"), ("derivative",)),
        (("--set", "train.stepz=3"), ("train.stepz", "steps")),
        (("--set", "train.steps"), ("section.key=value",)),
        (("--method", "mp1", "--lambda-da", "0.5"), ("mp1 has no directional alignment",)),
        (("--device", "tpu"), ("unknown device",)),
        (("--set", "chunk.horizon=2"), ("horizon",)),
        (("--net", "unet1d", "--set", "chunk.horizon=6"), ("horizon",)),
        (("--compile", "--derivative", "jvp"), ("forward-mode",)),
        (("--lr", "-1"), ("train.lr",)),
    ],
)
def test_wrong_settings_of_pretrain(
    omp: Omp, workshop: Path, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    ran = omp("pretrain", workshop / "toy", *options, "--out", tmp_path / "r")
    refused(ran, 2, *words)
    assert not (tmp_path / "r" / "checkpoints").exists()


def test_a_preset_of_ones_own_is_named_where_its_setting_is_refused(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('extends = "dmpo-state"\n[net]\nhiden = 3\n')
    refused(omp("pretrain", workshop / "toy", "--preset", mine), 2, "unknown setting net.hiden", f"preset {mine}")


def test_a_sweep_looks_for_its_device_and_threads_first(
    omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "s.toml"
    file.write_text('seeds = [0]\ntasks = ["reach"]\nprepare = "toy"\n[variants.a]\n')
    out = tmp_path / "sweep"
    refused(omp("sweep", file, "--out", out, "--device", "tpu"), 2, "unknown device")
    for wrong in ("abc", "0"):
        monkeypatch.setenv("OMP_NUM_THREADS", wrong)
        refused(omp("sweep", file, "--out", out), 2, f"OMP_NUM_THREADS={wrong}")
    assert not out.exists()


def test_running_out_of_memory_is_no_bug(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    vast = ("--set", "net.hidden=1000000", "--set", "train.steps=1")
    refused(omp("pretrain", workshop / "toy", *vast, "--out", tmp_path / "r"), 1, "out of memory", "batch")


def test_a_device_that_is_not_there(omp: Omp, workshop: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    refused(omp("pretrain", workshop / "toy", "--device", "cuda"), 4, "not available")


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_data_sets(omp: Omp, toy: Path, how: str) -> None:
    refused(omp("pretrain", damage(toy / "demos.zarr", how), "--steps", 2), 3, "data set")


def test_nothing_to_take(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(omp("pretrain"), 3, "no data set below data/", "omp prepare metaworld")
    refused(omp("eval"), 3, "no trained run below runs/", "omp pretrain")
    refused(omp("eval", "nowhere"), 3, "no such file or folder")
    refused(omp("manifest", "nowhere"), 3, "no such file")


@pytest.mark.parametrize("writer", ["torch.save", "pickle.dump"])
def test_a_pickle_is_never_loaded(omp: Omp, run: Path, tmp_path: Path, writer: str) -> None:
    mark, bad = tmp_path / "mark", tmp_path / "policy.pt"
    if writer == "torch.save":
        torch.save(Exploding(mark), bad)
    else:
        bad.write_bytes(pickle.dumps(Exploding(mark)))
    refused(omp("eval", bad), 3, "pickle")
    shutil.copy(bad, run / CHECKPOINTS / "step-00000030" / "ema.safetensors")
    refused(omp("eval", run), 3, "pickle")
    assert not mark.exists()


def test_checkpoints_of_another_schema_or_damaged(omp: Omp, run: Path) -> None:
    last = run / CHECKPOINTS / "step-00000030"
    meta = json.loads((last / "policy.json").read_text())
    (last / "policy.json").write_text(json.dumps({**meta, "start_states": []}))
    refused(omp("eval", run, "--workers", 1), 3, "policy.json", "does not match its hash")
    (run / "manifest.json").unlink()  # what another omp has written is in accord with itself
    changes = [
        ({**meta, "schema_version": 7}, "schema version 7"),
        ({**meta, "step": "many"}, "step"),
        ({**meta, "policy": {**meta["policy"], "method": {"name": "gone"}}}, "unknown method"),
        ({**meta, "spec": {**meta["spec"], "state_dim": 50}}, "does not fit"),
    ]
    for document, words in changes:
        (last / "policy.json").write_text(json.dumps({**document, "seal": seal_of(document)}))
        refused(omp("eval", run, "--workers", 1), 3, "checkpoint", words)
    (last / "policy.json").write_text("{")
    refused(omp("eval", run), 3, "not a JSON file")
    (last / "policy.json").write_text(json.dumps(meta))
    weights = last / "ema.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused(omp("eval", run, "--workers", 1), 3, "ema.safetensors", "does not match its hash")
    weights.write_bytes(weights.read_bytes()[:100])
    refused(omp("eval", run, "--workers", 1), 3, "damaged")
    weights.unlink()
    refused(omp("eval", run, "--workers", 1), 3, "no such file")


def test_a_manifest_edited_by_hand(omp: Omp, run: Path) -> None:
    path = run / "manifest.json"
    path.write_text(path.read_text().replace('"steps": 30', '"steps": 31'))
    for line in (("eval", run), ("manifest", run), ("pretrain", "--resume", run)):
        refused(omp(*line), 3, "edited or damaged")


def newest(run: Path) -> Path:
    return sorted((run / "checkpoints").iterdir())[-1]


def test_a_file_of_a_checkpoint_is_understood_or_named(omp: Omp, run: Path) -> None:
    checkpoint = newest(run)
    for file in (checkpoint / "policy.json", run / "manifest.json"):
        shown = omp("eval", file, "--dry-run", "--json")
        assert shown.code == 0, shown.err
        assert shown.json["config"]["checkpoint"]["value"] == str(checkpoint)
    for name in ("model", "ema", "training"):
        refused(omp("eval", checkpoint / f"{name}.safetensors"), 3, "one file of a checkpoint", f"folder: {checkpoint}")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("steps=5", "train.steps"),
        ("optim.lr=1e-3", "train.lr"),
        ("hidden=8", "net.hidden"),
        ("method.lr=1e-3", "train.lr"),
        ("train.horizon=4", "chunk.horizon"),
        ("weight=1", "method.dispersion.weight or method.alignment.weight"),
        ("train.stps=5", "steps or eps or warmup_steps"),
    ],
)
def test_an_unknown_setting_names_those_that_end_so(omp: Omp, toy: Path, given: str, meant: str) -> None:
    refused(omp("pretrain", toy, "--set", given), 2, "unknown setting", f"did you mean {meant}?")


def test_resume_of_what_cannot_be_resumed(omp: Omp, run: Path, workshop: Path) -> None:
    refused(omp("pretrain", "--resume", run, "--lr", 1e-3), 2, "--resume")
    for part in (checkpoint := newest(run), checkpoint / "model.safetensors"):
        refused(omp("pretrain", "--resume", part), 2, "a part of a run", f"--resume {run}")
    refused(omp("pretrain", "--resume", workshop / "toy"), 2, "omp prepare")
    refused(omp("pretrain", "--resume", workshop / "nowhere"), 3, "no such file")


def unfinished(run: Path) -> Path:
    """The run as a kill would have left it."""
    write_manifest(run, read_manifest(run).model_copy(update={"status": "running", "metrics": {}}))
    return run


def test_other_data_than_the_run_began_with(omp: Omp, toy: Path, tmp_path: Path) -> None:
    line = ("pretrain", toy, "--steps", 10, *TINY, "--out", tmp_path / "r")
    assert omp(*line).code == 0
    shutil.rmtree(toy)
    assert omp("prepare", "toy", "--demos", 8, "--points", 48, "--seed", 5, "--workers", 1, "--out", toy).code == 0
    refused(omp("pretrain", "--resume", unfinished(tmp_path / "r")), 3, "another content")


def test_a_run_killed_after_its_last_step_still_reports(omp: Omp, toy: Path, tmp_path: Path) -> None:
    line = ("pretrain", toy, "--steps", 10, *TINY, "--out", tmp_path / "r", "--json")
    first = omp(*line).json["result"]
    again = omp("pretrain", "--resume", unfinished(tmp_path / "r"), "--json").json["result"]
    assert again["resumed_at_step"] == 10
    assert (again["loss"], again["meanflow"]) == (first["loss"], first["meanflow"])


def test_finished_work_is_never_overwritten(omp: Omp, run: Path, toy: Path) -> None:
    before = sha256_of(run)
    done = omp("pretrain", "--resume", run)
    assert done.code == 0
    assert "nothing to do" in done.err
    refused(omp("pretrain", toy, *TINY, "--out", run), 2, "holds checkpoints", "--resume")
    refused(omp("eval", run, "--episodes", 1, "--workers", 1, "--out", run), 2, "holds a run of omp pretrain")
    refused(omp("prepare", "toy", "--out", run), 2, "holds a run of omp pretrain")
    assert sha256_of(run) == before


def test_places_that_cannot_be_written(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (Path("/proc/omp"), tmp_path / "file"):
        for line in (
            ("prepare", "toy", "--demos", 1, "--workers", 1),
            ("pretrain", workshop / "toy"),
            ("eval", workshop / "run"),
        ):
            refused(omp(*line, "--out", out), 2, "output folder", "--out")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_in_a_real_process(workshop: Path, tmp_path: Path) -> None:
    """The kernel refuses to write more than 100 kB into a file; the checkpoint before that stays whole."""
    line = ["pretrain", str(workshop / "toy"), "--steps", "10", *TINY, "--out", str(tmp_path / "r")]
    done = subprocess.run(
        [sys.executable, "-m", "omp_cli", *line],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    refused(Ran(done.returncode, done.stdout, done.stderr), 1)
    assert not list((tmp_path / "r" / CHECKPOINTS).glob("*"))
    assert json.loads((tmp_path / "r" / "manifest.json").read_text())["status"] == "failed"


def test_a_full_disk_loses_nothing(omp: Omp, run: Path, workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sha256_of(run / CHECKPOINTS)
    honest = files.fsync_tree

    def full(path: Path) -> None:
        if "video" not in path.name and path.suffix == ".jsonl":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        honest(path)

    monkeypatch.setattr(files, "fsync_tree", full)
    ran = omp("eval", run, "--episodes", 1, "--workers", 1, "--out", run / "eval")
    refused(ran, 1, "no space left", "free some space")
    assert sha256_of(run / CHECKPOINTS) == before
    assert not list((run / "eval").glob("*episodes*"))


def test_errors_as_json(omp: Omp, tmp_path: Path) -> None:
    for line, code in ((("eval", tmp_path / "none"), 3), (("prepare", "toy", "--task", "rech"), 2), (("nope",), 2)):
        error = omp(*line, "--json").json["error"]
        assert error["code"] == code
        assert error["message"]
        assert error.keys() == {"code", "type", "message", "hint"}


def test_a_missing_simulator(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "metaworld", None)
    monkeypatch.setitem(sys.modules, "metaworld.env_dict", None)  # an earlier test may have loaded it
    ran = omp("prepare", "metaworld", "--demos", 1, "--workers", 1, "--out", tmp_path / "d")
    refused(ran, 4, "pip install")


def test_a_plugin_that_is_not_there(omp: Omp, tmp_path: Path) -> None:
    refused(omp("--plugin", tmp_path / "mine.py", "prepare", "toy"), 3, "plugin")
