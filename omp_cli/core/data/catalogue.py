"""The catalogue of public data sets: ``datasets.toml``, with what a policy meets in each benchmark.

``OMP_CLI_CATALOGUE=FILE`` adds a catalogue of one's own; its sets and suites win over those that ship.
"""

from __future__ import annotations

import functools
import os
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import Field, field_validator

from omp_cli.core.base.config import Above0, AtLeast0, Count, CountOrZero, Settings, checked
from omp_cli.core.base.errors import DataError, UsageError, did_you_mean
from omp_cli.core.data.foreign import member, refuse

FILE = "datasets.toml"
SCHEMA = 1
NAME = r"^\w[\w.+=@,-]*$"
"""Names that become folders of the cache: no separators, and none that begins with a dot."""
BELOW = r"^[^/\\]*[^/\\.][^/\\]*(/[^/\\]*[^/\\.][^/\\]*)*$"
"""A path below the set's base: no part of it is empty or made of dots alone."""

Bytes = Annotated[int, Field(ge=0, le=2**63 - 1)]


class RemoteFile(Settings):
    """One file of a set: its path below the set's base, and exact size (bytes) and SHA-256 where they are known."""

    path: str = Field(pattern=BELOW)
    size: Bytes | None = None
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name


class Entry(Settings):
    """One data set."""

    suite: str = Field(pattern=NAME)
    """Benchmark."""
    task: str = Field(pattern=NAME)
    """Task within it."""
    source: str = Field(pattern=NAME)
    """Who made it ("ph", "d4rl", "dmpo-img" ...), unique for a task."""
    format: str
    """Name of its reader."""
    licence: str
    """SPDX name where the publisher states one."""
    files: tuple[RemoteFile, ...] = Field(min_length=1)
    """The file that is read first, then those that belong to it."""
    base: str | None = None
    """Address that the files' paths are appended to; None for sets that are fetched by hand."""
    mirrors: tuple[str, ...] = ()
    """Other such addresses."""
    page: str | None = None
    """Where to fetch it by hand."""
    megabytes: AtLeast0 | None = None
    """Size of all files as a page gives it, in 10^6 bytes."""
    max_steps: Count | None = None
    """Longest episode of an evaluation, in steps, where it is not the task's."""
    note: str = ""
    """What to know about it."""
    checked: bool = False
    """Whether the address was opened with this omp."""

    @field_validator("files", mode="before")
    @classmethod
    def _paths(cls, value: Any) -> Any:
        return [{"path": f} if isinstance(f, str) else f for f in value] if isinstance(value, list) else value

    @property
    def name(self) -> str:
        """Suite, task and source, joined by slashes."""
        return f"{self.suite}/{self.task}/{self.source}"

    @property
    def fetched(self) -> str:
        """How the set gets here: "download" or "by hand"."""
        return "by hand" if self.base is None else "download"

    @property
    def size(self) -> str:
        """Size as people read it; "~" marks what is not exact."""
        exact = [f.size for f in self.files if f.size is not None]
        if len(exact) == len(self.files):
            return f"{sum(exact) / 1e6:.1f} MB"
        about = self.megabytes or sum(exact) / 1e6
        return f"~{about:,.0f} MB" if about else "unknown"

    def urls(self, file: RemoteFile) -> tuple[str, ...]:
        """Addresses of a file, the first choice first."""
        return tuple(f"{base}{file.path}" for base in (self.base, *self.mirrors) if base is not None)


class TaskFacts(Settings):
    """What a reader cannot find in a file: length and rate of evaluation, and the simulator's name of the task.

    ``action_limit`` is the size of the largest action as files hold it; stores hold actions in [-1, 1].
    """

    max_steps: Count
    control_hz: Above0
    env: str | None = None
    action_limit: Above0 = 1.0


class SuiteFacts(Settings):
    """A benchmark: its usual task, where the end-effector is in the state, and its tasks."""

    task: str
    end_effector: tuple[CountOrZero, CountOrZero, CountOrZero] | None = None
    tasks: dict[str, TaskFacts]

    def facts(self, task: str) -> TaskFacts | None:
        """The facts of a task, else those of the part before "-" ("hopper" for "hopper-medium")."""
        return self.tasks.get(task) or self.tasks.get(task.partition("-")[0])


