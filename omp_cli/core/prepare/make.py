"""``omp prepare``: from a task's name to a finished data set folder."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from omp_cli.core import manifest
from omp_cli.core.config import Flag, Member, Seed, Settings, flatten
from omp_cli.core.data.store import STORE, Arrays, read_attributes, read_store, write_store
from omp_cli.core.errors import UsageError
from omp_cli.core.files import read_json, remove, write_json
from omp_cli.core.prepare.collect import (
    EXTRAS,
    Candidate,
    CollectConfig,
    collect,
    filled_sentence,
    load_episode,
    points_on,
)
from omp_cli.core.prepare.sheet import contact_sheet
from omp_cli.core.progress import Progress
from omp_cli.core.run import Run
from omp_cli.core.suites import SUITES
from omp_cli.core.suites.base import start_hash
from omp_cli.core.timing import Stopwatch, rounded, summed

SHEET = "contact_sheet.png"
EPISODES = ".episodes"


def _cloud(name: str, kind: type, words: str, default: str = "512", values: tuple[str, ...] = ()) -> Flag:
    """The option of a setting of the suite's cloud, which suites without a depth camera do not have."""
    option = f"--{name.replace('_', '-')}"
    offered = (lambda: values) if values else None
    return Flag(option, "Observation", f"cloud.{name}", kind, words, offered, default)


class PrepareConfig(Settings):
    """All that decides the content of a data set but the task."""

    suite: Annotated[
        SerializeAsAny[Member],
        BeforeValidator(SUITES.parse),
        _cloud("points", int, "Points per cloud."),
        _cloud("camera_size", int, "Width of the depth picture, pixels.", "by points"),
        _cloud("frame", str, "world, or dp3: the public pipeline's frame and crop.", "world", ("world", "dp3")),
        _cloud("robot", str, "What of the robot clouds show: shown (all), or gripper.", "shown", ("shown", "gripper")),
        _cloud("fovea", int, "How many times finer the depth camera sees what is kept.", "1"),
        _cloud("fps_backend", str, "Farthest point sampling: numpy or open3d.", "numpy", ("numpy", "open3d")),
    ]
    """Which benchmark, and how it observes."""
    collect: CollectConfig = CollectConfig()
    """What is recorded."""
    seed: Seed = 0
    """Seed of the start states."""


def recipe(config: PrepareConfig, task: str) -> dict[str, Any]:
    """What determines the bytes of a data set, as plain data."""
    later = {"spread"} if config.collect.spread == 1 else set()  # data made before had none, and keep their names
    return {**config.model_dump(mode="json", exclude={"collect": later}), "task": task}


def folder_name(config: PrepareConfig, task: str) -> str:
    """``<task>-p<points>-d<demos>-s<seed>``, and a short hash when any other setting is not the default."""
    suite = SUITES.build(config.suite)
    points = suite.spec(task).points
    name = f"{task}{'' if points is None else f'-p{points}'}-d{config.collect.demos}-s{config.seed}"
    usual = SUITES.get(suite.config.name).Config.model_validate({"name": suite.config.name, **_points(suite.config)})
    plain = PrepareConfig(suite=usual, collect=CollectConfig(demos=config.collect.demos), seed=config.seed)
    if plain == config:
        return name
    return f"{name}-{hashlib.sha256(json.dumps(recipe(config, task), sort_keys=True).encode()).hexdigest()[:6]}"


def prepare_task(run: Run, config: PrepareConfig, task: str, workers: int, progress: Progress) -> dict[str, Any]:
    """Make one data set in the run's folder; continues what an interrupted run left, keeps what is complete.

    Returns:
        The figures that go into the manifest.

    Raises:
        UsageError: the folder holds a data set of another recipe.
        RunFailed: the expert succeeds too rarely, or a worker process died again and again.
        MissingDependency: the simulator is not installed.
    """
    wanted = recipe(config, task)
    store, episodes = run.folder / STORE, run.folder / EPISODES
    if store.exists():
        return _keep(run, store, wanted)
    if (episodes / "recipe.json").exists():
        same_recipe(run.folder, read_json(episodes / "recipe.json", "recipe"), wanted)
    else:
        write_json(episodes / "recipe.json", wanted)
    watch = Stopwatch()
    kept, failed = collect(wanted["suite"], task, config.collect, config.seed, episodes, workers, progress)
    watch.lap("recording")
    loaded = [load_episode(candidate.file) for candidate in kept]
    provenance = _provenance(config, task, wanted, kept, failed, loaded)
    frames = [{name: array for name, array in episode.items() if name not in EXTRAS} for episode in loaded]
    watch.lap("reading and provenance")
    contact_sheet(run.folder / SHEET, f"{config.suite.name}/{task}", loaded)
    watch.lap("contact sheet")
    sha256 = write_store(store, frames, provenance)  # last: a store that is there means that all is done
    figures = {**_figures(provenance), "content_sha256": sha256}
    watch.lap("store")
    figures |= _milliseconds(kept, figures["frames"])
    figures |= {
        "seconds_by_part": watch.rounded(),
        "worker_seconds_by_part": rounded(summed(c.seconds | c.overhead for c in kept)),
    }
    run.metrics(**figures)
    run.artifact(store)
    run.artifact(run.folder / SHEET)
    remove(episodes)
    return figures


