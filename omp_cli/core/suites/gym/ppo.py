"""PPO of stable-baselines3 learns a Gym task; the policy is kept as safetensors, so that nothing is unpickled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.files import atomic
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.tensors import read_tensors

if TYPE_CHECKING:
    from omp_cli.core.suites.gym.trained import TrainedConfig

PARALLEL = 8
"""Environments in which PPO learns at the same time."""
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
"""Largest magnitude of normalised observations and rewards."""

Act = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Action (A,) in [-1, 1] for a state (S,)."""


class _Actor:
    """The policy in an episode: actions in [-1, 1] from raw observations."""

    def __init__(self, policy: Any, mean: NDArray[np.float64], variance: NDArray[np.float64]) -> None:
        self._policy, self._mean, self._deviation = policy, mean, np.sqrt(variance + 1e-8)

    def __call__(self, state: NDArray[np.float32]) -> NDArray[np.float32]:
        normalised = np.clip((state - self._mean) / self._deviation, -CLIP, CLIP).astype(np.float32)
        return self._policy.predict(normalised, deterministic=False)[0]


def learnt(config: TrainedConfig, name: str, progress: Progress) -> _Actor:
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

    envs = VecNormalize(DummyVecEnv([make] * PARALLEL), clip_obs=CLIP, clip_reward=CLIP, gamma=SETTINGS["gamma"])
    kept = config.learnt
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
        return _Actor(model.policy, mean, variance)
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
            progress.advance(SETTINGS["n_steps"] * PARALLEL, **figures)

    rollout = SETTINGS["n_steps"] * PARALLEL
    progress.start(f"{config.environment}: PPO", -(-config.steps // rollout) * rollout)
    model.learn(config.steps, callback=Told())
