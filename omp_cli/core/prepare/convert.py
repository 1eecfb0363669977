"""From a public data set's files to a finished data set folder: fetched if need be, read, checked, stored."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, SerializeAsAny

from omp_cli.core import manifest
from omp_cli.core.config import Count, Member, Settings
from omp_cli.core.data.catalogue import Entry, cache_folder
from omp_cli.core.data.download import DownloadConfig, Fetched, Wanted, fetch
from omp_cli.core.data.readers import FORMATS, Reader, Recording
from omp_cli.core.data.reference import Reference
from omp_cli.core.data.store import STORE, Arrays, read_attributes, read_store, write_store
from omp_cli.core.errors import DataError, MissingDependency, UsageError
from omp_cli.core.files import sha256_of
from omp_cli.core.prepare.make import SHEET, same_recipe
from omp_cli.core.prepare.origin import Origin
from omp_cli.core.prepare.replay import replayed
from omp_cli.core.prepare.sheet import contact_sheet
from omp_cli.core.prepare.shown import shown
from omp_cli.core.progress import Progress
from omp_cli.core.run import Run
from omp_cli.core.suites.base import SUITES, start_hash
from omp_cli.core.timing import Stopwatch


class ConvertConfig(Settings):
    """All that decides the content of a data set but the files themselves."""

    suite: str
    """Benchmark."""
    task: str
    """Task within it."""
    source: str
    """The catalogue's name of the set, or the file's."""
    format: Annotated[SerializeAsAny[Member], BeforeValidator(FORMATS.parse)]
    """Its name, and what is taken from its files."""
    demos: Count | None = None
    """First so many episodes; None takes all."""
    environment: str | None = None
    """The suite's name of the environment in which to roll out; None finds the one that shows such data."""
    check_pictures: bool = True
    """Compare a picture of the data with what the environment shows in the same state, here and before every
    evaluation; matters where files hold the simulator's states.
    """
    shown: Annotated[SerializeAsAny[Member], BeforeValidator(SUITES.parse)] | None = None
    """The suite's configuration with which the simulator's states in files are shown anew: cloud, picture, state; how
    long an action lasts there is the files' to say. None for suites that do not.
    """
    replay: bool = True
    """False takes what files hold themselves."""
    keep_failures: bool = False
    """Of what is shown anew, episodes too that are at the goal for less than ten actions."""
    download: DownloadConfig = DownloadConfig()
    """How patient a download is; does not change the content."""

    def unusual(self) -> dict[str, Any]:
        """Settings of format and replay that are not the usual ones, as plain data."""
        chosen = self.format.model_dump(mode="json")
        found = {} if chosen == _usual(self.format) else chosen
        found |= {"replay": False} if not self.replay else {}
        found |= {"keep_failures": True} if self.keep_failures else {}
        if self.shown is not None and self.shown != SUITES.parse({"name": self.suite}):
            found["shown"] = self.shown.model_dump(mode="json")
        return found


def wanted_files(entry: Entry) -> list[Wanted]:
    """Where the files of a set come from and go to, below the cache folder."""
    folder = cache_folder() / entry.suite / entry.task / entry.source
    return [Wanted(entry.urls(f), folder / f.name, f.size, f.sha256) for f in entry.files]


def folder_name(config: ConvertConfig) -> str:
    """``<task>-<source>``, number of episodes and environment if given, a short hash for other unusual settings."""
    name = f"{config.task}-{config.source}" + ("" if config.demos is None else f"-d{config.demos}")
    name += "" if config.environment is None else f"-{config.environment}"
    unusual = config.unusual()
    if not unusual:
        return name
    return f"{name}-{hashlib.sha256(json.dumps(unusual, sort_keys=True).encode()).hexdigest()[:6]}"


def _usual(settings: Settings) -> dict[str, Any]:
    return type(settings).model_validate({"name": settings.model_dump()["name"]}).model_dump(mode="json")


