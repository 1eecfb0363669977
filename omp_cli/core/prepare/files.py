"""The source of all suites whose data are in files: fetched if need be, read, checked."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.files import sha256_of, size_of
from omp_cli.core.base.progress import Progress, Silent
from omp_cli.core.base.run import Run
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.data.catalogue import Entry, cache_folder, read_catalogue
from omp_cli.core.data.download import Fetched, Wanted, fetch
from omp_cli.core.data.readers import FORMATS, Recording
from omp_cli.core.data.readers.roles import DEPTH
from omp_cli.core.prepare.build import check_episodes
from omp_cli.core.prepare.files_config import FilesConfig
from omp_cli.core.prepare.leaving_out import without
from omp_cli.core.prepare.next_line import next_line
from omp_cli.core.prepare.numbers import first_and_last, numbers_of, unclipped
from omp_cli.core.prepare.origin import FileOrigin, from_catalogue, from_file
from omp_cli.core.prepare.rollout import reference_of, rollout_suite
from omp_cli.core.prepare.source import FILES, SOURCES, Asked, Gathered, Origin, Source, short_hash
from omp_cli.core.suites.base import is_users_own, start_hash


def wanted_files(entry: Entry) -> list[Wanted]:
    """Where the files of a set come from and go to, below the cache folder."""
    folder = cache_folder() / entry.suite / entry.task / entry.source
    return [Wanted(entry.urls(f), folder / f.name, f.size, f.sha256) for f in entry.files]


@SOURCES.register(FILES)
class Files(Source):
    """A set of the catalogue, or a file of the user's.

    Raises:
        UsageError: the settings name another suite or task.
    """

    Config: ClassVar[type[Settings]] = FilesConfig
    packages: ClassVar[tuple[str, ...]] = ("h5py",)
    config: FilesConfig
    origin: FileOrigin

    def __init__(self, config: Settings, origin: Origin) -> None:
        super().__init__(config, origin)
        self._fetched: list[Fetched] = []
        for name in ("suite", "task"):
            if (set_ := getattr(config, name)) != (found := getattr(origin, name)):
                raise UsageError(f"{name}: {set_} in the settings, {found} is asked for", "leave it out")

    @classmethod
    def about(cls, asked: Asked) -> str:
        """Data of the benchmark."""
        return f"data of {asked.benchmark} from files"

    @classmethod
    def origins(cls, asked: Asked) -> Sequence[FileOrigin]:
        """One for each task; with a file its one.

        Raises:
            UsageError: the catalogue has no such set, or a file is to be several.
            DataError: no such file, damaged, or of no known format; or the set can only be fetched by hand.
        """
        if asked.groups:
            raise UsageError(f"--suite does not go with {cls.about(asked)}", "leave it out")
        if asked.file is not None and len(asked.tasks) > 1:
            raise UsageError("--file is one task's; several --task were given")
        if asked.file is None and asked.format is not None:
            raise UsageError("--format says how to read --file; the catalogue knows its own formats")
        catalogue, suite, source = read_catalogue(), asked.benchmark, asked.source
        return [
            from_catalogue(catalogue, suite, task, source)
            if asked.file is None
            else from_file(catalogue, suite, task, source, asked.file, asked.format)
            for task in asked.tasks or [None]
        ]

    @property
    def folder_name(self) -> str:
        """``<task>-<source>``, number of episodes and environment if given, a short hash for other unusual settings."""
        config = self.config
        name = f"{config.task}-{config.source}" + ("" if config.demos is None else f"-d{config.demos}")
        name += "" if config.environment is None else f"-{config.environment}"
        return f"{name}-{short_hash(unusual)}" if (unusual := config.unusual()) else name

    def planned(self) -> dict[str, Any]:
        """Where the files are; of a download, size and licence."""
        if (entry := self.origin.entry) is None or self.origin.file is not None:
            return {"files": str(self.origin.file)}
        return {"files": [w.urls[0] for w in wanted_files(entry)], "size": entry.size, "licence": entry.licence}

    def depends(self) -> dict[str, tuple[Any, str]]:
        """The files."""
        return {"files": (self.planned()["files"], "argument" if self.origin.file else "catalogue")}

    def notes(self) -> list[str]:
        """Before anything is fetched: how much, from where, to where, under which licence."""
        origin, notes = self.origin, []
        if origin.task_by == "default":
            notes.append(f"task {origin.task}: the usual one of {origin.suite}; --task names another")
        if (entry := origin.entry) is None or origin.file is not None:
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
            DataError: a file is missing, damaged or not of its format.
        """
        config, path = self.config, self.origin.file
        if config.environment is not None and path is not None and path.exists():
            rollout_suite(config.suite, config.environment, config.format.name, self._first_episode(path))

    def begin(self, run: Run, workers: int, progress: Progress, watch: Stopwatch) -> None:
        """Download what is not here, and hash the files.

        Raises:
            DataError: a file is missing, or not the one that the catalogue means.
            RunFailed: the network failed.
        """
        if self.origin.file is None:
            assert self.origin.entry is not None
            self._fetched = [fetch(w, self.config.download, progress) for w in wanted_files(self.origin.entry)]
        else:
            files = self._files_there(self.origin.file)
            self._fetched = [Fetched(p, sha256_of(p), None, from_cache=False) for p in files]
        watch.lap("download and hashes")
        for file in self._fetched:
            run.input("file", file.path, file.sha256)

    def _files_there(self, path: Path) -> tuple[Path, ...]:
        """The user's file and those that belong to it; DataError where one of them is missing."""
        reader = FORMATS.build(self.config.format)
        files: tuple[Path, ...] = reader.files(path, self.limit)
        if missing := [file for file in files if not file.exists()]:
            raise DataError(f"{missing[0]}: no such file", f"expected: {reader.expected}")
        return files

    def _first_episode(self, path: Path) -> Recording:
        """The first episode of the user's file; what is wrong with a setting shows there before all others are read."""
        out = self.config.leave_out
        first = next(index for index in itertools.count() if index not in out)
        with about_files([path, *self._files_there(path)]):
            found: Recording = FORMATS.build(self.config.format).read(path, self.origin.subject, first + 1, Silent())
        return without(found, [index for index in out if index <= first])

    def recipe(self) -> dict[str, Any]:
        """Settings and hashes of the files; where these lie is not part of it."""
        limit = self.origin.subject.facts.action_limit
        files = {name: file.sha256 for name, file in zip(_names(self._fetched), self._fetched, strict=True)}
        return {**({} if limit == 1.0 else {"action_limit": limit}), **self.config.content(), "files": files}

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
        file = self.origin.file or self._fetched[0].path  # of a folder of one's own, only some files may be fetched
        with about_files([file, *(fetched.path for fetched in self._fetched)]):
            read = FORMATS.build(config.format).read(file, self.origin.subject, self.limit, progress)
            read = without(read, config.leave_out)
            watch.lap("reading")
            recording = self.shown(read, workers, progress)
            if recording is not read:
                watch.lap("replaying")
            else:
                _no_clouds_of_its_own(config, recording)
            also = "".join(f"{index}," for index in config.leave_out)
            check_episodes(
                file, recording.episodes, recording.number, f"leave this episode out: --set leave_out={also}{{number}}"
            )
            recording = self._counted(recording)
            if limit != 1.0:
                for episode in recording.episodes:
                    episode["action"] = episode["action"] / np.float32(limit)
            suite, recording = rollout_suite(config.suite, config.environment, config.format.name, recording)
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

    def _counted(self, recording: Recording) -> Recording:
        """The recording, with what is unusual of its numbers of episodes and frames in ``said``.

        Raises:
            DataError: no episode has a second frame, so no action follows another.
        """
        episodes, wanted = len(recording.episodes), self.config.demos
        to_take = episodes + len(self.config.leave_out)
        single = sum(len(episode["action"]) == 1 for episode in recording.episodes)
        if single == episodes:
            raise DataError(
                f"{'its only episode' if single == 1 else f'each of its {single} episodes'} has one frame, and there "
                "is nothing to learn where no action follows another",
                f"look at where the episodes end; expected: {FORMATS.get(self.config.format.name).expected}",
            )
        said = [f"{single} of {episodes} episodes have one frame alone"] if single else []
        if wanted is not None and wanted > to_take:
            said.append(f"--demos {wanted} asks for more episodes than there are to take: {to_take}")
        return replace(recording, said=(*recording.said, *said)) if said else recording

    def _provenance(self, recording: Recording, suite: dict[str, Any] | None) -> dict[str, Any]:
        entry = self.origin.entry
        return {
            "rollout_suite": suite,
            "catalogue": None if entry is None else {"name": entry.name, "licence": entry.licence, "note": entry.note},
            "files": [
                {"name": name, "path": str(f.path), "url": f.url, "bytes": size_of(f.path), "sha256": f.sha256}
                for name, f in zip(_names(self._fetched), self._fetched, strict=True)
            ],
            "task_by": self.origin.task_by,
            **numbers_of(recording.episodes),
        }

    @staticmethod
    def figures(provenance: Mapping[str, Any]) -> dict[str, Any]:
        """What files hold, in numbers."""
        recipe, spec = provenance["recipe"], provenance["spec"]
        return {
            "source": recipe["source"],
            "format": recipe["format"]["name"],
            "returns": provenance["returns"],
            "success_share": provenance["success_share"],
            "action_range": provenance["action_range"],
            "action_values": sum(provenance["episode_steps"]) * spec["action_dim"],
            "actions_beyond_one": provenance.get("actions_beyond_one"),  # data made before do not say
            "environment": (provenance.get("rollout_suite") or {}).get("environment"),
            "state_dim": spec["state_dim"],
            "action_dim": spec["action_dim"],
        }

    @staticmethod
    def row(figures: Mapping[str, Any]) -> dict[str, Any]:
        """What the data are."""
        returns, share, image = figures["returns"], figures["success_share"], figures["image"]
        return {
            "task": figures["task"],
            "source": figures["source"],
            "demos": figures["demos"],
            "frames": figures["frames"],
            "steps": figures["mean_steps"],
            "return": "none" if returns is None else returns["mean"],
            "success": "unknown" if share is None else f"{100 * share:.1f} %",
            "state": figures["state_dim"],
            "picture": "none" if image is None else "x".join(map(str, image)),
        }

    @staticmethod
    def lines(folders: Sequence[Path], figures: Sequence[Mapping[str, Any]]) -> list[str]:
        """Where the data are and what is unusual of them; what to do next."""
        lines = [f"data set: {f}{' (kept)' if r['reused'] else ''}" for f, r in zip(folders, figures, strict=True)]
        pictures, clouds = (figures[-1][key] is not None for key in ("image", "points"))
        lines += ["look at its contact_sheet.png"] if pictures or clouds else []
        for of_one in figures:
            lines += [f"{of_one['task']}: {sentence}" for sentence in of_one["said"]] + unclipped(of_one)
        lines += [f"omp eval rolls {r['task']} out in {name}" for r in figures if (name := r["environment"])]
        return [*lines, next_line(folders[-1], figures[-1])]


