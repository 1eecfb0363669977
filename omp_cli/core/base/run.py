"""A run: a folder with one writer and a manifest that always tells its true status."""

from __future__ import annotations

import datetime
import itertools
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from omp_cli.core.base import manifest as m
from omp_cli.core.base.errors import DataError, Interrupted, OmpError, Terminated, UsageError
from omp_cli.core.base.files import defined, name_part, quoted, sha256_of, size_of, writable_folder, write_text
from omp_cli.core.base.locks import hold, is_held
from omp_cli.core.base.plugins import loaded_plugins, users_files

CHECKPOINTS = "checkpoints"
"""The folder of checkpoints in a run's."""
CODE = ("plugin", "import of a plugin")
"""The kinds of inputs that code of the user's own is: the files of ``--plugin``, and what they import beside them."""
BEST = "best"
"""The folder of the one checkpoint that did best on held-out episodes, in a run's that evaluates while it trains."""
EPISODES = "episodes.jsonl"
"""The file with a line for each episode, of an evaluation or on a robot."""
FINISHED = "finished.json"
"""The manifest that a finished run had, in its folder while it goes on to another end."""
TRACEBACK = "traceback.txt"
OTHER_FOLDER = "choose another with --out DIR"
Earlier = Literal["resumed", "reused", "replaced", "kept", "logged"]
"""What becomes of an earlier run of the same command that is in a run's folder.

resumed   the run goes on from it, finished or not (``--resume``, a sweep); a finished one gets its manifest back if the
          new one has ended badly and left its files as they were
reused    the run goes on from it; a finished one stands until the new one has ended (data sets)
replaced  a finished one stands until the new one has ended, and then its files go that the new one does not have (what
          is made of other runs or of data, and can be made again)
kept      a finished one, and checkpoints, are not written over: UsageError (what takes time to train or to measure)
logged    none is written over, however it ended: UsageError (what happened to a robot happened once)

Where a run is to be replaced, or would be kept if it were finished, the files of an unfinished one go at once.
"""


def refuse_checkpoints(folder: Path) -> None:
    """UsageError when a folder that is meant for a new run holds checkpoints of an earlier one."""
    if (folder / CHECKPOINTS).exists():
        resume = f"use --resume {quoted(folder)}, or another --out DIR"
        hint = resume if (folder / m.FILE_NAME).exists() else OTHER_FOLDER
        raise UsageError(f"output folder {folder}: holds checkpoints", hint)


def earlier_run(folder: Path, command: str, earlier: Earlier) -> m.Manifest | None:
    """The manifest of the run that a folder holds before a run of ``omp COMMAND`` begins there; None without one.

    Raises:
        UsageError: it is a run of another command, or may not be written over (``Earlier``).
        DataError: its manifest is damaged.
    """
    found = m.read_manifest(folder) if (folder / m.FILE_NAME).exists() else None
    where = f"output folder {folder}"
    if found is not None and found.command != command:
        raise UsageError(f"{where}: holds a run of omp {found.command}", OTHER_FOLDER)
    if earlier == "kept":
        refuse_checkpoints(folder)
    if found is not None and (earlier == "logged" or (earlier == "kept" and found.status == "succeeded")):
        kind = "finished run" if found.status == "succeeded" else "run"
        raise UsageError(f"{where}: holds a {kind} of omp {command}", f"{OTHER_FOLDER}, or delete it first")
    return found


