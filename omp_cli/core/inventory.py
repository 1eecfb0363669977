"""Data sets and runs below some folders: what each is and how it stands; which of them can go, and which cannot.

What can go are runs that failed, were interrupted or lost, for their figures never came. None goes that somebody is at
work on, that another run needs, or that holds one that stays.
"""

from __future__ import annotations

import datetime
import functools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omp_cli.core.base.errors import DataError, OmpError, UsageError
from omp_cli.core.base.files import size_of
from omp_cli.core.base.locks import hold, is_held
from omp_cli.core.base.manifest import Manifest, read_manifest, run_folders
from omp_cli.core.base.run import EPISODES, FINISHED, state_of, whereabouts
from omp_cli.core.base.statistics import counted
from omp_cli.core.base.table import NONE, Table
from omp_cli.core.data.store import STORE

UNFINISHED = ("failed", "interrupted", "lost")
DAMAGED = "damaged"
STATES = (*UNFINISHED, "running", "succeeded", DAMAGED)
TRAINED = ("pretrain", "finetune")


@dataclass(frozen=True)
class RunEntry:
    """One data set or run.

    Attributes:
        folder: its folder.
        state: "running", "succeeded", "failed", "interrupted", "lost" (its process is gone), or "damaged".
        manifest: None where it is damaged.
        bytes: size of all files in the folder.
        problem: why its manifest cannot be read, or why the run did not succeed; "" for neither.
    """

    folder: Path
    state: str
    manifest: Manifest | None
    bytes: int
    problem: str = ""

    @functools.cached_property
    def place(self) -> Path:
        """The folder, whatever it is called."""
        return self.folder.resolve()

    @functools.cached_property
    def read(self) -> tuple[Path, ...]:
        """What it has read, as far as names tell."""
        inputs = [] if self.manifest is None else self.manifest.inputs
        return tuple(place.resolve() for i in inputs for place in whereabouts(self.folder, i.path))

    def reads(self, other: RunEntry) -> bool:
        """Whether it has read something at or below the folder of another."""
        return any(path.is_relative_to(other.place) for path in self.read)

    @property
    def of_robot(self) -> bool:
        """Whether it has episodes of a robot, which happened however the run has ended."""
        return self.command == "deploy" and (self.folder / EPISODES).is_file()

    @property
    def command(self) -> str:
        """What made it; "" where that cannot be told."""
        return "" if self.manifest is None else self.manifest.command

    @property
    def started_at(self) -> str:
        """UTC, ISO 8601; "" where that cannot be told."""
        return "" if self.manifest is None else self.manifest.started_at

    @property
    def what(self) -> str:
        """What it is in a few words: method, task, demonstrations."""
        if self.manifest is None:
            return self.problem
        config = {key: entry.value for key, entry in self.manifest.config.items()}
        metrics = self.manifest.metrics
        words = [self.command, config.get("algorithm.name") or config.get("method.name")]
        if (task := metrics.get("task")) is not None:
            words.append(task)
        elif (read := config.get("dataset") or config.get("checkpoint") or config.get("file")) is not None:
            words += ["on", Path(str(read)).name]
        if "demos" in metrics:
            words += [metrics["demos"], "episodes"]
        return " ".join(str(word) for word in words if word is not None)

    def success(self, entries: Sequence[RunEntry]) -> str:
        """Success or return: an evaluation's own or a robot's, a trained run's by its newest evaluation; else ""."""
        judged = self.state == "succeeded" if self.command == "eval" else self.command == "deploy"
        if judged and self.manifest is not None:
            return _success(self.manifest.metrics)
        if self.command in TRAINED:
            of = [e for e in entries if e.command == "eval" and e.reads(self)]
            newest_first = sorted(of, key=lambda e: e.started_at, reverse=True)
            return next(filter(None, (e.success(entries) for e in newest_first)), "")  # offline there is no success
        return ""

    def as_dict(self, entries: Sequence[RunEntry]) -> dict[str, Any]:
        """Plain data; ``entries`` are all that there are (``success``)."""
        return {
            "folder": str(self.folder),
            "status": self.state,
            "command": self.command or None,
            "what": self.what,
            "started_at": self.started_at or None,
            "bytes": self.bytes,
            "success": self.success(entries) or None,
            "problem": self.problem or None,
        }