def convert(run: Run, config: ConvertConfig, origin: Origin, progress: Progress, workers: int = 1) -> dict[str, Any]:
    """Make a data set in the run's folder; keeps one that is complete, starts over where one was interrupted.

    ``workers`` processes replay raw recordings.

    Returns:
        The figures that go into the manifest.

    Raises:
        DataError: a file is missing, damaged, not of its format, or holds values that are not finite.
        UsageError: the folder holds a data set made of other files or settings, the file lacks what is asked for, or
            the environment asked for shows another state or takes another action.
        RunFailed: the network failed.
    """
    watch = Stopwatch()
    reader = FORMATS.build(config.format)
    files = _files(config, origin, reader, progress)
    watch.lap("download and hashes")
    for file in files:
        run.input("file", file.path, file.sha256)
    action_limit = origin.subject.facts.action_limit
    wanted = _recipe(config, files, action_limit)
    store = run.folder / STORE
    if store.exists():
        return _keep(run, store, wanted)
    anew = config.shown if config.replay else None
    limit = config.demos if anew is None or config.keep_failures else None
    with _about(files[0].path):
        recording = reader.read(files[0].path, origin.subject, limit, progress)
        watch.lap("reading")
        if anew is not None:
            recording = shown(recording, anew, origin.subject, config.keep_failures, config.demos, workers, progress)
            watch.lap("replaying")
        elif recording.scenes is not None:
            recording = replayed(recording, config.format, origin.subject, workers, progress)
            watch.lap("replaying")
        _check(files[0].path, recording)
        if action_limit != 1.0:
            for episode in recording.episodes:
                episode["action"] = episode["action"] / np.float32(action_limit)
        suite = rollout_suite(config, recording)
    provenance = _provenance(origin, wanted, files, recording, suite)
    if config.check_pictures and recording.simulator and "img" in recording.episodes[0] and suite is not None:
        provenance["reference"] = _reference(suite, recording, progress)
    watch.lap("checks")
    sheet = recording.sheet or (_shown(recording.episodes) if "img" in recording.episodes[0] else [])
    if sheet:
        contact_sheet(run.folder / SHEET, f"{config.suite}/{config.task}", sheet)
        watch.lap("contact sheet")
    sha256 = write_store(store, recording.episodes, provenance)  # last: a store that is there means that all is done
    watch.lap("store")
    return _finish(run, store, {**_figures(provenance, sha256), "seconds_by_part": watch.rounded(), "reused": False})


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """A DataError of what is made of a file names the file, where it does not yet."""
    try:
        yield
    except DataError as error:
        if str(path.parent) in error.message:
            raise
        raise DataError(f"{path}: {error.message}", error.hint) from error


def _files(config: ConvertConfig, origin: Origin, reader: Reader, progress: Progress) -> list[Fetched]:
    """The files to read, whole and hashed; the first is the one that the reader opens."""
    if origin.file is None:
        assert origin.entry is not None
        return [fetch(w, config.download, progress) for w in wanted_files(origin.entry)]
    missing = [p for p in reader.files(origin.file) if not p.is_file()]
    if missing:
        raise DataError(f"{missing[0]}: no such file", f"expected: {reader.expected}")
    return [Fetched(p, sha256_of(p), None, from_cache=False) for p in reader.files(origin.file)]


def _names(files: Sequence[Fetched]) -> list[str]:
    """Names of the files below the folder that holds them all."""
    folder = os.path.commonpath([file.path.parent for file in files])
    return [file.path.relative_to(folder).as_posix() for file in files]


def rollout_suite(config: ConvertConfig, recording: Recording) -> dict[str, Any] | None:
    """The suite whose environment shows what was recorded, as plain data; None where none is known.

    Raises:
        UsageError: the environment asked for does not, or there is no such thing.
    """
    if config.suite not in SUITES.names():
        if config.environment is not None:
            raise UsageError(f"suite {config.suite} has no environments", "leave environment out")
        return None
    if config.environment is None and not FORMATS.get(config.format.name).simulated:
        return None
    suite = SUITES.build(SUITES.parse({"name": config.suite}))
    notes = {**recording.notes, "constant_state": _constants(recording.episodes)}
    found = suite.for_data(recording.spec, notes, config.environment)
    return None if found is None else found.model_dump(mode="json")


def _reference(suite: dict[str, Any], recording: Recording, progress: Progress) -> dict[str, Any]:
    """The picture that evaluations have to repeat; DataError when the environment, if it is here, does not."""
    reference = Reference.of(recording.starts[0], recording.episodes[0]["img"][0])
    built = SUITES.build(SUITES.parse(suite))
    try:
        built.require()
    except MissingDependency as error:
        progress.note(f"pictures are not compared with the environment's: {error.message}")
    else:
        env = built.make(recording.spec.task)
        try:
            difference = reference.check(env.img_in(recording.starts[0]), recording.spec.task)
        finally:
            env.close()
        progress.note(f"the environment repeats the data's first picture (difference {difference:.2f} of 255)")
    return reference.model_dump(mode="json")


def _constants(episodes: Sequence[Arrays]) -> dict[int, float]:
    """Numbers of the state that are the same in all frames, by index."""
    first = episodes[0]["state"][0]
    same = np.all([(e["state"] == first).all(axis=0) for e in episodes], axis=0)
    return {int(index): float(first[index]) for index in np.flatnonzero(same)}