@dataclass(frozen=True)
class Catalogue:
    """All suites and data sets that omp knows of."""

    suites: dict[str, SuiteFacts]
    entries: tuple[Entry, ...]

    def suite(self, name: str) -> SuiteFacts:
        """Facts of a suite; UsageError with the nearest names when there is none."""
        if name not in self.suites:
            raise UsageError(f"the catalogue has no data sets of {name!r}", did_you_mean(name, self.suites))
        return self.suites[name]

    def of(self, suite: str | None = None, tasks: Iterable[str] = (), source: str | None = None) -> list[Entry]:
        """The data sets of a suite, of some tasks, from one source; each filter may be left out."""
        if suite is not None:
            self.suite(suite)
        wanted = set(tasks)
        return [
            e
            for e in self.entries
            if suite in (None, e.suite) and (not wanted or e.task in wanted) and source in (None, e.source)
        ]

    def find(self, suite: str, task: str, source: str | None) -> Entry:
        """The data set of that name, without a source the task's first; UsageError with the nearest names if none."""
        of_suite = self.of(suite)
        of_task = [e for e in of_suite if e.task == task]
        if not of_task:
            raise UsageError(f"no data set of {suite} task {task!r}", did_you_mean(task, {e.task for e in of_suite}))
        found = [e for e in of_task if source in (None, e.source)]
        if not found:
            known = {e.source for e in of_task}
            hint = did_you_mean(str(source), known) or f"known: {', '.join(sorted(known))}"
            raise UsageError(f"no source {source!r} of {suite} {task}", hint)
        return found[0]


def read_catalogue() -> Catalogue:
    """The catalogue that ships, with the user's own on top of it.

    Raises:
        DataError: a catalogue is missing or malformed.
    """
    shipped = _parsed(_shipped_text(), FILE)
    named = os.environ.get("OMP_CLI_CATALOGUE")
    if not named:
        return shipped
    try:
        own = _parsed(Path(os.path.expanduser(named)).read_text(encoding="utf-8-sig"), named)
    except UnicodeDecodeError:
        raise DataError(f"catalogue {named}: not UTF-8") from None
    except OSError as error:
        raise DataError(f"catalogue {named}: {(error.strerror or 'cannot be read').lower()}") from None
    replaced = {e.name for e in own.entries}
    kept = (e for e in shipped.entries if e.name not in replaced)
    return Catalogue(shipped.suites | own.suites, (*own.entries, *kept))


def cache_folder() -> Path:
    """Where downloads are kept: ``OMP_CLI_CACHE``, else ``omp-cli`` in the user's cache folder."""
    if named := os.environ.get("OMP_CLI_CACHE"):
        return Path(os.path.expanduser(named))
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "omp-cli"


def _shipped_text() -> str:
    """``datasets.toml`` from inside an installed package, or beside the package in a checkout."""
    inside = resources.files("omp_cli") / FILE
    if inside.is_file():
        return inside.read_text(encoding="utf-8")
    return (Path(str(resources.files("omp_cli"))).parent / FILE).read_text(encoding="utf-8")


@functools.cache
def _parsed(text: str, where: str) -> Catalogue:
    """What a catalogue's text says; a command asks for it several times, and it is read once."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOML's own error, a number of too many digits, or nested too deeply
        raise DataError(f"catalogue {where}: {error}") from None
    if document.get("schema") != SCHEMA:
        raise DataError(f"catalogue {where}: schema {document.get('schema')!r}, this omp reads {SCHEMA}")
    suites = {
        name: checked(SuiteFacts, facts, f"catalogue {where}: suites.{name}")
        for name, facts in (member(document, "suites", dict, f"catalogue {where}") or {}).items()
    }
    entries = []
    for number, group in enumerate(_tables(document, "group", f"catalogue {where}"), 1):
        common = {key: value for key, value in group.items() if key != "sets"}
        for values in _tables(group, "sets", f"catalogue {where}: group {number}"):
            entry = checked(Entry, {**common, **values}, f"catalogue {where}: group {number}")
            if (entry.base is None) == (entry.page is None):
                raise DataError(f"catalogue {where}: {entry.name}: needs either a base or a page")
            entries.append(entry)
    return Catalogue(suites, tuple(entries))


def _tables(owner: dict[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    """A list of tables; empty where there is none, DataError where it holds something else."""
    found = member(owner, name, list, where) or []
    for value in found:
        if not isinstance(value, dict):
            refuse(f"{where}: one of {name}", value, "a table")
    return found