def _provenance(
    config: PrepareConfig, task: str, wanted: dict[str, Any], kept: list[Candidate], failed: int, loaded: list[Arrays]
) -> dict[str, Any]:
    suite = SUITES.build(config.suite)
    env = suite.make(task)
    try:
        environment = env.provenance()
    finally:
        env.close()
    picture = {"image": loaded[0]["img"].shape[1:]} if "img" in loaded[0] else {}
    return {
        "recipe": wanted,
        "spec": suite.spec(task).model_copy(update=picture).model_dump(mode="json"),
        "environment": environment,
        "versions": manifest.versions(),
        "episode_seeds": [c.seed for c in kept],
        "start_states": [start_hash(episode["start_state"]) for episode in loaded],
        "episode_steps": [c.steps for c in kept],
        "expert_failures": failed + sum(not episode["success"].any() for episode in loaded),
        "frames_filled": sum(c.frames_filled for c in kept),
        "points_filled": sum(c.filled for c in kept),
        "said": _said(config, kept, failed),
        **_modes(kept),
        **_chosen(config.collect),
        **points_on((c.points_on for c in kept), sum(c.steps for c in kept)),
    }


def _chosen(collecting: CollectConfig) -> dict[str, Any]:
    """How the start states came about, where they are not simply drawn."""
    if collecting.spread == 1:
        return {}
    looked_at = collecting.demos * collecting.spread
    return {"start_states_chosen": {"by": "farthest point sampling of start states", "of": looked_at}}


def _said(config: PrepareConfig, kept: list[Candidate], failed: int) -> list[str]:
    """Candidates left out, clouds filled and actions clipped, in sentences."""
    said = []
    if failed:
        said.append(f"{failed} of {failed + len(kept)} candidates are left out: the expert did not succeed in them")
    if points := sum(c.filled for c in kept):
        said.append(filled_sentence(sum(c.frames_filled for c in kept), points))
    if beyond := sum(c.beyond_one for c in kept):
        how = "stored unclipped; simulators clip them" if config.collect.raw_actions else "clipped"
        said.append(f"{beyond} values of the expert's actions lie outside [-1, 1]: {how}")
    return said


def _modes(kept: list[Candidate]) -> dict[str, Any]:
    """How many demonstrations took each way, where the suite tells them apart."""
    modes = Counter(c.mode for c in kept if c.mode is not None)
    return {"modes": dict(sorted(modes.items()))} if modes else {}


def _figures(provenance: dict[str, Any]) -> dict[str, Any]:
    steps = provenance["episode_steps"]
    return {
        "task": provenance["recipe"]["task"],
        "demos": len(steps),
        "expert_failures": provenance["expert_failures"],
        "frames": sum(steps),
        "mean_steps": round(sum(steps) / len(steps), 1),
        "frames_filled": provenance["frames_filled"],
        "points_filled": provenance["points_filled"],
        **{key: provenance[key] for key in ("points_seen", "points_on") if key in provenance},
        "said": provenance.get("said", []),  # data made before do not say
        "reused": False,
    }


def _milliseconds(kept: list[Candidate], frames: int) -> dict[str, Any]:
    parts = sorted({part for c in kept for part in c.seconds})
    return {"ms_per_frame": {p: round(1e3 * sum(c.seconds.get(p, 0) for c in kept) / frames, 3) for p in parts}}


def _keep(run: Run, store: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """A complete data set of the same recipe is verified and kept."""
    same_recipe(run.folder, read_attributes(store).get("recipe"), wanted)
    dataset = read_store(store)
    figures = {**_figures(dataset.provenance), "content_sha256": dataset.sha256, "reused": True}
    run.metrics(**figures)
    for path in (store, run.folder / SHEET):
        if path.exists():
            run.artifact(path)
    remove(run.folder / EPISODES)  # what a kill just after the store was written leaves
    return figures


def same_recipe(folder: Path, found: Any, wanted: dict[str, Any]) -> None:
    """UsageError that names the first difference between how a folder's data set was made and what is asked for."""
    old, new = flatten(found or {}), flatten(wanted)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            raise UsageError(
                f"data set {folder}: made with {key} = {old.get(key)!r}, asked for {new.get(key)!r}",
                "choose another folder with --out, or delete this one",
            )


def _points(config: Settings) -> dict[str, Any]:
    """The points of a cloud are part of the folder's name, so they do not count as unusual."""
    cloud = getattr(config, "cloud", None)
    return {} if cloud is None else {"cloud": {"points": cloud.points}}