def new_folder(root: Path, name: str) -> Path:
    """A folder ``<time>-<name>`` below ``root`` that this call has made: nobody else gets the same."""
    root, name = writable_folder(root), name_part(name)  # a task out of data leads nowhere else
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        folder = root / (f"{stamp}-{name}" if number == 1 else f"{stamp}-{name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("there is always a next number")


def read_resumed(folder: Path, command: str) -> m.Manifest:
    """The manifest of a run of ``omp COMMAND`` that is to be resumed.

    Raises:
        UsageError: the folder is a part of a run, or a run of another command.
        DataError: the folder has no manifest, or a damaged one.
    """
    if folder.exists() and not (folder / m.FILE_NAME).is_file():
        above = next((p for p in folder.parents[:3] if (p / m.FILE_NAME).is_file()), None)
        if above is not None:  # the folder is a checkpoint, or a file of one
            raise UsageError(f"{folder}: a part of a run; a run is resumed as a whole", f"--resume {quoted(above)}")
    manifest = m.read_manifest(folder)
    if manifest.command != command:
        raise UsageError(f"{folder}: a run of omp {manifest.command}, not of omp {command}")
    return manifest


def refuse_lost(folder: Path, manifest: m.Manifest) -> None:
    """DataError where a finished run that is to go on has lost what it would go on from: it would begin anew."""
    kind, needed = ("file", EPISODES) if manifest.command == "eval" else ("folder", CHECKPOINTS)
    if manifest.status == "succeeded" and not (folder / needed).exists():
        raise DataError(
            f"{folder}: a finished run without its {kind} {needed}, so there is nothing to go on from",
            f"copy {needed} of the original there, or start it again without --resume",
        )


def state_of(folder: Path, manifest: m.Manifest) -> str:
    """The status that the manifest in ``folder`` tells, or "lost" where it says "running" and no process is at work."""
    return "lost" if manifest.status == "running" and not is_held(folder) else manifest.status


def changed_code(folder: Path, manifest: m.Manifest) -> str:
    """What to say where code of the user's own is here with another content than a run was made with; else ""."""
    known: dict[str, str] = {}  # the last counts, with which the newest weights were made
    for read in manifest.inputs:
        if read.kind in CODE:
            known |= dict.fromkeys((read.path, Path(read.path).name), read.sha256)  # it may lie elsewhere by now
    if not known:
        return ""
    hashes = {file: known.get(str(file)) or known.get(file.name) for file in users_files()}
    changed = [str(file) for file, made_with in hashes.items() if made_with and sha256_of(file) != made_with]
    return f"{', '.join(changed)}: changed since {folder} was made with it" if changed else ""


def of_plugin(folder: Path, otherwise: str = "the part may come from a plugin: give it with --plugin FILE") -> str:
    """The hint for a part of the run in a folder that is unknown here: the plugins with which the run was made, or
    ``otherwise`` where that run knows of none.
    """
    try:
        inputs = m.read_manifest(folder).inputs if (folder / m.FILE_NAME).is_file() else []
    except DataError:  # whoever opens the run is told
        inputs = []
    newest = {Path(i.path).name: Path(i.path) for i in inputs if i.kind == CODE[0]}  # one that moved has two paths
    if words := [f"--plugin {quoted(path)}" for path in newest.values()]:
        return f"the part may come from a plugin; the run was made with {' '.join(words)}"
    return otherwise


def whereabouts(run: Path, recorded: str) -> Iterator[Path]:
    """Where an input of a run may be now: as recorded, else below the folders above the run's, nearest first.

    A relative path is one from the folder in which the run was started; the end of any path still fits when a project
    was moved as a whole, or the data beside the run. Whether the content is the same is for the caller to see.

    Args:
        run: the run's folder.
        recorded: the path in its manifest.
    """
    path = Path(recorded)
    above = dict.fromkeys((*run.absolute().parents, *run.resolve().parents))
    ends = [Path(*path.parts[n:]) for n in range(int(path.is_absolute()), len(path.parts))]
    yield from dict.fromkeys(p for p in (path, *(folder / end for end in ends for folder in above)) if p.exists())


class Run:
    """Context manager around the work of one command.

    Entering takes the folder for this process and writes a manifest with status "running"; leaving writes the final
    one. An exception is recorded (failed, or interrupted where somebody asked to stop) and goes on to the caller.

    Entering raises UsageError, and changes nothing, when the folder cannot be written, when another process is at work
    there, when it belongs to another command, or to an earlier run that may not be written over.

    Where a finished run stands until this one has ended, its manifest is the one in the folder so long, and stays there
    if this run comes to nothing and has left its files as they were.

    Args:
        folder: the run's folder, made if needed.
        command: "prepare", "pretrain", ...
        config: ``{dotted key: {"value", "source"}}`` as made by ``config.sources_of``.
        seeds: every seed that the run depends on.
        device: where tensors live.
        threads: torch threads, where that matters.
        earlier: what becomes of an earlier run in the folder.
        inputs: what is known to be read, as for ``input``; a resumed run that is killed at once still has them.
    """

    def __init__(
        self,
        folder: Path,
        command: str,
        config: Mapping[str, Mapping[str, Any]],
        seeds: Mapping[str, int],
        device: str = "cpu",
        threads: int | None = None,
        earlier: Earlier = "resumed",
        inputs: Iterable[tuple[str, Path | str, str]] = (),
    ) -> None:
        self.folder, self._earlier = folder, earlier
        self._stands: m.Manifest | None = None
        self._held = ExitStack()
        self._clock = time.monotonic()
        self.manifest = m.Manifest(
            command=command,
            argv=sys.argv[1:],
            started_at=m.now(),
            config={key: m.Value.model_validate(value) for key, value in config.items()},
            seeds=dict(seeds),
            versions=m.versions(),
            hardware=m.hardware(device, threads),
            inputs=[m.Input(kind=kind, path=str(path), sha256=sha256) for kind, path, sha256 in inputs],
        )

    @property
    def path(self) -> Path:
        """Path of the manifest."""
        return self.folder / m.FILE_NAME

    def input(self, kind: str, path: Path, sha256: str) -> None:
        """Record something that is read, at once: a run that is killed and resumed must find the same input."""
        self.manifest.inputs.append(m.Input(kind=kind, path=str(path), sha256=sha256))
        self._write()

    def artifact(self, path: Path) -> Path:
        """Record a finished file or folder inside the run's folder, with its hash; returns ``path``."""
        relative = path.relative_to(self.folder).as_posix()
        self.manifest.artifacts = [a for a in self.manifest.artifacts if a.path != relative]
        self.manifest.artifacts.append(m.Artifact(path=relative, sha256=sha256_of(path), bytes=size_of(path)))
        return path

    def metrics(self, **figures: Any) -> None:
        """Record results; JSON types only. A number that is not finite is a figure that is not defined: null."""
        self.manifest.metrics.update(defined(figures))

    def __enter__(self) -> Run:
        with ExitStack() as stack:
            stack.enter_context(hold(writable_folder(self.folder)))
            found = earlier_run(self.folder, self.manifest.command, self._earlier)
            if self._earlier != "resumed":  # of a run that this one does not go on from
                (self.folder / FINISHED).unlink(missing_ok=True)
            if found is not None and found.status == "succeeded" and self._earlier in ("reused", "replaced"):
                self._stands = found
            elif found is not None and self._earlier in ("replaced", "kept"):
                m.remove_artifacts(self.folder, found)
            elif found is not None and found.status == "succeeded" and found.artifacts:  # a sweep has none of its own
                m.write_manifest(self.folder, found, FINISHED)
            self._record_code([] if found is None or self._earlier != "resumed" else found.inputs)
            self._write()
            self._held = stack.pop_all()
        return self

    def _record_code(self, before: Sequence[m.Input]) -> None:
        """Record the code of the user's own that works on this run, after what has worked on it ``before``."""
        named = loaded_plugins()
        now = [m.Input(kind=CODE[f not in named], path=str(f), sha256=sha256_of(f)) for f in users_files()]
        for code in (*(i for i in before if i.kind in CODE), *now):
            self.manifest.inputs = [*(i for i in self.manifest.inputs if i != code), code]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with self._held:
            if error is None:
                (self.folder / TRACEBACK).unlink(missing_ok=True)  # of an earlier try
                self._finish("succeeded")
            else:
                self._fail(error)

    def _fail(self, error: BaseException) -> None:
        interrupted = isinstance(error, KeyboardInterrupt | Interrupted | Terminated)
        self.manifest.error = m.Failure(
            type=type(error).__name__,
            message=str(error) or type(error).__name__,
            hint=getattr(error, "hint", ""),
            exit_code=error.exit_code if isinstance(error, OmpError) else 130 if interrupted else 1,
        )
        try:
            if not interrupted and not isinstance(error, OmpError):
                write_text(self.folder / TRACEBACK, "".join(traceback.format_exception(error)))
            self._finish("interrupted" if interrupted else "failed")
        except OSError as second:  # a full disk: the first error is the one to report
            error.add_note(f"the manifest could not be updated either: {second}")

    def _finish(self, status: m.Status) -> None:
        self.manifest.status = status
        self.manifest.finished_at = m.now()
        self.manifest.wall_seconds = round(time.monotonic() - self._clock, 3)
        before = self._finished_before()
        if before is not None and status != "succeeded" and self._is_as_left_by(before):
            m.write_manifest(self.folder, before)
            (self.folder / TRACEBACK).unlink(missing_ok=True)
        else:
            if self._stands is not None and status == "succeeded":
                m.remove_artifacts(self.folder, self._stands, but={a.path for a in self.manifest.artifacts})
            self._stands = before = None
            self._write()
        if status == "succeeded" or before is not None:
            (self.folder / FINISHED).unlink(missing_ok=True)

    def _is_as_left_by(self, before: m.Manifest) -> bool:
        """Whether the folder has the files of a finished run as they were, and no newer checkpoint."""
        try:
            m.check_artifacts(self.folder, before)
        except DataError:
            return False
        found = sorted(path.name for path in (self.folder / CHECKPOINTS).glob("*"))
        return not found or f"{CHECKPOINTS}/{found[-1]}" in {artifact.path for artifact in before.artifacts}

    def _finished_before(self) -> m.Manifest | None:
        """The manifest of the finished run that this one replaces or goes on from; None where there is none."""
        if self._stands is None and (self.folder / FINISHED).is_file():
            with suppress(OmpError):  # one that cannot be read must not hide the error that is told
                return m.read_manifest(self.folder / FINISHED)
        return self._stands

    def _write(self) -> None:
        """Write the manifest, unless an earlier one stands."""
        if self._stands is None:
            m.write_manifest(self.folder, self.manifest)
