"""Data of policies: PPO of stable-baselines3 learns a Gym task, or policies are given; episodes become a D4RL file.

Policy and episodes are kept in the cache folder under names that hold all settings: the policy as safetensors with the
statistics of its normalisation, so that nothing is unpickled, then the file. A run that is interrupted while it
records starts from the policy; one that is interrupted while it learns starts over.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from omp_cli.core.base.config import Count, Flag, Seed
from omp_cli.core.base.errors import DataError, MissingDependency, UsageError, did_you_mean
from omp_cli.core.base.files import sha256_of
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.seeds import demo_seed
from omp_cli.core.data.catalogue import read_catalogue
from omp_cli.core.data.foreign import whole
from omp_cli.core.data.readers.d4rl import NOTES
from omp_cli.core.experts.mlp import Mlp
from omp_cli.core.experts.sb3 import is_sb3, read_sb3
from omp_cli.core.prepare.made import Made, MadeConfig, Recordable
from omp_cli.core.prepare.source import SOURCES
from omp_cli.core.suites.base import SUITES, TaskEnv
from omp_cli.core.suites.gym.ppo import CLIP, HIDDEN, PARALLEL, SETTINGS, Act, learnt

FILES = "Public data and files"
STEPS = 200_000
"""Steps of the environment in which PPO learns. Measured with seed 0: 200 000 steps take 3 minutes of one core, and 100
episodes of the policy, stochastic, then return 2057 (Hopper) and 2478 (Walker2d) on average. Other robots are not
measured. The policy is no expert: without its noise it returned 267 on Hopper (15 episodes)."""
Quality = Literal["medium", "expert", "medium-expert", "mixed"]
BY_POLICIES: tuple[Quality, ...] = ("medium", "expert", "mixed")
"""How good data are unless the line says otherwise: without a policy, of one, of several."""


class TrainedConfig(Recordable):
    """What decides the content of a recorded file."""

    suite: ClassVar[str] = "gym"
    robot: str
    """"hopper", "walker2d" ..."""
    version: Literal["v4", "v5"] = "v5"
    """Version of the robot's environment; PPO learns in v5 alone."""
    policy: Annotated[
        tuple[Path, ...],
        Flag(panel=FILES, help="With --source sb3: zip file of a policy that is recorded; repeatable."),
    ] = ()
    """Policies of Stable-Baselines3 or its contrib package (.zip), which are recorded without their noise."""
    quality: Annotated[
        Quality,
        Flag(
            panel=FILES,
            help="With --source sb3: how good the data are.",
            default=f"{', '.join(BY_POLICIES)}, by the number of policies",
        ),
    ] = Field(default_factory=lambda data: BY_POLICIES[min(len(data["policy"]), 2)])
    """Medium without a policy is PPO after a short training here, with its noise, and so is the first half of
    medium-expert with one policy. Otherwise it names the data of the policies, an equal share of each.
    """
    steps: Annotated[Count, Flag("--train-steps", FILES, help="With --source sb3: steps that PPO learns for.")] = STEPS
    """Steps of PPO in the environment."""
    episodes: Annotated[Count, Flag("--demos", "Recording")] = 100
    """Episodes to record."""
    seed: Seed = 0
    """Seed of training and of the start states."""

    @model_validator(mode="after")
    def _whose(self) -> TrainedConfig:
        count = len(self.policy)
        if self.quality != "medium" and count < (2 if self.quality == "mixed" else 1):
            raise UsageError(
                f"--quality {self.quality}: of {count} policies; what PPO learns here is no expert",
                "name trained ones: --policy FILE.zip" + (", at least twice" if self.quality == "mixed" else ""),
            )
        if self.learns and self.version != "v5":
            raise UsageError(
                f"--source sb3 records a robot's v5, not {self.robot}-{self.version}", "or name a --policy"
            )
        return self

    @property
    def learns(self) -> bool:
        """Whether PPO is among those that are recorded."""
        return not self.policy or (self.quality == "medium-expert" and len(self.policy) == 1)

    @property
    def environment(self) -> str:
        """Task name in the suite."""
        return f"{self.robot}-{self.version}"

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return f"{self.robot}-{self.quality}"

    @property
    def source(self) -> str:
        """Name of the source: all that the task's name does not say."""
        trained = f"-n{self.steps}" if self.learns else ""
        given = f"-p{self._policies()}" if self.policy else ""
        version = "" if self.version == "v5" else f"-{self.version}"
        return f"sb3{trained}{given}-e{self.episodes}-s{self.seed}{version}"

    def unnamed(self) -> str:
        """How PPO learns."""
        return json.dumps(recipe())

    def require(self) -> None:
        """MissingDependency where PPO has something to learn and stable-baselines3 is not installed."""
        if self.learns and find_spec("stable_baselines3") is None:
            raise MissingDependency("stable-baselines3 is not installed", "pip install 'stable-baselines3>=2.4,<3'")

    @property
    def learnt(self) -> Path:
        """Where the policy that PPO has learnt is kept."""
        return self.kept(f"ppo-{self.robot}-n{self.steps}-s{self.seed}.safetensors")

    def told(self) -> dict[str, Any]:
        """The settings for the file's notes; those without policies are as they were before there were any."""
        if self.learns and not self.policy:
            return self.model_dump(mode="json", exclude={"policy", "version"})
        policies = [{"name": path.name, "sha256": sha256_of(path)} for path in self.policy]
        return {**self.model_dump(mode="json", exclude={"policy"}), "policies": policies}

    def _policies(self) -> str:
        """Eight letters of what the policies hold."""
        return sha256("".join(sha256_of(whole(path)) for path in self.policy).encode()).hexdigest()[:8]


