"""``omp eval --resume``: an evaluation goes on from the episodes that it has, whatever ended it."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omp_cli.core.base.files import read_jsonl
from omp_cli.core.base.manifest import check_artifacts, read_manifest, write_manifest
from omp_cli.core.base.run import Run
from omp_cli.core.sweep.job import Job
from tests.cli.test_bad_input import refused
from tests.conftest import Omp, in_process, omp_process

LATER = ("seconds_by_part", "worker_seconds_by_part", "resumed_at_episode")
"""Figures that a resumed evaluation does not share with one that was not stopped."""


@pytest.fixture
def evaluated(omp: Omp, workshop: Path, tmp_path: Path) -> Callable[..., Path]:
    """Evaluates the workshop's policy in a folder."""

    def run(name: str, *more: object) -> Path:
        line = ("eval", workshop / "run", "--max-steps", 8, "--workers", 1, "--out", tmp_path / name)
        done = omp(*line, *more)
        assert done.code == 0, done.err
        return tmp_path / name

    return run


def figures(folder: Path) -> dict[str, Any]:
    manifest = read_manifest(folder)
    check_artifacts(folder, manifest)
    assert manifest.status == "succeeded"
    return {key: value for key, value in manifest.metrics.items() if key not in LATER}


def cut(folder: Path, episodes: int) -> None:
    """As a kill after so many episodes leaves it: in the order of their ends, and one of them half written."""
    lines = (folder / "episodes.jsonl").read_text().splitlines()
    (folder / "episodes.jsonl").write_text("\n".join([*reversed(lines[:episodes]), lines[episodes][:20]]))
    manifest = read_manifest(folder).model_copy(update={"status": "running", "metrics": {}, "artifacts": []})
    rewritten(folder, manifest)


def rewritten(folder: Path, manifest: Any) -> None:
    write_manifest(folder, manifest)


def test_a_killed_evaluation_ends_as_if_nothing_had_happened(workshop: Path, tmp_path: Path, omp: Omp) -> None:
    line = ("eval", workshop / "run", "--episodes", 24, "--workers", 1)
    in_process(tmp_path, *line, "--out", "whole")
    process = omp_process(*line, "--out", "cut", cwd=tmp_path)
    file, deadline = tmp_path / "cut" / "episodes.jsonl", time.monotonic() + 60
    while not (file.is_file() and 3 <= len(file.read_text().splitlines()) < 20):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert read_manifest(tmp_path / "cut").status == "running"
    done = omp("eval", "--resume", tmp_path / "cut", "--workers", 1)
    assert done.code == 0, done.err
    before = read_manifest(tmp_path / "cut").metrics["resumed_at_episode"]
    assert 3 <= before < 24
    assert f"continuing after {before} episodes" in done.err
    assert figures(tmp_path / "cut") == figures(tmp_path / "whole")
    one, two = (read_jsonl(tmp_path / name / "episodes.jsonl") for name in ("whole", "cut"))
    assert one == two


def test_a_finished_one_gets_more_episodes(evaluated: Callable[..., Path], omp: Omp) -> None:
    long, short = (
        evaluated("long", "--episodes", 6, "--noise-scale", 0.5),
        evaluated("e", "--episodes", 2, "--noise-scale", 0.5),
    )
    for more in ((), ("--episodes", 2)):
        assert "is finished; nothing to do" in omp("eval", "--resume", short, *more).err
    shown = omp("eval", "--resume", short, "--json")
    assert (shown.code, shown.json["result"]["success_any"]["episodes"]) == (0, 2)
    assert "is finished; nothing to do" in shown.err
    done = omp("eval", "--resume", short, "--episodes", 6, "--workers", 1, "--json")
    assert done.code == 0, done.err
    assert done.json["result"]["resumed_at_episode"] == 2
    assert figures(short) == figures(long)
    assert read_manifest(short).config["episodes"].model_dump() == {"value": 6, "source": "flag"}


def test_a_curve_and_a_video_are_whole(evaluated: Callable[..., Path], omp: Omp, tmp_path: Path) -> None:
    whole = evaluated("whole", "--episodes", 3, "--curve", 2, "--video", "--video-episodes", 2)
    resumed = Path(shutil.copytree(whole, tmp_path / "cut"))
    cut(resumed, 3)
    (resumed / "video.mp4").unlink()
    done = omp("eval", "--resume", resumed, "--video", "--video-episodes", 2, "--workers", 1)
    assert done.code == 0, done.err
    assert figures(resumed) == figures(whole)
    assert [row["checkpoint_step"] for row in read_jsonl(resumed / "episodes.jsonl")] == sorted(
        row["checkpoint_step"] for row in read_jsonl(whole / "episodes.jsonl")
    )
    kept = {artifact.path: artifact.sha256 for artifact in read_manifest(whole).artifacts}
    assert {artifact.path: artifact.sha256 for artifact in read_manifest(resumed).artifacts} == kept