def entries_table(title: str, shown: Sequence[RunEntry], entries: Sequence[RunEntry]) -> Table:
    """A row for each that is shown; ``entries`` are all that there are."""
    rows = [(e.state, e.what, _when(e), size_text(e.bytes), e.success(entries), str(e.folder)) for e in shown]
    columns = ("status", "what", "when", "size", "success", "where")
    return Table(title, columns, [[cell or NONE for cell in row] for row in rows])


def list_tables(shown: Sequence[RunEntry], entries: Sequence[RunEntry]) -> list[Table]:
    """The data sets that are shown, and the runs, each in a table of its own; ``entries`` are all that there are."""
    data = [entry for entry in shown if entry.command == "prepare"]
    runs = [entry for entry in shown if entry.command != "prepare"]
    return [entries_table(title, of, entries) for title, of in (("Data sets", data), ("Runs", runs)) if of]


def list_lines(shown: Sequence[RunEntry], folders: Sequence[Path]) -> list[str]:
    """How many there are and how large they are, what went wrong with them, and how many of them can go."""
    lines = [f"{len(shown)} below {', '.join(map(str, folders))}, {size_of_all(outermost(shown))}"]
    lines += [f"{e.folder}: {e.problem}" for e in shown if e.problem and e.manifest is not None]
    if unfinished := sum(entry.state in UNFINISHED and not entry.of_robot for entry in shown):
        lines.append(f"{unfinished} came to nothing; see what can go: omp runs --prune --dry-run")
    return lines


def run_table(path: Path, manifest: Manifest, state: str) -> Table:
    """What the manifest at ``path`` says of its run, which is in ``state`` (``state_of``); no figures in lists.

    Of a sweep it says how many jobs have finished, failed and so on, as the manifest knows them.
    """
    metrics = [(name, str(value)) for name, value in manifest.metrics.items() if not isinstance(value, list | dict)]
    hardware, states = manifest.hardware, manifest.metrics.get("states", {})
    rows = [
        ("command", f"omp {manifest.command}"),
        ("status", "lost (its process is gone)" if state == "lost" else state),
        ("started", manifest.started_at),
        ("seconds", str(manifest.wall_seconds)),
        ("machine", f"{hardware.cpu}, {hardware.cores} cores, device {hardware.device}"),
        *[(f"input {i.kind}", f"{i.path} ({i.sha256[:12]})") for i in manifest.inputs],
        *metrics,
        *[(f"jobs {job_state}", str(count)) for job_state, count in states.items() if count],
        *[("artifact", f"{a.path} ({a.bytes} bytes, {a.sha256[:12]})") for a in manifest.artifacts],
        *([("error", manifest.error.message)] if manifest.error else []),
    ]
    return Table(str(path), ("what", "value"), rows)


def size_of_all(entries: Sequence[RunEntry]) -> str:
    """The size of several together, none of which lies in another, with a unit."""
    return size_text(sum(entry.bytes for entry in entries))


