"""The source of all suites whose data are in files: fetched if need be, read, checked."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.files import sha256_of, size_of
from omp_cli.core.base.progress import Progress, Silent
from omp_cli.core.base.run import Run
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.data import turns
from omp_cli.core.data.catalogue import Entry, cache_folder, read_catalogue
from omp_cli.core.data.download import Fetched, Wanted, fetch
from omp_cli.core.data.quaternions import marked
from omp_cli.core.data.readers import FORMATS, Reader, Recording, Subject
from omp_cli.core.data.store import start_hash
from omp_cli.core.prepare.alike import check_alike
from omp_cli.core.prepare.build import check_episodes
from omp_cli.core.prepare.files_config import FilesConfig
from omp_cli.core.prepare.joined import read_inputs, with_files
from omp_cli.core.prepare.leaving_out import naming_leave_out, told_of, without
from omp_cli.core.prepare.named_files import NamedFile, about_files, names_of, refuse_copies, refuse_shared, together
from omp_cli.core.prepare.numbers import counted, first_and_last, numbers_of
from omp_cli.core.prepare.origin import FileOrigin, from_catalogue, from_files
from omp_cli.core.prepare.rollout import no_clouds_of_its_own, reference_of, rollout_suite
from omp_cli.core.prepare.shown_files import figures_of, lines_of, row_of
from omp_cli.core.prepare.source import FILES, SOURCES, Asked, Gathered, Origin, Source, short_hash


def wanted_files(entry: Entry) -> list[Wanted]:
    """Where the files of a set come from and go to, below the cache folder."""
    folder = cache_folder() / entry.suite / entry.task / entry.source
    return [Wanted(entry.urls(f), folder / f.name, f.size, f.sha256) for f in entry.files]


@SOURCES.register(FILES)
class Files(Source):
    """A set of the catalogue, or files of the user's.

    Raises:
        UsageError: the settings name another suite or task.
    """

    Config: ClassVar[type[Settings]] = FilesConfig
    packages: ClassVar[tuple[str, ...]] = ("h5py",)
    names_rotations: ClassVar[bool] = False
    """Whether its settings name rotations of state and action."""
    config: FilesConfig
    origin: FileOrigin

    def __init__(self, config: Settings, origin: Origin) -> None:
        super().__init__(config, origin)
        self._reader: Reader = FORMATS.build(self.config.format)
        self._fetched: list[Fetched] = []
        self._inputs: list[NamedFile] = []
        for name in ("suite", "task"):
            if (set_ := getattr(config, name)) != (found := getattr(origin, name)):
                raise UsageError(f"{name}: {set_} in the settings, {found} is asked for", "leave it out")

    @classmethod
    def about(cls, asked: Asked) -> str:
        """Data of the benchmark."""
        return f"data of {asked.benchmark} from files"

    @classmethod
    def origins(cls, asked: Asked) -> Sequence[FileOrigin]:
        """One for each task; with files their one.

        Raises:
            UsageError: the catalogue has no such set, a file is named twice, or files are to be several tasks.
            DataError: no such file, damaged, of no known format or of another than the first; or the set can only be
                fetched by hand.
        """
        if asked.groups:
            raise UsageError(f"--suite does not go with {cls.about(asked)}", "leave it out")
        if asked.files and len(asked.tasks) > 1:
            raise UsageError("--file is one task's; several --task were given")
        if not asked.files and asked.format is not None:
            raise UsageError("--format says how to read --file; the catalogue knows its own formats")
        catalogue, suite, source = read_catalogue(), asked.benchmark, asked.source
        return [
            from_catalogue(catalogue, suite, task, source)
            if not asked.files
            else from_files(catalogue, suite, task, source, asked.files, asked.format)
            for task in asked.tasks or [None]
        ]

    @property
    def folder_name(self) -> str:
        """``<task>-<source>``, number of episodes and environment if given, a short hash for what else is unusual.

        That is other settings, and the names of several files.
        """
        config = self.config
        name = f"{config.task}-{config.source}" + ("" if config.demos is None else f"-d{config.demos}")
        name += "" if config.environment is None else f"-{config.environment}"
        return f"{name}-{short_hash(unusual)}" if (unusual := config.unusual() | self._joined()) else name

    def _joined(self) -> dict[str, list[str]]:
        """The names of several files in their order, which is that of the episodes."""
        files = self.origin.files
        return {"joined": names_of(files)} if len(files) > 1 else {}

    def planned(self) -> dict[str, Any]:
        """Where the files are; of a download, size and licence."""
        if (entry := self.origin.entry) is None or self.origin.files:
            files = [str(file) for file in self.origin.files]
            return {"files": files[0] if len(files) == 1 else files}
        return {"files": [w.urls[0] for w in wanted_files(entry)], "size": entry.size, "licence": entry.licence}

    def depends(self) -> dict[str, tuple[Any, str]]:
        """The files."""
        return {"files": (self.planned()["files"], "argument" if self.origin.files else "catalogue")}

    def notes(self) -> list[str]:
        """Before anything is fetched: how much, from where, to where, under which licence."""
        origin, notes = self.origin, []
        if origin.task_by == "default":
            notes.append(f"task {origin.task}: the usual one of {origin.suite}; --task names another")
        if (entry := origin.entry) is None or origin.files:
            return notes
        wanted = wanted_files(entry)
        notes.append(f"{entry.name}: {len(wanted)} file(s), size {entry.size}, licence {entry.licence}")
        notes += [entry.note] if entry.note else []
        folder = wanted[0].target.parent
        if all(w.target.is_file() for w in wanted):
            return [*notes, f"in the cache: {folder}"]
        return [*notes, f"from {wanted[0].urls[0]}", f"to {folder}"]

    def check(self) -> None:
        """See the base class; files that are still to be downloaded or recorded are compared after they were read.

        Raises:
            UsageError: the environment asked for shows another state or takes another action.
            DataError: a file is missing, damaged, not of its format, or not as the first one.
        """
        files = self.origin.files
        if (len(files) > 1 or self.config.environment is not None) and files and all(file.exists() for file in files):
            self._check_environment(self._first_episode())

    def _check_environment(self, first: Recording) -> None:
        """UsageError where the environment asked for does not show what the first episode has."""
        if (config := self.config).environment is not None:
            rollout_suite(config.suite, config.environment, config.format.name, first)

    def begin(self, run: Run, workers: int, progress: Progress, watch: Stopwatch) -> None:
        """Download what is not here, and hash the files.

        Raises:
            DataError: a file is missing, or not the one that the catalogue means.
            RunFailed: the network failed.
        """
        if not self.origin.files:
            assert self.origin.entry is not None
            self._fetched = [fetch(w, self.config.download, progress) for w in wanted_files(self.origin.entry)]
            paths = tuple(file.path for file in self._fetched)
            self._inputs = [NamedFile(paths[0], paths)]  # of a folder of one's own, only some files may be fetched
        else:
            self._inputs = self._found()
            files = dict.fromkeys(file for one in self._inputs for file in one.files)
            self._fetched = [Fetched(file, sha256_of(file), None, from_cache=False) for file in files]
            refuse = refuse_shared if self._reader.an_episode_each else refuse_copies
            refuse(self._inputs, {file.path: file.sha256 for file in self._fetched})
        watch.lap("download and hashes")
        for file in self._fetched:
            run.input("file", file.path, file.sha256)

    def _found(self) -> list[NamedFile]:
        """The user's files, each with those of it that are read (``with_files``)."""
        return with_files(self.origin.files, self._reader, self.limit)

    def _first_episode(self) -> Recording:
        """The first episode of the user's files; what is wrong with a setting shows there before all others are read.

        The other files' first episodes are compared with it.
        """
        inputs, out, subject = self._found(), self.config.leave_out, self.subject
        first = next(index for index in itertools.count() if index not in out)
        found = read_inputs(self._reader, inputs, subject, first + 1, self.config, Silent())
        for place in range(max(len(found.files), 1), len(inputs)):
            if not (one := inputs[place]).files:  # it comes after the last episode that is wanted
                break
            with about_files([one]):
                other = self._first_of(inputs, place)
            check_alike((inputs[0].path, found), (one.path, other), self.config)
        return without(found, [index for index in out if index <= first])

    def _first_of(self, inputs: Sequence[NamedFile], place: int) -> Recording:
        """The first episode of an input that is not left out, as far as it is known how many those before it have."""
        one, out, reader = inputs[place], self.config.leave_out, self._reader
        if not reader.an_episode_each:
            return reader.read(one.path, self.subject, 1, Silent())
        before = sum(len(other.files) for other in inputs[:place])
        subject = told_of(self.subject, out, before)
        with naming_leave_out(out, one, before, reader.an_episode_each):
            return reader.read(one.path, subject, subject.kept(len(one.files))[0] + 1, Silent())

    def recipe(self) -> dict[str, Any]:
        """Settings and hashes of the files, of several their order; where these lie is not part of it."""
        limit = self.origin.subject.facts.action_limit
        files = {name: file.sha256 for name, file in self._named()}
        known = {} if limit == 1.0 else {"action_limit": limit}
        return {**known, **self.config.content(), "files": files, **self._joined()}

    def _named(self) -> list[tuple[str, Fetched]]:
        """All files with their names below the folder that holds them."""
        return list(zip(names_of([file.path for file in self._fetched]), self._fetched, strict=True))

    @property
    def subject(self) -> Subject:
        """What readers are told of the task; frames are taken as often as it is acted in."""
        of = self.origin.subject
        return replace(of, hz=of.facts.control_hz)

    @property
    def limit(self) -> int | None:
        """Episodes to read; None reads all."""
        return self.config.demos

    def shown(self, recording: Recording, workers: int, progress: Progress) -> Recording:
        """The recording with what a policy sees; a suite whose files hold something else has to show it.

        Raises:
            UsageError: the files are a raw recording, which nothing shows.
        """
        if recording.scenes is not None:
            raise UsageError(f"raw recordings of {self.origin.suite} cannot be replayed")
        return recording

    def gather(self, scratch: Path, workers: int, progress: Progress, watch: Stopwatch) -> Gathered:
        """Read, show anew where the suite does so, and find the environment that shows such data.

        Raises:
            DataError: a file is damaged, not of its format, or holds values that are not finite.
            UsageError: the file lacks what is asked for, or the environment asked for shows another state or takes
                another action.
        """
        config, limit = self.config, self.origin.subject.facts.action_limit
        with about_files(self._inputs):
            read = read_inputs(self._reader, self._inputs, self.subject, self.limit, config, progress)
            read = without(read, config.leave_out)
            watch.lap("reading")
            recording = self.shown(read, workers, progress)
            if recording is not read:
                watch.lap("replaying")
            else:
                no_clouds_of_its_own(config.suite, config.format.name, recording)
            self._check(recording)
            recording = counted(recording, config.demos, len(config.leave_out), self._reader.expected)
            if limit != 1.0:
                for episode in recording.episodes:
                    episode["action"] = episode["action"] / np.float32(limit)
            suite, recording = rollout_suite(config.suite, config.environment, config.format.name, recording)
            recording = turns.told(marked(recording, self.names_rotations), self.names_rotations)
        pictured = "img" in recording.episodes[0]
        provenance = self._provenance(recording, suite)
        if config.check_pictures and recording.simulator and pictured and suite is not None:
            provenance["reference"] = reference_of(suite, recording, progress)
        watch.lap("checks")
        return Gathered(
            recording.episodes,
            recording.spec,
            recording.notes,
            [start_hash(start) for start in recording.starts],
            recording.sheet or (first_and_last(recording.episodes) if pictured else ()),
            recording.said,
            provenance,
        )

    def _check(self, recording: Recording) -> None:
        """See ``check_episodes``; an episode with a number that is not finite can be left out."""
        also = "".join(f"{index}," for index in self.config.leave_out)
        check_episodes(
            together([one.path for one in self._inputs]),
            recording.episodes,
            recording.name,
            lambda place: f"leave this episode out: --set leave_out={also}{recording.number(place)}",
        )

    def _provenance(self, recording: Recording, suite: dict[str, Any] | None) -> dict[str, Any]:
        entry = self.origin.entry
        return {
            "rollout_suite": suite,
            "catalogue": None if entry is None else {"name": entry.name, "licence": entry.licence, "note": entry.note},
            "files": [
                {"name": name, "path": str(f.path), "url": f.url, "bytes": size_of(f.path), "sha256": f.sha256}
                for name, f in self._named()
            ],
            "task_by": self.origin.task_by,
            **numbers_of(recording.episodes),
        }

    figures, row, lines = staticmethod(figures_of), staticmethod(row_of), staticmethod(lines_of)