def test_bad_lines(evaluated: Callable[..., Path], omp: Omp, workshop: Path, tmp_path: Path) -> None:
    folder = evaluated("e", "--episodes", 2)
    reason = "--resume continues an evaluation as it was configured, but for --episodes"
    for more in (("--nfe", 2), ("--out", tmp_path / "o"), (workshop / "run",), ("--seed", 1)):
        refused(omp("eval", "--resume", folder, *more), 2, reason)
    refused(omp("eval", "--offline", "--resume", folder), 2, "--resume does not go with --offline")
    refused(omp("eval", "--resume", workshop / "run"), 2, "a run of omp pretrain, not of omp eval")
    refused(omp("eval", "--resume", tmp_path / "nowhere"), 3, "nowhere")
    refused(omp("eval", "--resume", folder, "--episodes", 1), 2, "has come to episode 2 already", "--episodes 2")
    manifest = read_manifest(folder)
    other = [read.model_copy(update={"sha256": "0" * 64}) for read in manifest.inputs]
    rewritten(folder, manifest.model_copy(update={"inputs": other, "status": "interrupted"}))
    refused(omp("eval", "--resume", folder), 2, "which it evaluates, is gone or another one by now", "without --resume")
    rewritten(folder, manifest.model_copy(update={"inputs": [], "status": "interrupted"}))
    refused(omp("eval", "--resume", folder), 2, "ended before it had read a checkpoint")
    assert len(read_jsonl(folder / "episodes.jsonl")) == 2, "nothing was lost"


def test_one_of_recorded_data_is_made_anew(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    line = ("eval", "--offline", workshop / "run", "--set", "on=train", "--samples", 2, "--out", tmp_path / "o")
    assert omp(*line).code == 0
    refused(omp("eval", "--resume", tmp_path / "o"), 2, "an evaluation on recorded data", "omp eval --offline")


def test_the_same_line_goes_on_where_it_names_the_folder(
    evaluated: Callable[..., Path], omp: Omp, workshop: Path
) -> None:
    """As a sweep writes it, also with more episodes; one of another training begins anew."""
    whole, again = evaluated("whole", "--episodes", 4), evaluated("e", "--episodes", 3)
    cut(again, 2)
    evaluated("e", "--episodes", 4)
    assert read_manifest(again).metrics["resumed_at_episode"] == 2
    assert figures(again) == figures(whole)
    line = ("eval", workshop / "run", "--max-steps", 8, "--workers", 1, "--out", again)
    cut(again, 2)
    for more, said in (
        (("--episodes", 4, "--nfe", 2), "holds 2 episodes of an evaluation with other settings (nfe)"),
        (("--episodes", 1), "has come to episode 2 already"),
    ):
        refused(omp(*line, *more), 2, said)
        assert len(read_jsonl(again / "episodes.jsonl")) == 2, "nothing was lost"
    manifest = read_manifest(again)
    others = [read.model_copy(update={"sha256": ""}) for read in manifest.inputs]
    rewritten(again, manifest.model_copy(update={"inputs": others}))
    done = omp(*line, "--episodes", 3)
    assert "2 episodes of another checkpoint go" in done.err
    assert "resumed_at_episode" not in read_manifest(again).metrics
    refused(omp(*line, "--episodes", 3), 2, "holds a finished run of omp eval")


def test_a_sweep_refuses_an_evaluation_with_other_settings(tmp_path: Path) -> None:
    entry = {"value": 60, "source": "flag"}
    job = Job("e", "eval", tmp_path, ("eval", "RUN"), {"episodes": {**entry, "value": 20}})
    with Run(job.folder, "eval", {"episodes": entry}, {}):
        pass
    rewritten(job.folder, read_manifest(job.folder).model_copy(update={"status": "running"}))
    assert job.change() is None, "there is nothing to lose"
    (job.folder / "episodes.jsonl").write_text("{}")
    assert job.change() == "episodes 60, planned with 20"


def test_what_an_earlier_omp_made(evaluated: Callable[..., Path], omp: Omp) -> None:
    """It said nothing of noise, and did not name the checkpoints of a curve."""
    folder = evaluated("e", "--episodes", 2)
    manifest = read_manifest(folder)
    del manifest.metrics["noise_scale"], manifest.config["noise_scale"]
    rewritten(folder, manifest)
    assert omp("eval", "--resume", folder).code == 0
    curve = evaluated("c", "--episodes", 2, "--curve", 1)
    manifest = read_manifest(curve)
    last = [read for read in manifest.inputs if read.kind == "checkpoint"]
    rewritten(curve, manifest.model_copy(update={"inputs": last}))
    refused(
        omp("eval", "--resume", curve, "--episodes", 3), 2, "episodes of checkpoints that its manifest does not name"
    )
    assert figures(curve)["curve"], "nothing was lost"


def test_a_finished_one_gets_a_video(evaluated: Callable[..., Path], omp: Omp) -> None:
    folder = evaluated("e", "--episodes", 2)
    before = figures(folder)
    done = omp("eval", "--resume", folder, "--video", "--video-episodes", 1, "--workers", 1)
    assert done.code == 0, done.err
    assert figures(folder) == before
    assert (folder / "video.mp4").is_file()
    assert omp("eval", "--resume", folder, "--episodes", 3, "--workers", 1).code == 0
    assert "video.mp4" in [artifact.path for artifact in read_manifest(folder).artifacts], "which shows what it showed"
