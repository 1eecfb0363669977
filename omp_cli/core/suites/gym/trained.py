"""Data without a download: PPO of stable-baselines3 learns a Gym task, and its episodes become a D4RL file.

Policy and episodes are kept in the cache folder under names that hold all settings: the policy as safetensors with the
statistics of its normalisation, so that nothing is unpickled, then the file. A run that is interrupted while it
records starts from the policy; one that is interrupted while it learns starts over.
"""

from __future__ import annotations

import json
from hashlib import sha256
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omp_cli.core.base.config import Count, Flag, Seed
from omp_cli.core.base.errors import DataError, MissingDependency, UsageError, did_you_mean
from omp_cli.core.base.files import atomic, read_tensors
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.seeds import demo_seed
from omp_cli.core.data.catalogue import cache_folder, read_catalogue
from omp_cli.core.data.readers.d4rl import NOTES
from omp_cli.core.prepare.made import Made, MadeConfig, Recordable
from omp_cli.core.prepare.source import SOURCES
from omp_cli.core.suites.base import SUITES, TaskEnv

FILES = "Public data and files"
STEPS = {"medium": 200_000, "expert": 600_000}
"""Of the environment. Measured with seed 0: 200 000 steps take 3 minutes of one core, and 100 episodes of the policy,
stochastic, then return 2057 (Hopper) and 2478 (Walker2d) on average. Without its noise the same policy returned 3426
(Walker2d) but only 267 (Hopper; 15 episodes each). The expert after 600 000 and other robots are not measured."""
ENVIRONMENTS = 8
SETTINGS: dict[str, Any] = {
    "n_steps": 256,
    "batch_size": 256,
    "n_epochs": 10,
    "learning_rate": 1e-3,
    # On Hopper, 100 000 steps with 0.99 ended in a stride that falls after 200 steps, with 0.999 in standing still.
    "gamma": 0.995,
    "gae_lambda": 0.95,
    "ent_coef": 0.0,
}
HIDDEN = (128, 128)
"""Width of policy and value networks, tanh."""
CLIP = 10.0
"""Of normalised observations and rewards."""


class TrainedConfig(Recordable):
    """What decides the content of a recorded file."""

    robot: str
    """"hopper", "walker2d" ...; learnt and recorded in its v5."""
    quality: Annotated[Literal["medium", "expert"], Flag(panel=FILES, help="With --source sb3: medium or expert.")] = (
        "medium"
    )
    """Medium takes a short training's stochastic policy, expert a long one's deterministic one."""
    steps: Annotated[
        Count, Flag("--train-steps", FILES, help="With --source sb3: steps of PPO.", default="200000, 600000")
    ] = Field(default_factory=lambda data: STEPS[data["quality"]])
    """Steps of PPO in the environment; the quality says how many are usual."""
    episodes: Annotated[Count, Flag("--demos", "Recording")] = 100
    """Episodes to record."""
    seed: Seed = 0
    """Of training and of the start states."""

    @property
    def environment(self) -> str:
        """Task name in the suite."""
        return f"{self.robot}-v5"

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return f"{self.robot}-{self.quality}"

    @property
    def source(self) -> str:
        """Name of the source: all that the task's name does not say."""
        return f"sb3-n{self.steps}-e{self.episodes}-s{self.seed}"

    @property
    def file(self) -> Path:
        """Where the recorded file is kept."""
        return self._kept(f"{self.source}.hdf5")

    @property
    def policy(self) -> Path:
        """Where the trained policy is kept."""
        return self._kept(f"ppo-{self.robot}-n{self.steps}-s{self.seed}.safetensors")

    def _kept(self, name: str) -> Path:
        """In a folder of the task and of PPO's settings: another omp's policy is not taken for this one's."""
        return cache_folder() / "gym" / self.dataset / sha256(json.dumps(recipe()).encode()).hexdigest()[:8] / name


def recipe() -> dict[str, Any]:
    """How PPO learns, whatever the robot."""
    return {**SETTINGS, "hidden": list(HIDDEN), "environments": ENVIRONMENTS, "clip": CLIP}


def robot_of(task: str) -> str:
    """The robot that a task means ("hopper", "hopper-v5"); UsageError when there is none or it is a data set."""
    robot, _, rest = task.partition("-")
    known = sorted({name.partition("-")[0] for name in SUITES.build(SUITES.parse({"name": "gym"})).tasks()})
    if robot not in known or rest not in ("", "v5"):
        raise UsageError(f"--source sb3 records a robot's v5, not {task!r}", did_you_mean(robot, known) or known[0])
    return robot


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
        """The robot."""
        return {"robot": robot_of(task or "hopper")}

    def require(self) -> None:
        """MissingDependency where stable-baselines3 is not installed and has something to learn."""
        if not self.config.record.file.is_file() and find_spec("stable_baselines3") is None:
            raise MissingDependency("stable-baselines3 is not installed", "pip install 'stable-baselines3>=2.4,<3'")

    def record(self, workers: int, progress: Progress) -> None:
        """In this process; a policy that an interrupted run has learnt is taken."""
        _record_all(self.config.record, progress)