def recipe() -> dict[str, Any]:
    """How PPO learns, whatever the robot."""
    return {**SETTINGS, "hidden": list(HIDDEN), "environments": PARALLEL, "clip": CLIP}


def robot_of(task: str) -> dict[str, Any]:
    """Robot and version that a task means ("hopper", "hopper-v5"); UsageError where it is no robot's name."""
    robot, _, rest = task.partition("-")
    known = sorted({name.partition("-")[0] for name in SUITES.build(SUITES.parse({"name": "gym"})).tasks()})
    if robot not in known or rest not in ("", "v4", "v5"):
        raise UsageError(f"--source sb3 records a robot's v5, not {task!r}", did_you_mean(robot, known) or known[0])
    return {"robot": robot, **({"version": rest} if rest else {})}


class TrainedFilesConfig(MadeConfig):
    """What a trained policy records, and what is taken from it."""

    record: TrainedConfig
    """What is recorded."""


@SOURCES.register("gym/sb3")
class Trained(Made):
    """A policy learns the task, and its episodes are the data."""

    Config: ClassVar[type[MadeConfig]] = TrainedFilesConfig
    format: ClassVar[str] = "d4rl"
    config: TrainedFilesConfig

    @classmethod
    def named(cls, task: str | None, source: str) -> dict[str, Any]:
        """The robot and its version."""
        return robot_of(task or "hopper")

    def notes(self) -> list[str]:
        """See the base class; what is to be known of each policy besides. DataError where one is none."""
        policies = self.config.record.policy
        told = [f"{path.name} {expert.remark}" for path in policies if (expert := _policy(path)).remark]
        return [*super().notes(), *told]

    def record(self, workers: int, progress: Progress) -> None:
        """In this process; a policy that an interrupted run has learnt is taken."""
        _record_all(self.config.record, progress)


def _policy(path: Path) -> Mlp:
    """The policy of a zip file of Stable-Baselines3; DataError where the file is none."""
    if not is_sb3(whole(path)):
        raise DataError(
            f"{path}: no policy of Stable-Baselines3, whose zip file model.save writes",
            f"an npz, a policy of hand_dapg or one of omp: --expert {path} in the place of --source sb3",
        )
    return read_sb3(path)


def _record_all(config: TrainedConfig, progress: Progress) -> None:
    """Learn, roll out, and write the file."""
    env = SUITES.build(SUITES.parse({"name": "gym"})).make(config.environment)
    try:
        experts = [_policy(path) for path in config.policy]
        for expert in experts:
            expert.start(env, 0)  # before anything is learnt for it
        actors: list[Act] = [expert.action for expert in experts]
        if config.learns:
            actors.insert(0, learnt(config, env.provenance()["gymnasium_id"], progress))
        rows, returns = _record(config, env, actors, progress)
        _write(config, env, rows, returns)
    finally:
        env.close()


def _record(
    config: TrainedConfig, env: TaskEnv, actors: Sequence[Act], progress: Progress
) -> tuple[dict[str, NDArray[Any]], list[float]]:
    """Episodes from the start states of demonstrations, an equal share of each actor, one after the other.

    Returns:
        D4RL's arrays, and the returns of the episodes.
    """
    import torch

    facts = read_catalogue().suite("gym").facts(config.environment)
    assert facts is not None
    rows: list[tuple[Any, ...]] = []
    returns: list[float] = []
    progress.start(f"{config.dataset}: episodes", config.episodes)
    for index in range(config.episodes):
        seed = demo_seed(config.seed, config.dataset, index)
        env.reset(seed)
        torch.manual_seed(seed)
        act = actors[index * len(actors) // config.episodes]
        returns.append(0.0)
        for step in range(env.spec.max_steps):
            state = env.observe(["state"])["state"]
            action = act(state)
            outcome = env.step(action)
            returns[-1] += outcome.reward
            timeout = step + 1 == env.spec.max_steps and not outcome.terminated
            physical = action * np.float32(facts.action_limit)
            rows.append((state, physical, np.float32(outcome.reward), outcome.terminated, timeout))
            if outcome.terminated:
                break
        progress.advance(mean_return=f"{np.mean(returns):.0f}")
    names = ("observations", "actions", "rewards", "terminals", "timeouts")
    return {name: np.array([row[column] for row in rows]) for column, name in enumerate(names)}, returns


def _write(config: TrainedConfig, env: TaskEnv, rows: dict[str, NDArray[Any]], returns: list[float]) -> None:
    """The D4RL file, with what a reader must know as JSON in an attribute."""
    if not all(np.isfinite(values).all() for values in rows.values()):
        raise DataError(f"{config.dataset}: the recorded episodes hold values that are not finite")
    packages = (*(("stable-baselines3",) if config.learns else ()), "gymnasium", "mujoco", "torch")
    by = ["PPO (stable-baselines3) with VecNormalize"] if config.learns else []
    by += [f"{path.name}, without its noise" for path in config.policy]
    notes = {
        "env_id": env.provenance()["gymnasium_id"],
        "recorded_by": ", then ".join(by),
        "policy": "stochastic" if not config.policy else "mixed" if config.learns else "deterministic",
        "training": config.told(),
        "hyperparameters": recipe() if config.learns else None,
        "mean_return": round(float(np.mean(returns)), 3),
        "versions": {name: metadata.version(name) for name in packages},
    }
    with config.written() as file:
        for name, values in rows.items():
            file[name] = values
        file.attrs[NOTES] = json.dumps(notes)