@contextmanager
def about_files(files: Sequence[Path]) -> Iterator[None]:
    """A DataError of what is made of files names the first of them, where it names none, nor the folder of them all."""
    try:
        yield
    except DataError as error:
        named = "|".join(re.escape(str(file)) for file in files)
        if error.message.startswith(f"{_folder_of(files)}: ") or re.search(
            rf"(^|\s)({named})([:,\s]|$)", error.message
        ):
            raise
        raise DataError(f"{files[0]}: {error.message}", error.hint) from error


def _no_clouds_of_its_own(config: FilesConfig, recording: Recording) -> None:
    """UsageError for depth pictures, which stay pictures here, and for clouds that no environment would show again."""
    first = recording.episodes[0]
    lent = FORMATS.get(config.format.name).simulated and not is_users_own(config.suite)
    if DEPTH in first or ("point_cloud" in first and lent):
        role = "depth" if DEPTH in first else "cloud"
        raise UsageError(
            f"format.{role}: clouds of a file are data of one's own, no episodes of {config.suite}",
            "omp prepare own PATH --task NAME",
        )


def _names(files: Sequence[Fetched]) -> list[str]:
    """Names of the files below the folder that holds them all."""
    folder = _folder_of([file.path for file in files])
    return [file.path.relative_to(folder).as_posix() for file in files]


def _folder_of(files: Sequence[Path]) -> str:
    """The folder that holds all of the files, at whatever depth."""
    return os.path.commonpath([file.parent for file in files]) or "."
