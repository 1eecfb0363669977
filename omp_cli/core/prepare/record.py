"""The source of all suites that have a scripted expert: it is rolled out, and its successes are the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import BeforeValidator, SerializeAsAny

from omp_cli.core.base.config import Flag, Member, Seed, Settings, default_text
from omp_cli.core.base.files import name_part, read_json, write_json
from omp_cli.core.base.layers import flatten
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.timing import Stopwatch, rounded, summed
from omp_cli.core.clouds.sensor import CloudConfig
from omp_cli.core.data.store import Arrays, start_hash
from omp_cli.core.prepare.attempt import EXTRAS, Candidate, CollectConfig, load_episode
from omp_cli.core.prepare.build import RECIPE, recipe_in, same_recipe
from omp_cli.core.prepare.collect import collect, filled_sentence, points_on
from omp_cli.core.prepare.own import OfSuite
from omp_cli.core.prepare.source import RECORD, SOURCES, Asked, Gathered, short_hash
from omp_cli.core.suites import SUITES
from omp_cli.core.suites.base import as_recommended


def cloud_flag(name: str, words: str, default: str = "") -> Flag:
    """The option of a setting of the suite's cloud, which suites without a depth camera do not have.

    ``default`` says what is recommended for new data, where that is not the setting's default.
    """
    field = CloudConfig.model_fields[name]
    values = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    kind = str if values else int
    default = default or default_text(field) or "by the number of points"
    return Flag("", "Observation", f"cloud.{name}", kind, words, (lambda: values) if values else None, default)


POINTS = cloud_flag("points", "Points per cloud.")
CAMERA_SIZE = cloud_flag("camera_size", "Width and height of the depth picture, in pixels.")
FRAME = cloud_flag("frame", "Frame of the clouds: world, or dp3, the frame and crop of the public pipeline.")
ROBOT = cloud_flag(
    "robot",
    "What of the robot the clouds show: shown, all of it, or gripper, its hand and fingers.",
    "gripper in the world frame",
)
FOVEA = cloud_flag(
    "fovea", "How many times finer the depth camera sees what is kept.", "4 in the world frame, more beyond 1024 points"
)
FPS_BACKEND = cloud_flag("fps_backend", "Implementation of farthest point sampling: numpy or open3d.")


class RecordConfig(Settings):
    """All that decides the content of a recorded data set but the task."""

    suite: Annotated[
        SerializeAsAny[Member],
        BeforeValidator(SUITES.parse),
        POINTS,
        CAMERA_SIZE,
        FRAME,
        ROBOT,
        FOVEA,
        FPS_BACKEND,
    ]
    """Which benchmark, and how it observes."""
    collect: CollectConfig = CollectConfig()
    """What is recorded."""
    seed: Seed = 0
    """Seed of the start states."""


@SOURCES.register(RECORD)
class Recorded(OfSuite):
    """Scripted demonstrations of the tasks of a suite."""

    Config: ClassVar[type[Settings]] = RecordConfig
    config: RecordConfig

    @classmethod
    def about(cls, asked: Asked) -> str:
        """What messages call it: the benchmark's scripted expert."""
        return f"{asked.benchmark}'s scripted expert"

    @property
    def folder_name(self) -> str:
        """``<task>-p<points>-d<demos>-s<seed>``, and a short hash when any other setting is not the default."""
        config, task, of_suite = self.config, self.origin.task, self.suite.config
        points = self.suite.spec(task).points
        name = f"{task}{'' if points is None else f'-p{points}'}-d{config.collect.demos}-s{config.seed}"
        usual = as_recommended({"name": self.origin.suite, **_points(of_suite)})
        plain = RecordConfig(suite=usual, collect=CollectConfig(demos=config.collect.demos), seed=config.seed)
        return name if plain == config else f"{name}-{short_hash(self.recipe())}"

    def folder(self, root: Path) -> Path:
        """See the base class; what an earlier omp made of the same recipe is found under the name that it gave it.

        What is usual has changed: a name without a hash may be that of data with the arm, and one with a hash that of
        data as they are recommended today. So a name that is taken by another recipe gets a hash in any case.
        """
        wanted, name = flatten(self.recipe()), name_part(self.folder_name)
        tail = f"-{short_hash(self.recipe())}"
        plain, hashed = name.removesuffix(tail), name.removesuffix(tail) + tail
        found = {folder: recipe_in(root / folder) for folder in (name, plain, hashed)}
        same = (folder for folder, recipe in found.items() if recipe is not None and flatten(recipe) == wanted)
        return root / next(same, name if found[name] is None else hashed)

    def recipe(self) -> dict[str, Any]:
        """All settings and the task."""
        later = {"spread"} if self.config.collect.spread == 1 else set()  # data made before had none
        return {**self.config.model_dump(mode="json", exclude={"collect": later}), "task": self.origin.task}

    def gather(self, scratch: Path, workers: int, progress: Progress, watch: Stopwatch) -> Gathered:
        """Record; episodes that an interrupted run has left in ``scratch`` are taken.

        Raises:
            UsageError: ``scratch`` holds episodes of another recipe.
            RunFailed: the expert succeeds too rarely, or a worker process died again and again.
            MissingDependency: the simulator is not installed.
        """
        config, task, wanted = self.config, self.origin.task, self.recipe()
        if (scratch / RECIPE).exists():
            same_recipe(scratch.parent, read_json(scratch / RECIPE, "recipe"), wanted)
        else:
            write_json(scratch / RECIPE, wanted)
        kept, failed = self.collected(scratch, workers, progress)
        watch.lap("recording")
        loaded = [load_episode(candidate.file) for candidate in kept]
        env = self.suite.make(task)
        try:
            environment = env.provenance()
        finally:
            env.close()
        picture = {"image": loaded[0]["img"].shape[1:]} if "img" in loaded[0] else {}
        frames = [{name: array for name, array in episode.items() if name not in EXTRAS} for episode in loaded]
        steps = sum(c.steps for c in kept)
        found = Gathered(
            frames,
            self.suite.spec(task).model_copy(update=picture),
            environment,
            [start_hash(episode["start_state"]) for episode in loaded],
            sheet=loaded,
            said=_said(config, kept, failed),
            provenance={
                "episode_seeds": [c.seed for c in kept],
                "expert_failures": failed + (_never_succeeded(loaded) if self.suite.judged else 0),
                "frames_filled": sum(c.frames_filled for c in kept),
                "points_filled": sum(c.filled for c in kept),
                **_modes(kept),
                **_chosen(config.collect),
                **points_on((c.points_on for c in kept), steps),
            },
            figures={
                **_milliseconds(kept, steps),
                "worker_seconds_by_part": rounded(summed(c.seconds | c.overhead for c in kept)),
            },
        )
        watch.lap("reading and provenance")
        return found

    def collected(self, scratch: Path, workers: int, progress: Progress) -> tuple[list[Candidate], int]:
        """The candidates that are kept, and how many before the last of them failed."""
        config, suite = self.config, self.recipe()["suite"]
        return collect(suite, self.origin.task, config.collect, config.seed, scratch, workers, progress)

    @staticmethod
    def figures(provenance: Mapping[str, Any]) -> dict[str, Any]:
        """Failures, points that were filled, and what points lay on."""
        names = ("expert_failures", "frames_filled", "points_filled")
        also = (name for name in ("points_seen", "points_on") if name in provenance)
        return {name: provenance[name] for name in (*names, *also)}

    @staticmethod
    def row(figures: Mapping[str, Any]) -> dict[str, Any]:
        """What was recorded, and the cost of a frame."""
        parts = figures.get("ms_per_frame", {})
        return {
            "task": figures["task"],
            "demos": figures["demos"],
            "failed": figures["expert_failures"],
            "frames": figures["frames"],
            "steps": figures["mean_steps"],
            "filled frames": figures["frames_filled"],
            "ms/frame": f"{sum(parts.values()):.1f}" if parts else "kept",
        }

    @staticmethod
    def lines(folders: Sequence[Path], figures: Sequence[Mapping[str, Any]]) -> list[str]:
        """The lines of every source, with the contact sheet to look at."""
        return [
            f"{line}   look at its contact_sheet.png" if line.startswith("data set: ") else line
            for line in OfSuite.lines(folders, figures)
        ]


def _never_succeeded(episodes: Sequence[Arrays]) -> int:
    """How many episodes have no step with success."""
    return sum(not episode["success"].any() for episode in episodes)


def _chosen(collecting: CollectConfig) -> dict[str, Any]:
    """How the start states came about, where they are not simply drawn."""
    if collecting.spread == 1:
        return {}
    looked_at = collecting.demos * collecting.spread
    return {"start_states_chosen": {"by": "farthest point sampling of start states", "of": looked_at}}


def _said(config: RecordConfig, kept: list[Candidate], failed: int) -> list[str]:
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


def _milliseconds(kept: list[Candidate], frames: int) -> dict[str, Any]:
    parts = sorted({part for c in kept for part in c.seconds})
    return {"ms_per_frame": {p: round(1e3 * sum(c.seconds.get(p, 0) for c in kept) / frames, 3) for p in parts}}


def _points(config: Settings) -> dict[str, Any]:
    """The points of a cloud are part of the folder's name, so they do not count as unusual."""
    cloud = getattr(config, "cloud", None)
    return {} if cloud is None else {"cloud": {"points": cloud.points}}
