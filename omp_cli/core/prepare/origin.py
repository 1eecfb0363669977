"""Which data set is meant: one of the catalogue, to be downloaded, or a file of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omp_cli.core.base.errors import DataError, UsageError, did_you_mean
from omp_cli.core.base.layers import Layer
from omp_cli.core.data.catalogue import Catalogue, Entry, SuiteFacts, TaskFacts, read_catalogue
from omp_cli.core.data.readers import FORMATS, Subject
from omp_cli.core.data.readers.base import of_no_format, sniff
from omp_cli.core.families import SUITES
from omp_cli.core.prepare.source import Origin
from omp_cli.core.suites.base import is_users_own

INSIDE = ("meta/info.json", "train.npz", "data/main_data.hdf5", "main_data.hdf5")
"""What is read of a folder given by --file."""


@dataclass(frozen=True)
class FileOrigin(Origin):
    """What is to be read: a set of the catalogue, or a file of the user's, which may stand in for one.

    Attributes:
        subject: the task, and what files do not say.
        source: name for the data set folder.
        format: format of the files.
        entry: the set's entry of the catalogue; None for a file of one's own.
        file: a file of the user's; None when the set is to be downloaded.
        task_by: how the task was found out ("asked for", "file", "file name", "default").
    """

    subject: Subject
    source: str
    format: str
    entry: Entry | None
    file: Path | None
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
    return file_origin(_subject(catalogue, suite, entry.task, entry), entry.source, entry.format, entry, None, by)


def from_file(
    catalogue: Catalogue, suite: str, task: str | None, source: str | None, path: Path, forced: str | None = None
) -> FileOrigin:
    """A file of the user's, or a folder with one in it.

    Without a task it is the one that the file names, else the one whose file in the catalogue has that name, else the
    benchmark's usual one. Of a suite of the user's own, which no catalogue knows, the suite says what its tasks are.

    Raises:
        DataError: no such file, damaged, or of no known format.
        UsageError: neither the catalogue nor the suite knows such a task.
    """
    catalogue = _with_users_own(catalogue, suite, task)
    file = located(path)
    format_ = forced or sniff(file)
    facts = catalogue.suite(suite)
    reader = FORMATS.get(format_)
    env = reader.env_name(file)
    named = [e for e in catalogue.of(suite) if any(f.name == file.name for f in e.files)]
    by_env = next((name for name, t in facts.tasks.items() if env is not None and t.env == env), None)
    if task is not None:
        by = "asked for"
    elif by_env is not None:
        task, by = by_env, "file"
    elif len({e.task for e in named}) == 1:
        task, by = named[0].task, "file name"
    else:
        task, by = facts.task, "default"
    same = catalogue.of(suite, [task], source) if source is not None else []  # a name of one's own is fine too
    entry = same[0] if same else None
    subject = _subject(catalogue, suite, task, entry)
    return file_origin(subject, source or reader.label(file), format_, entry, file, by)


def of_made(suite: str, task: str, source: str, format_: str, file: Path) -> FileOrigin:
    """A file that omp has made, or will have by the time it is read."""
    catalogue = _with_users_own(read_catalogue(), suite, task)
    return file_origin(_subject(catalogue, suite, task, None), source, format_, None, file, "asked for")


def file_origin(
    subject: Subject, source: str, format_: str, entry: Entry | None, file: Path | None, by: str
) -> FileOrigin:
    """What is read, and what that says of the settings; ``by`` is how the task was found out."""
    named = {"suite": subject.suite, "task": subject.task, "source": source, "format.name": format_}
    layer = Layer("argument" if by == "asked for" else by, named)
    return FileOrigin(subject.suite, subject.task, layer, subject, source, format_, entry, file, by)


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
    for name in INSIDE:
        if (path / name).is_file():
            return path / name
    whole = [name for name in FORMATS.names() if FORMATS.get(name).folders]
    if any(FORMATS.get(name).accepts(path) for name in whole):
        return path
    raise of_no_format(path, whole, f"none of {', '.join(INSIDE)} in it; name another file itself")
