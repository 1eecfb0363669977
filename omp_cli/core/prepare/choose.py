"""Which source a line means, and what there is to choose from: sources, groups and tasks."""

from __future__ import annotations

from contextlib import suppress

from omp_cli.core.base.errors import UsageError
from omp_cli.core.data.catalogue import read_catalogue
from omp_cli.core.families import SUITES
from omp_cli.core.prepare.source import EXPERT, FILES, RECORD, SOURCES, Asked, Source


def source_for(asked: Asked) -> type[Source]:
    """The source that a line means.

    Raises:
        UsageError: there is nothing to record in the benchmark, and several others to choose from.
    """
    benchmark = asked.benchmark
    own = f"{benchmark}/{asked.source}"
    if asked.expert is not None:
        return _for_expert(asked, own)
    if not asked.files and own in SOURCES.names():
        return SOURCES.get(own)
    suite = SUITES.get(benchmark) if benchmark in SUITES.names() else None
    if suite is None and benchmark not in read_catalogue().suites:
        _refuse_task(benchmark)
    if asked.source or asked.files or asked.format:
        return _files(benchmark)
    if suite is None:
        return _files(benchmark) if benchmark in read_catalogue().suites else SOURCES.get(RECORD)
    if suite.scripted:
        return SOURCES.get(RECORD)
    if suite.from_files or asked.only_files:
        return _published(asked) or _files(benchmark)
    also = f" (made here: {', '.join(found)})" if (found := own_sources().get(benchmark)) else ""
    raise UsageError(
        f"{benchmark} has no scripted expert to record; its data come from files",
        f"name a --source{also}, or a --file of yours: omp prepare {benchmark} --list",
    )


def _refuse_task(name: str) -> None:
    """UsageError where a name that is no benchmark is that of a task, or of a group of tasks."""
    for suite in SUITES.names():
        built = SUITES.build(SUITES.parse({"name": suite}))
        for option, known in (("--task", built.tasks()), ("--suite", built.groups())):
            if name in known:
                what = "a task" if option == "--task" else "a group of tasks"
                raise UsageError(f"{name} is {what} of {suite}", f"omp prepare {suite} {option} {name}")


def _for_expert(asked: Asked, own: str) -> type[Source]:
    """The source of an expert's file."""
    kind = SOURCES.get(EXPERT)
    if asked.source is not None:
        if own not in SOURCES.names() or not SOURCES.get(own).takes_expert:
            raise UsageError(f"--expert does not go with --source {asked.source}", "leave one of them out")
        kind = SOURCES.get(own)
    if asked.files:
        raise UsageError("--expert does not go with --file", "leave one of them out")
    if asked.benchmark not in SUITES.names() or not SUITES.get(asked.benchmark).simulated:
        raise UsageError(f"{asked.benchmark} has no simulator here for an expert to act in", "its data come from files")
    return kind


def _published(asked: Asked) -> type[Source] | None:
    """A source of the suite's own that the catalogue has as the first one of the task; None where that is a file."""
    found = read_catalogue().of(asked.benchmark, asked.tasks[:1]) if asked.tasks else []
    own = f"{asked.benchmark}/{found[0].source}" if found else ""
    return SOURCES.get(own) if own in SOURCES.names() else None


def own_sources() -> dict[str, list[str]]:
    """Names of the sources that suites have of their own, by suite."""
    found: dict[str, list[str]] = {}
    for name in SOURCES.names():
        suite, _, own = name.partition("/")
        if own and own != FILES:
            found.setdefault(suite, []).append(own)
    return found


def groups_of_tasks() -> dict[str, tuple[str, ...]]:
    """Names of the groups of tasks that a suite has, by suite; without those that cannot be made without settings."""
    found: dict[str, tuple[str, ...]] = {}
    for name in SUITES.names():
        with suppress(UsageError):
            found[name] = tuple(SUITES.build(SUITES.parse({"name": name})).groups())
    return {name: groups for name, groups in found.items() if groups}


def tasks_of(benchmark: str | None) -> list[str]:
    """Names of the tasks of a benchmark, in its suite and in the catalogue; of all benchmarks where none is named."""
    found = {entry.task for entry in read_catalogue().entries if benchmark in (None, entry.suite)}
    for name in SUITES.names():
        if benchmark in (None, name):
            with suppress(UsageError):
                found.update(SUITES.build(SUITES.parse({"name": name})).tasks())
    return sorted(found)


def _files(benchmark: str) -> type[Source]:
    own = f"{benchmark}/{FILES}"
    return SOURCES.get(own if own in SOURCES.names() else FILES)