def size_text(count: int) -> str:
    """Bytes with a unit."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"


def _when(entry: RunEntry) -> str:
    """When it began, in the time of this place."""
    try:
        return datetime.datetime.fromisoformat(entry.started_at).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return ""


@dataclass(frozen=True)
class Pruning:
    """What ``prune`` would remove, outermost folders alone; what is unfinished and stays, with the reason."""

    gone: list[RunEntry]
    kept: dict[Path, str]


def list_runs(folders: Sequence[Path]) -> list[RunEntry]:
    """Every data set and run at any depth below the folders, oldest first, each once; damaged ones come last."""
    found = {path.resolve(): path for folder in folders for path in run_folders(folder)}
    return sorted(map(_entry, found.values()), key=lambda e: (e.manifest is None, e.started_at, str(e.folder)))


def _entry(folder: Path) -> RunEntry:
    try:
        manifest = read_manifest(folder)
    except DataError as error:
        return RunEntry(folder, DAMAGED, None, size_of(folder), error.message)
    problem = "" if manifest.error is None else manifest.error.message
    return RunEntry(folder, state_of(folder, manifest), manifest, size_of(folder), problem)


def _success(metrics: Mapping[str, Any]) -> str:
    if isinstance(shown := metrics.get("return"), Mapping):
        return f"{metrics.get('counts', 'return')} {shown['mean']:.4g}"
    if not metrics.keys() & {"success", "success_any"}:
        return ""
    rate = counted(metrics)
    return f"{rate['successes']}/{rate['episodes']} = {rate['rate']:.2f}"


def outermost(entries: Sequence[RunEntry]) -> list[RunEntry]:
    """Those that lie in none of the others: a sweep's folder holds those of its jobs."""
    places = {entry.place for entry in entries}
    return [entry for entry in entries if not places.intersection(entry.place.parents)]


def plan_pruning(entries: Sequence[RunEntry], within: Sequence[Path]) -> Pruning:
    """What can be removed of the entries that lie below the folders ``within``.

    All other entries count too: they may need one of these. What stays keeps what it has read itself.
    """
    roots = [root.resolve() for root in within]
    candidates = {e.place: e for e in entries if e.state in UNFINISHED}
    kept: dict[Path, str] = {}
    for path, entry in list(candidates.items()):
        if (reason := _stays(entry, path, roots)) is not None:
            kept[entry.folder] = reason
            del candidates[path]
    while reasons := {p: r for p, e in candidates.items() if (r := _needed(e, p, entries, candidates)) is not None}:
        for path, reason in reasons.items():
            kept[candidates.pop(path).folder] = reason
    return Pruning(outermost(list(candidates.values())), {folder: reason for folder, reason in kept.items() if reason})


def _stays(entry: RunEntry, path: Path, roots: Sequence[Path]) -> str | None:
    """Why an unfinished run stays whatever others need, "" where it was not asked about; None if nothing says so."""
    if not any(path.is_relative_to(root) for root in roots):
        return ""
    if path in roots or Path.cwd().is_relative_to(path):
        return "it is the folder in which you work or which you named, and may hold what is not of the run"
    if (busy := next((p for p in (path, *path.parents) if is_held(p)), None)) is not None:
        return f"a process is at work in {busy}"
    if entry.of_robot:
        return "what happened on a robot is in it"
    if (path / FINISHED).is_file():
        return "it had finished before it was resumed, and what it had made then may be there"
    if (path / STORE).is_dir():
        return "its data set is whole; an omp prepare line that is run again finds it so"
    return None


def _needed(entry: RunEntry, path: Path, entries: Sequence[RunEntry], going: Mapping[Path, RunEntry]) -> str | None:
    """Which of the runs that stay needs this one; None if none does."""
    for other in entries:
        if other.place in going or other is entry:
            continue
        if other.place.is_relative_to(path):
            return f"holds {other.folder}, which stays ({other.state})"
        if other.reads(entry):
            return f"{other.folder} needs it ({other.command}, {other.state})"
    return None


def remove_runs(entries: Sequence[RunEntry]) -> tuple[list[RunEntry], list[str]]:
    """Remove the folders of runs.

    Returns:
        What was removed, and why the others stay: somebody has begun to work there meanwhile.
    """
    removed, failures = [], []
    for entry in entries:
        try:
            _remove_run(entry)
            removed.append(entry)
        except OmpError as error:
            failures.append(f"{entry.folder}: {error.message}")
    return removed, failures


def _remove_run(entry: RunEntry) -> None:
    """Remove a run's folder; UsageError where somebody is at work there, or it is no longer what was planned."""
    with hold(entry.folder, "it stays"):
        if _entry(entry.folder).state not in (*UNFINISHED, "running"):  # held by this process it reads as running
            raise UsageError(f"{entry.folder}: has changed meanwhile", "look again: omp runs")
        shutil.rmtree(entry.place)  # a link would be refused