def _recipe(config: ConvertConfig, files: Sequence[Fetched], action_limit: float) -> dict[str, Any]:
    """What determines the bytes of the data set, as plain data; where the files lie is not part of it."""
    later = {"shown", "replay", "keep_failures"} if config.shown is None else set()  # data made before had none
    return {
        **({} if action_limit == 1.0 else {"action_limit": action_limit}),
        "suite": {"name": config.suite},
        **config.model_dump(mode="json", exclude={"suite", "download", *later}),
        "files": {name: file.sha256 for name, file in zip(_names(files), files, strict=True)},
    }


def _check(path: Path, recording: Recording) -> None:
    """Refuse what a store must not hold, naming the file rather than the store."""
    names = recording.episodes[0].keys()
    for number, episode in enumerate(recording.episodes):
        if episode.keys() != names:
            raise DataError(f"{path}: episode {number} has {', '.join(episode)}, the first one {', '.join(names)}")
        for name, values in episode.items():
            if values.shape[1:] != recording.episodes[0][name].shape[1:]:
                raise DataError(f"{path}: episode {number} has {name} of another shape than the first one")
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise DataError(f"{path}: episode {number} has values of {name} that are not finite")


def _provenance(
    origin: Origin,
    wanted: dict[str, Any],
    files: Sequence[Fetched],
    recording: Recording,
    suite: dict[str, Any] | None,
) -> dict[str, Any]:
    episodes, entry = recording.episodes, origin.entry
    return {
        "recipe": wanted,
        "rollout_suite": suite,
        "spec": recording.spec.model_dump(mode="json"),
        "environment": recording.notes,
        "catalogue": None if entry is None else {"name": entry.name, "licence": entry.licence, "note": entry.note},
        "files": [
            {"name": name, "path": str(f.path), "url": f.url, "bytes": f.path.stat().st_size, "sha256": f.sha256}
            for name, f in zip(_names(files), files, strict=True)
        ],
        "versions": manifest.versions((*manifest.PACKAGES, "h5py")),
        "task_by": origin.task_by,
        "start_states": [start_hash(start) for start in recording.starts],
        "episode_steps": [len(e["action"]) for e in episodes],
        "returns": _returns(episodes),
        "success_share": _success(episodes),
        "action_range": [
            float(min(e["action"].min() for e in episodes)),
            float(max(e["action"].max() for e in episodes)),
        ],
        "actions_beyond_one": sum(int((np.abs(e["action"]) > 1).sum()) for e in episodes),
        "said": list(recording.said),
    }


def _returns(episodes: Sequence[Arrays]) -> dict[str, float] | None:
    if "reward" not in episodes[0]:
        return None
    returns = [float(e["reward"].sum(dtype=np.float64)) for e in episodes]
    return {"mean": round(float(np.mean(returns)), 3), "min": round(min(returns), 3), "max": round(max(returns), 3)}


def _success(episodes: Sequence[Arrays]) -> float | None:
    """Share of episodes in which the success flag was ever set; None where the data has no such flag."""
    if "success" not in episodes[0]:
        return None
    return round(float(np.mean([e["success"].any() for e in episodes])), 4)


def _figures(provenance: dict[str, Any], sha256: str) -> dict[str, Any]:
    steps, recipe = provenance["episode_steps"], provenance["recipe"]
    return {
        "task": recipe["task"],
        "source": recipe["source"],
        "format": recipe["format"]["name"],
        "demos": len(steps),
        "frames": sum(steps),
        "mean_steps": round(sum(steps) / len(steps), 1),
        "returns": provenance["returns"],
        "success_share": provenance["success_share"],
        "action_range": provenance["action_range"],
        "action_values": sum(steps) * provenance["spec"]["action_dim"],
        "actions_beyond_one": provenance.get("actions_beyond_one"),  # data made before do not say
        "said": provenance.get("said", []),
        "environment": (provenance.get("rollout_suite") or {}).get("environment"),
        "state_dim": provenance["spec"]["state_dim"],
        "action_dim": provenance["spec"]["action_dim"],
        "image": provenance["spec"]["image"],
        "points": provenance["spec"].get("points"),
        "content_sha256": sha256,
    }


def _shown(episodes: Sequence[Arrays]) -> list[Arrays]:
    """What a contact sheet shows of an episode: the first camera's first and last picture, and the actions."""
    return [
        {"first_picture": e["img"][0, ..., :3], "last_picture": e["img"][-1, ..., :3], "action": e["action"]}
        for e in episodes
    ]


def _keep(run: Run, store: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """A complete data set of the same recipe is verified and kept."""
    same_recipe(run.folder, read_attributes(store).get("recipe"), wanted)
    dataset = read_store(store)
    return _finish(run, store, {**_figures(dataset.provenance, dataset.sha256), "reused": True})


def _finish(run: Run, store: Path, figures: dict[str, Any]) -> dict[str, Any]:
    run.metrics(**figures)
    for path in (store, run.folder / SHEET):
        if path.exists():
            run.artifact(path)
    return figures
