"""Which data set is meant: one of the catalogue, to be downloaded, or files of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omp_cli.core.base.errors import DataError, UsageError, did_you_mean
from omp_cli.core.base.layers import Layer
from omp_cli.core.data.catalogue import Catalogue, Entry, SuiteFacts, TaskFacts, read_catalogue
from omp_cli.core.data.readers import FORMATS, Reader, Subject
from omp_cli.core.data.readers.base import of_no_format, sniff
from omp_cli.core.data.store import STORE
from omp_cli.core.families import SUITES
from omp_cli.core.prepare.named_files import refuse_twice
from omp_cli.core.prepare.source import Origin
from omp_cli.core.suites.base import is_users_own

INSIDE = ("meta/info.json", "train.npz", "data/main_data.hdf5", "main_data.hdf5", STORE)
"""What is read of a folder that is named, the first of these that is there."""


@dataclass(frozen=True)
class FileOrigin(Origin):
    """What is to be read: a set of the catalogue, or files of the user's, which may stand in for one.

    Attributes:
        subject: the task, and what files do not say.
        source: name for the data set folder.
        format: format of the files.
        entry: the set's entry of the catalogue; None for a file of one's own.
        files: those of the user, each of which is read as one, in their order; none when the set is to be downloaded.
        task_by: how the task was found out ("asked for", "file", "file name", "default").
    """

    subject: Subject
    source: str
    format: str
    entry: Entry | None
    files: tuple[Path, ...]
    task_by: str


def from_catalogue(catalogue: Catalogue, suite: str, task: str | None, source: str | None) -> FileOrigin:
    """The set of that name, to be downloaded.

    Raises:
        UsageError: there is none, or omp has no reader for it.
        DataError: it can only be fetched by hand.
    """
    facts = catalogue.suite(suite)
    entry = catalogue.find(suite, task or facts.task, source)
    if entry.format not in FORMATS.names():
        raise UsageError(
            f"{entry.name}: {entry.note}; omp does not read that", "omp prepare --list shows other sources"
        )
    if entry.page is not None:
        names = " and ".join(f.name for f in entry.files)
        raise DataError(
            f"{entry.name} is fetched by hand: {names} from {entry.page}",
            f"then: omp prepare {suite} --task {entry.task} --source {entry.source} --file FOLDER",
        )
    by = "asked for" if task else "default"
    return file_origin(_subject(catalogue, suite, entry.task, entry), entry.source, entry.format, entry, (), by)


def from_files(
    catalogue: Catalogue,
    suite: str,
    task: str | None,
    source: str | None,
    paths: Sequence[Path],
    forced: str | None = None,
) -> FileOrigin:
    """Files of the user's, or folders with one in each.

    Without a task it is the one that the files name, else the one whose file in the catalogue has that name, else the
    benchmark's usual one. Of a suite of the user's own, which no catalogue knows, the suite says what its tasks are.

    Raises:
        DataError: no such file, damaged, of no known format, or of another format or task than the first.
        UsageError: neither the catalogue nor the suite knows such a task, or a file is named twice.
    """
    catalogue = _with_users_own(catalogue, suite, task)
    files, format_ = found_files(paths, forced)
    by = "asked for"
    if task is None:
        found = [_task_of(catalogue, suite, file, format_) for file in files]
        task, by = found[0]
        for file, (other, _) in zip(files, found, strict=True):
            if other != task:
                raise DataError(f"{file}: of task {other}, {files[0]} of {task}", "--task says which one all are of")
    same = catalogue.of(suite, [task], source) if source is not None else []  # a name of one's own is fine too
    entry = same[0] if same else None
    subject = _subject(catalogue, suite, task, entry)
    return file_origin(subject, source or label_of(files, format_), format_, entry, files, by)


def found_files(paths: Sequence[Path], forced: str | None) -> tuple[tuple[Path, ...], str]:
    """What is read of paths (``located``), and the format of all of it.

    Args:
        paths: files and folders of the user's.
        forced: name of their format; None finds it by the content.

    Raises:
        DataError: no such file, damaged, of no known format, or of another format than the first.
        UsageError: a file is named twice.
    """
    files = tuple(located(path) if forced is None else _as_forced(path, FORMATS.get(forced)) for path in paths)
    refuse_twice(files)
    formats = [forced or sniff(file) for file in files]
    for file, format_ in zip(files, formats, strict=True):
        if format_ != formats[0]:
            raise DataError(
                f"{file}: of format {format_}, {files[0]} of {formats[0]}",
                "files of one format are joined; so are data sets made of each: omp prepare own DATA_SET DATA_SET",
            )
    return files, formats[0]


def label_of(files: Sequence[Path], format_: str) -> str:
    """Name for a data set of files: that of the first, and how many more there are."""
    label: str = FORMATS.get(format_).label(files[0])
    return label if len(files) == 1 else f"{label}-and-{len(files) - 1}-more"


def _task_of(catalogue: Catalogue, suite: str, file: Path, format_: str) -> tuple[str, str]:
    """The task that a file says it is of, and how it says so."""
    facts, env = catalogue.suite(suite), FORMATS.get(format_).env_name(file)
    by_env = next((name for name, t in facts.tasks.items() if env is not None and t.env == env), None)
    if by_env is not None:
        return by_env, "file"
    named = {e.task for e in catalogue.of(suite) if any(f.name == file.name for f in e.files)}
    return (named.pop(), "file name") if len(named) == 1 else (facts.task, "default")


def of_made(suite: str, task: str, source: str, format_: str, file: Path) -> FileOrigin:
    """A file that omp has made, or will have by the time it is read."""
    catalogue = _with_users_own(read_catalogue(), suite, task)
    return file_origin(_subject(catalogue, suite, task, None), source, format_, None, (file,), "asked for")


def file_origin(
    subject: Subject, source: str, format_: str, entry: Entry | None, files: tuple[Path, ...], by: str
) -> FileOrigin:
    """What is read, and what that says of the settings; ``by`` is how the task was found out."""
    named = {"suite": subject.suite, "task": subject.task, "source": source, "format.name": format_}
    layer = Layer("argument" if by == "asked for" else by, named)
    return FileOrigin(subject.suite, subject.task, layer, subject, source, format_, entry, files, by)


def _with_users_own(catalogue: Catalogue, suite: str, task: str | None) -> Catalogue:
    """The catalogue, with what a suite of the user's own says of a task where the catalogue does not know the suite.

    UsageError where the suite has no such task; without one, its usual task is meant.
    """
    if suite in catalogue.suites or not is_users_own(suite):
        return catalogue
    built = SUITES.build(SUITES.parse({"name": suite}))
    (chosen,) = built.select([] if task is None else [task], [])
    spec = built.spec(chosen)
    of_task = TaskFacts(max_steps=spec.max_steps, control_hz=spec.control_hz)
    facts = SuiteFacts(task=chosen, end_effector=spec.end_effector, tasks={chosen: of_task})
    return Catalogue({**catalogue.suites, suite: facts}, catalogue.entries)


def _subject(catalogue: Catalogue, suite: str, task: str, entry: Entry | None) -> Subject:
    facts = catalogue.suite(suite)
    found = facts.facts(task)
    if found is None:
        known = {*facts.tasks, *(e.task for e in catalogue.of(suite))}
        raise UsageError(f"unknown task {task!r} of {suite}", did_you_mean(task, known))
    if entry is not None and entry.max_steps is not None:
        found = found.model_copy(update={"max_steps": entry.max_steps})
    states = SUITES.build(SUITES.parse({"name": suite})).file_states(task) if suite in SUITES.names() else ()
    return Subject(suite, task, found, facts.end_effector, states)


def located(path: Path) -> Path:
    """What is read of a path: the file itself, the one of ``INSIDE`` in a folder, or a folder that is read as a whole.

    DataError for any other folder.
    """
    if not path.is_dir():
        return path
    if (found := _inside(path)) is not None:
        return found
    whole = [name for name in FORMATS.names() if FORMATS.get(name).folders]
    if any(FORMATS.get(name).accepts(path) for name in whole):
        return path
    raise of_no_format(path, whole, f"none of {', '.join(INSIDE)} in it; name another file itself")


def _as_forced(path: Path, reader: type[Reader]) -> Path:
    """What is read of a path as a format that is asked for: a folder as it is, or the one of ``INSIDE`` in it."""
    if not (path.is_dir() and reader.folders):
        return located(path)
    found = _inside(path)
    return found if found is not None and not reader.accepts(path) and reader.accepts(found) else path


def _inside(folder: Path) -> Path | None:
    """The one of ``INSIDE`` that is in a folder."""
    return next((folder / name for name in INSIDE if (folder / name).exists()), None)
