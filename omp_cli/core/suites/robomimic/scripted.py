"""RoboMimic data without a download: scripted operators in robosuite, written as robomimic's own HDF5.

``omp prepare robomimic --source scripted`` records the clean operator, ``scripted-disturbed`` one whose hands are
pushed, and ``scripted-noisy`` one that is slow, wobbles and misses. The file is kept in the cache folder under a name
that holds all settings; episodes of an interrupted run are kept beside it. robomimic's ``get_dataset_info``,
``SequenceDataset`` and playback read it as they read their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from omp_cli.core.base.config import Count, CountOrZero, Flag, Names, Seed, from_commas
from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.base.files import atomic, remove
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.seeds import demo_seed
from omp_cli.core.data.readers.robomimic import NOTES
from omp_cli.core.data.readers.robomimic_cameras import ENDINGS
from omp_cli.core.data.store import Arrays
from omp_cli.core.envs.jobs import Kept
from omp_cli.core.prepare.attempt import load_episode
from omp_cli.core.prepare.collect import first_successes
from omp_cli.core.prepare.made import Made, MadeConfig, Recordable
from omp_cli.core.prepare.source import SOURCES
from omp_cli.core.suites.robomimic.experts import OPERATORS, make_expert
from omp_cli.core.suites.robomimic.model import env_kwargs
from omp_cli.core.suites.robomimic.plans import PLANS
from omp_cli.core.suites.robomimic.replay import Replayed
from omp_cli.core.suites.robomimic.suite import RENDERING, Robomimic, RobomimicEnv, RobomimicSuiteConfig
from omp_cli.core.suites.robomimic.tables import TASKS

ROBOSUITE_TYPE = 1
"""robomimic's number for robosuite ("EnvType.ROBOSUITE_TYPE")."""
HOPELESS = (("transport", "noisy"),)
"""Tasks and operators of which next to no episode ends in success, so that recording would not end."""
VALID_SHARE = 10
"""One of this many demonstrations is in the file's filter key "valid", the others are in "train"."""


class ScriptedConfig(Recordable):
    """What decides the content of a recorded file."""

    suite: ClassVar[str] = "robomimic"
    task: str = "lift"
    """"lift", "can", "square" or "transport"."""
    operator: Literal["clean", "disturbed", "noisy"] = "clean"
    """The operator who demonstrates: "clean"; "disturbed", whose hands are pushed, and whose actions are those to come
    back; or "noisy", who wobbles and misses.
    """
    demos: Annotated[Count, Flag(panel="Recording")] = 100
    """Successful episodes."""
    cameras: Names | None = None
    """Cameras that are recorded; None those that ``format.cameras`` takes, and where that is None, too, the paper's for
    the task; an empty list records none.
    """
    image_size: int = Field(96, ge=8, le=4096)
    """Width and height of their pictures, pixels."""
    after_success: Annotated[CountOrZero, Flag(panel="Recording")] = 10
    """Steps recorded after the first success."""
    max_attempts: Count = 10
    """Candidates tried per wanted demonstration before giving up."""
    seed: Seed = 0
    """Seed of the start states and of the operator."""

    @field_validator("task")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in PLANS:
            raise UsageError(f"no operator for task {value!r} of robomimic", did_you_mean(value, PLANS))
        return value

    @model_validator(mode="after")
    def _able(self) -> ScriptedConfig:
        if (self.task, self.operator) in HOPELESS:
            steps = TASKS[self.task].max_steps
            raise UsageError(
                f"the {self.operator} operator of {self.task} does not get done within {steps} steps",
                "take the clean one, --source scripted",
            )
        return self

    @property
    def dataset(self) -> str:
        """Task name of the data set."""
        return self.task

    @property
    def source(self) -> str:
        """Name of the source: all that the task's name does not say."""
        name = "scripted" if self.operator == "clean" else f"scripted-{self.operator}"
        cameras = "" if self.cameras is None else "-" + ("_".join(self.cameras) or "blind")
        size = "" if self.image_size == 96 else f"-{self.image_size}px"
        after = "" if self.after_success == 10 else f"-a{self.after_success}"
        return f"{name}-d{self.demos}-s{self.seed}{cameras}{size}{after}"

    def unnamed(self) -> str:
        """The operator's settings."""
        return OPERATORS[self.operator].recorded()

    def require(self) -> None:
        """MissingDependency where robosuite is not installed."""
        self.environments().require()

    def environments(self) -> Robomimic:
        """The environments in which it is recorded."""
        return Robomimic(RobomimicSuiteConfig(cameras=self.cameras, image_size=self.image_size))