def _record_all(config: TrainedConfig, progress: Progress) -> None:
    """Learn, roll out, and write the file."""
    env = SUITES.build(SUITES.parse({"name": "gym"})).make(config.environment)
    try:
        act = _trained(config, env.provenance()["gymnasium_id"], progress)
        rows, returns = _record(config, env, act, progress)
        _write(config, env, rows, returns)
    finally:
        env.close()


class _Actor:
    """The policy in an episode: actions in [-1, 1] from raw observations."""

    def __init__(self, policy: Any, mean: NDArray[np.float64], variance: NDArray[np.float64], greedy: bool) -> None:
        self._policy, self._mean, self._deviation, self._greedy = policy, mean, np.sqrt(variance + 1e-8), greedy

    def __call__(self, state: NDArray[np.float32]) -> NDArray[np.float32]:
        normalised = np.clip((state - self._mean) / self._deviation, -CLIP, CLIP).astype(np.float32)
        return self._policy.predict(normalised, deterministic=self._greedy)[0]


def _trained(config: TrainedConfig, name: str, progress: Progress) -> _Actor:
    """Learn, or take the policy that an interrupted run has kept."""
    import gymnasium
    import torch
    from safetensors.torch import save_file
    from stable_baselines3 import PPO
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    def make() -> Any:
        # the monitor tells the raw returns, which the progress shows
        return Monitor(gymnasium.wrappers.RescaleAction(gymnasium.make(name), np.float32(-1), np.float32(1)))

    envs = VecNormalize(DummyVecEnv([make] * ENVIRONMENTS), clip_obs=CLIP, clip_reward=CLIP, gamma=SETTINGS["gamma"])
    kept = config.policy
    network = {"net_arch": list(HIDDEN), "activation_fn": torch.nn.Tanh}
    try:
        model = PPO("MlpPolicy", envs, seed=config.seed, device="cpu", policy_kwargs=network, **SETTINGS)
        if not kept.is_file():
            _learn(model, config, progress)
            statistics = {"mean": envs.obs_rms.mean, "variance": envs.obs_rms.var}
            tensors = {f"statistics.{k}": torch.from_numpy(np.asarray(v, np.float64)) for k, v in statistics.items()}
            with atomic(kept) as temporary:
                save_file({**model.policy.state_dict(), **tensors}, temporary)
        tensors = read_tensors(kept, "policy", lambda _: "damaged", f"delete {kept} to train it anew")
        mean, variance = (tensors.pop(f"statistics.{name}").numpy() for name in ("mean", "variance"))
        model.policy.load_state_dict(tensors)
        return _Actor(model.policy, mean, variance, greedy=config.quality == "expert")
    finally:
        envs.close()


def _learn(model: Any, config: TrainedConfig, progress: Progress) -> None:
    from stable_baselines3.common.callbacks import BaseCallback

    class Told(BaseCallback):
        """Tells of every rollout."""

        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            found = [episode["r"] for episode in self.model.ep_info_buffer]
            figures = {"mean_return": f"{np.mean(found):.0f}"} if found else {}
            progress.advance(SETTINGS["n_steps"] * ENVIRONMENTS, **figures)

    rollout = SETTINGS["n_steps"] * ENVIRONMENTS
    progress.start(f"{config.environment}: PPO", -(-config.steps // rollout) * rollout)
    model.learn(config.steps, callback=Told())


def _record(
    config: TrainedConfig, env: TaskEnv, act: _Actor, progress: Progress
) -> tuple[dict[str, NDArray[Any]], list[float]]:
    """Episodes from the start states of demonstrations, one after the other, as D4RL's arrays; and their returns."""
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
    import h5py

    if not all(np.isfinite(values).all() for values in rows.values()):
        raise DataError(f"{config.dataset}: the recorded episodes hold values that are not finite")
    packages = ("stable-baselines3", "gymnasium", "mujoco", "torch")
    notes = {
        "env_id": env.provenance()["gymnasium_id"],
        "recorded_by": "PPO (stable-baselines3) with VecNormalize",
        "policy": "stochastic" if config.quality == "medium" else "deterministic",
        "training": config.model_dump(mode="json"),
        "hyperparameters": recipe(),
        "mean_return": round(float(np.mean(returns)), 3),
        "versions": {name: metadata.version(name) for name in packages},
    }
    with atomic(config.file) as temporary, h5py.File(temporary, "w") as file:
        for name, values in rows.items():
            file[name] = values
        file.attrs[NOTES] = json.dumps(notes)
