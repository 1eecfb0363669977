"""What becomes of an earlier run in the folder of a new one."""

from pathlib import Path

import pytest

from omp_cli.core.base.errors import DataError, Interrupted, UsageError
from omp_cli.core.base.files import sha256_of
from omp_cli.core.base.manifest import Artifact, check_artifacts, read_manifest, write_manifest
from omp_cli.core.base.run import FINISHED, Earlier, Run, read_resumed, refuse_lost


def run_once(folder: Path, earlier: Earlier, *names: str, error: BaseException | None = None) -> None:
    """A run that writes files of these names, their content the moment's, and ends with the error if there is one."""
    with Run(folder, "eval", {}, {}, earlier=earlier) as run:
        for name in names:
            (folder / name).write_text(run.manifest.started_at)
            run.artifact(folder / name)
        if error is not None:
            raise error


def names_in(folder: Path) -> set[str]:
    check_artifacts(folder, found := read_manifest(folder))
    files = {path.name for path in folder.iterdir()} - {"manifest.json"}
    assert {artifact.path for artifact in found.artifacts} == files, "what is there is listed, and nothing else is"
    return files


def test_a_finished_measurement_is_not_written_over(tmp_path: Path) -> None:
    run_once(tmp_path, "kept", "video.mp4", "episodes.jsonl")
    before = sha256_of(tmp_path)
    with pytest.raises(UsageError, match="holds a finished run of omp eval"):
        run_once(tmp_path, "kept", "episodes.jsonl")
    assert sha256_of(tmp_path) == before


def test_what_an_unfinished_measurement_left_goes_with_the_next(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run_once(tmp_path, "kept", "video.mp4", "mine.txt", error=Interrupted("interrupted"))
    (tmp_path / "mine.txt").write_text("changed since")
    run_once(tmp_path, "kept", "episodes.jsonl")
    (tmp_path / "mine.txt").rename(tmp_path.with_suffix(".mine"))
    assert names_in(tmp_path) == {"episodes.jsonl"}


def test_nothing_elsewhere_goes(tmp_path: Path) -> None:
    folder, other = tmp_path / "run", tmp_path / "other.txt"
    other.write_text("somebody else's")
    with pytest.raises(Interrupted):
        run_once(folder, "kept", error=Interrupted("interrupted"))
    (folder / "link").symlink_to(other)
    listed = [Artifact(path=path, sha256=sha256_of(other), bytes=1) for path in ("../other.txt", str(other), "link")]
    write_manifest(folder, read_manifest(folder).model_copy(update={"artifacts": listed}))
    run_once(folder, "kept")
    assert other.read_text() == "somebody else's"


@pytest.mark.parametrize("error", [None, Interrupted("interrupted"), ValueError("failed")])
def test_a_log_is_never_written_over(tmp_path: Path, error: BaseException | None) -> None:
    folder = tmp_path / "log"
    if error is None:
        run_once(folder, "logged", "ticks.jsonl")
    else:
        with pytest.raises(type(error)):
            run_once(folder, "logged", "ticks.jsonl", error=error)
    before = sha256_of(folder)
    with pytest.raises(UsageError, match=r"holds a (finished )?run of omp eval"):
        run_once(folder, "logged")
    assert sha256_of(folder) == before


def test_a_finished_run_stands_until_the_one_that_replaces_it_has_ended(tmp_path: Path) -> None:
    run_once(tmp_path, "replaced", "report.md", "plot.png")
    old = read_manifest(tmp_path)
    with Run(tmp_path, "eval", {}, {}, earlier="replaced") as run:
        run.input("eval", tmp_path, "0")
        assert read_manifest(tmp_path) == old
        (tmp_path / "report.md").write_text("new")
        run.artifact(tmp_path / "report.md")
    assert names_in(tmp_path) == {"report.md"}
    assert read_manifest(tmp_path).started_at > old.started_at


def test_a_finished_run_that_goes_on_gets_its_manifest_back_unless_there_is_more(tmp_path: Path) -> None:
    """A resume that fails at once has lost nothing; one that has changed files says how it ended, and can be told."""
    run_once(tmp_path, "resumed", "weights")
    old = read_manifest(tmp_path)
    for error in (DataError("does not fit"), Interrupted("interrupted")):
        with pytest.raises(type(error)), Run(tmp_path, "eval", {}, {}) as run:
            assert read_manifest(tmp_path).status == "running"
            run.input("eval", tmp_path, "0")
            raise error
        assert read_manifest(tmp_path) == old
        assert names_in(tmp_path) == {"weights"}
    with pytest.raises(Interrupted), Run(tmp_path, "eval", {}, {}):
        (tmp_path / "weights").write_text("more")
        raise Interrupted("interrupted")
    assert read_manifest(tmp_path).status == "interrupted"
    assert read_manifest(tmp_path / FINISHED) == old
    run_once(tmp_path, "replaced", "weights")
    assert names_in(tmp_path) == {"weights"}, "a new one does not go on from it"
    with pytest.raises(Interrupted), Run(tmp_path, "eval", {}, {}):
        (tmp_path / "weights").write_text("more")
        raise Interrupted("interrupted")
    run_once(tmp_path, "resumed", "weights")
    assert names_in(tmp_path) == {"weights"}, "a later one ends well"
    assert read_manifest(tmp_path).status == "succeeded"


def test_a_sweep_that_goes_on_and_fails_says_so(tmp_path: Path) -> None:
    """It has no files of its own by which one could see that nothing was done."""
    with Run(tmp_path, "sweep", {}, {}) as run:
        run.metrics(jobs=[1, 2])
    with pytest.raises(DataError), Run(tmp_path, "sweep", {}, {}) as run:
        run.metrics(jobs=[1, 2, 3])
        raise DataError("a job failed")
    assert (read_manifest(tmp_path).status, read_manifest(tmp_path).metrics) == ("failed", {"jobs": [1, 2, 3]})
    assert run.manifest.metrics == {"jobs": [1, 2, 3]}


@pytest.mark.parametrize("earlier", ["replaced", "reused"])
def test_a_run_that_came_to_nothing_leaves_a_finished_one_as_it_was(tmp_path: Path, earlier: Earlier) -> None:
    run_once(tmp_path, earlier, "report.md")
    old = read_manifest(tmp_path)
    with pytest.raises(DataError):
        run_once(tmp_path, earlier, error=DataError("no such evaluation"))
    assert read_manifest(tmp_path) == old
    with pytest.raises(Interrupted):
        run_once(tmp_path, earlier, "report.md", error=Interrupted("interrupted"))
    assert read_manifest(tmp_path).status == "interrupted", "its file is no longer what it was"
    run_once(tmp_path, earlier, "report.md")
    assert names_in(tmp_path) == {"report.md"}


def test_data_that_an_interrupted_run_lists_are_gone_on_from(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run_once(tmp_path, "reused", "store", error=Interrupted("just before the end"))
    with Run(tmp_path, "eval", {}, {}, earlier="reused"):
        assert (tmp_path / "store").exists()


def test_a_finished_run_without_its_checkpoints_is_not_begun_anew(tmp_path: Path) -> None:
    """As it is copied without them: to resume it would train from the first step, over its figures."""
    with Run(tmp_path, "pretrain", {}, {}):
        (tmp_path / "checkpoints").mkdir()
    manifest = read_resumed(tmp_path, "pretrain")
    refuse_lost(tmp_path, manifest)
    (tmp_path / "checkpoints").rmdir()
    with pytest.raises(DataError, match="finished run without its folder checkpoints"):
        refuse_lost(tmp_path, manifest)