@dataclass(frozen=True)
class OperatorJob:
    """One candidate episode, small enough to send to a worker process."""

    config: ScriptedConfig
    seed: int
    file: Path


@dataclass(frozen=True)
class OperatorCandidate:
    """A recorded candidate: its arrays are in ``file`` when it succeeded."""

    success: bool
    steps: int
    file: Path


class ScriptedFilesConfig(MadeConfig):
    """What operators record, and what is taken from it."""

    record: ScriptedConfig = ScriptedConfig()
    """What is recorded."""

    @model_validator(mode="before")
    @classmethod
    def _taken_cameras_are_recorded(cls, values: Any) -> Any:
        """Names to ``record`` the cameras that are taken, where these alone are named; a replay takes no picture."""
        record, taken = (values.get(part, {}) if isinstance(values, Mapping) else None for part in ("record", "format"))
        if not isinstance(record, Mapping) or not isinstance(taken, Mapping):
            return values
        named = [] if taken.get("replay") else taken.get("cameras")
        if record.get("cameras") is not None or named is None:
            return values
        return {**values, "record": {**record, "cameras": _cameras(from_commas(named))}}


def _cameras(named: Any) -> Any:
    """Names of cameras, of which some may be given as observation keys of pictures; anything else as it is."""
    if not isinstance(named, list | tuple) or not all(isinstance(name, str) for name in named):
        return named
    return [name.removesuffix(next((e for e in ENDINGS if name.endswith(e)), "")) for name in named]


@SOURCES.register("robomimic/scripted-noisy")
@SOURCES.register("robomimic/scripted-disturbed")
@SOURCES.register("robomimic/scripted")
class Scripted(Replayed, Made):
    """Operators in robosuite; the name of the source says which."""

    Config: ClassVar[type[MadeConfig]] = ScriptedFilesConfig
    format: ClassVar[str] = "robomimic"
    config: ScriptedFilesConfig

    @classmethod
    def named(cls, task: str | None, source: str) -> dict[str, Any]:
        """Task and operator."""
        return {"task": task or "lift", "operator": source.removeprefix("scripted").removeprefix("-") or "clean"}

    def record(self, workers: int, progress: Progress) -> None:
        """Episodes of an interrupted run are taken.

        Raises:
            RunFailed: the operator succeeds too rarely, or a worker process died.
        """
        config = self.config.record
        _record_all(config, config.file.parent / f".{config.source}.episodes", workers, progress)


def _record_all(config: ScriptedConfig, episodes: Path, workers: int, progress: Progress) -> None:
    """Record what is not there yet, and write the file."""
    episodes.mkdir(exist_ok=True)
    jobs = (
        OperatorJob(config, (seed := demo_seed(config.seed, config.task, index)), episodes / f"{index:06d}-{seed}.npz")
        for index in range(config.demos * config.max_attempts)
    )
    kept, failed = first_successes(record, jobs, config.demos, config.task, workers, progress)
    _write(config, [load_episode(candidate.file) for candidate in kept], failed)
    remove(episodes)


def record(job: OperatorJob, kept_env: Kept[RobomimicEnv]) -> OperatorCandidate:
    """Roll the operator out once and keep the episode as a file; returns at once when the file is there."""
    if job.file.exists():
        done = load_episode(job.file)
        return OperatorCandidate(bool(done["kept"]), int(done["steps"]), job.file)
    env = kept_env.get(job.config, lambda: job.config.environments().make(job.config.task))
    env.reset(job.seed)
    expert = make_expert(job.config.task, env.sim, OPERATORS[job.config.operator], job.seed)
    rows: dict[str, list[Any]] = {"states": [], "actions": [], "rewards": []}
    seen: list[dict[str, NDArray[Any]]] = [_seen(env)]
    first_success: int | None = None
    for step in range(env.spec.max_steps):
        action = np.clip(expert.action(), -1.0, 1.0)
        rows["states"].append(env.simulator_state())
        rows["actions"].append(action.astype(np.float64))
        outcome = env.step(expert.executed(rows["actions"][-1]))
        rows["rewards"].append(outcome.reward)
        seen.append(_seen(env))
        if outcome.success and first_success is None:
            first_success = step
        if first_success is not None and step - first_success >= job.config.after_success:
            break
    arrays: Arrays = {}
    # who has let go again at the end is no example, and robomimic asks for success at the last step
    kept = first_success is not None and outcome.success
    if kept:
        arrays = {name: np.stack(values) for name, values in rows.items()}
        arrays |= {f"obs/{key}": np.stack([frame[key] for frame in seen]) for key in seen[0]}
        arrays["model_file"] = np.array(env.sim.sim.model.get_xml())
    with atomic(job.file) as temporary:
        np.savez(temporary, kept=kept, steps=len(rows["actions"]), **arrays)  # type: ignore[arg-type]  # NumPy's stub
    return OperatorCandidate(kept, len(rows["actions"]), job.file)


def _seen(env: RobomimicEnv) -> dict[str, NDArray[Any]]:
    """All observations of the present state by robomimic's names, pictures included."""
    return {**env.observations(), **{f"{camera}_image": env.photograph(camera) for camera in env.cameras}}


def _write(config: ScriptedConfig, episodes: Sequence[Mapping[str, NDArray[Any]]], failed: int) -> None:
    """robomimic's layout; of the next observations the low-dimensional ones alone, as its own image files have it."""
    with config.written() as file:
        data = file.create_group("data")
        for index, episode in enumerate(episodes):
            demo = data.create_group(f"demo_{index}")
            steps = len(episode["actions"])
            demo.attrs["num_samples"] = steps
            demo.attrs["model_file"] = str(episode["model_file"])
            for name in ("states", "actions", "rewards"):
                demo[name] = episode[name]
            demo["dones"] = (episode["rewards"] == 1).astype(np.int64)
            demo["dones"][-1] = 1
            for key in (name for name in episode if name.startswith("obs/")):
                values = episode[key]
                packed = {"compression": "lzf", "chunks": (1, *values.shape[1:])} if values.dtype == np.uint8 else {}
                demo.create_dataset(key, data=values[:-1], **packed)
                if not packed:
                    demo[f"next_{key}"] = values[1:]
        names = np.array([f"demo_{index}".encode() for index in range(len(episodes))])
        valid = np.arange(len(names)) % VALID_SHARE == VALID_SHARE - 1
        file["mask/train"], file["mask/valid"] = names[~valid], names[valid]
        data.attrs["total"] = sum(len(episode["actions"]) for episode in episodes)
        data.attrs["env_args"] = json.dumps(_env_args(config))
        data.attrs[NOTES] = json.dumps(
            {
                "recorded_by": "scripted operator",
                "rendering": RENDERING,
                "failed": failed,
                "operator_settings": OPERATORS[config.operator].model_dump(mode="json"),
                **config.model_dump(mode="json"),
            }
        )


def _env_args(config: ScriptedConfig) -> dict[str, Any]:
    suite = config.environments()
    info = TASKS[config.task]
    cameras = suite.cameras(config.task)
    pictures = {
        "camera_names": list(cameras),
        "camera_heights": config.image_size,
        "camera_widths": config.image_size,
        "has_offscreen_renderer": True,
        "use_camera_obs": True,
    }
    return {
        "env_name": info.env,
        "env_version": metadata.version("robosuite"),
        "type": ROBOSUITE_TYPE,
        "env_kwargs": {**env_kwargs(info.arms, suite.config.control), **(pictures if cameras else {})},
    }
