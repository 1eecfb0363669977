"""An arm for LeRobot's commands, as a robot and as an environment; it keeps what it has shown and what it was told.

LeRobot finds the class of a robot of others by the names of its configuration's class and module, hence this file's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.robots import Robot, RobotConfig

STATES, ACTIONS, CAMERAS = 6, 7, ("top", "wrist")
JOINTS = [f"joint_{n}.pos" for n in range(STATES)]
MOTORS = [f"motor_{n}.pos" for n in range(ACTIONS)]
ROBOT_SIZE, ENV_SIZE = (16, 16, 3), (32, 48, 3)


@RobotConfig.register_subclass("mock_arm")
@dataclass
class MockArmConfig(RobotConfig):
    """Of the robot."""


class MockArm(Robot):
    """A robot that shows random numbers and pictures."""

    config_class, name = MockArmConfig, "mock_arm"
    shown: list[dict[str, Any]] = []  # noqa: RUF012  (of the last one that was made)
    sent: list[dict[str, float]] = []  # noqa: RUF012

    def __init__(self, config: MockArmConfig) -> None:
        super().__init__(config)
        self.cameras: dict[str, Any] = {}
        self._random = np.random.default_rng(0)
        MockArm.shown, MockArm.sent = [], []

    @property
    def observation_features(self) -> dict[str, Any]:
        return {**dict.fromkeys(JOINTS, float), **dict.fromkeys(CAMERAS, ROBOT_SIZE)}

    @property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys(MOTORS, float)

    is_connected = is_calibrated = False

    def connect(self, calibrate: bool = True) -> None:
        self.is_connected = True

    def calibrate(self) -> None: ...

    def configure(self) -> None: ...

    def get_observation(self) -> dict[str, Any]:
        joints = {name: float(np.float32(self._random.normal())) for name in JOINTS}
        self.shown.append(joints | {name: self._random.integers(0, 256, ROBOT_SIZE, np.uint8) for name in CAMERAS})
        return self.shown[-1]

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        self.sent.append(action)
        return action

    def disconnect(self) -> None:
        self.is_connected = False


class ArmEnv(gymnasium.Env[Any, Any]):
    """Random numbers and pictures as well; an episode of three steps, which succeeds when the actions are in range."""

    metadata = {"render_fps": 10, "render_modes": ["rgb_array"]}  # noqa: RUF012
    render_mode, _max_episode_steps, task, task_description = "rgb_array", 3, "lift", "lift"

    def __init__(self) -> None:
        box = gymnasium.spaces.Box
        pixels = gymnasium.spaces.Dict({name: box(0, 255, ENV_SIZE, np.uint8) for name in CAMERAS})
        self.observation_space = gymnasium.spaces.Dict({"agent_pos": box(-9, 9, (STATES,)), "pixels": pixels})
        self.action_space = box(-1, 1, (ACTIONS,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._step, self._good = 0, True
        return self._shown(), {"is_success": False}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._step += 1
        self._good = self._good and self.action_space.contains(action)
        done = self._step == self._max_episode_steps
        return self._shown(), 0.0, done, False, {"is_success": done and self._good}

    def render(self) -> Any:
        return np.zeros(ENV_SIZE, np.uint8)

    def _shown(self) -> dict[str, Any]:
        pixels = {name: self.np_random.integers(0, 256, ENV_SIZE, np.uint8) for name in CAMERAS}
        return {"agent_pos": self.np_random.normal(size=STATES).astype(np.float32), "pixels": pixels}


def _features() -> dict[str, PolicyFeature]:
    cameras = {f"pixels/{name}": PolicyFeature(FeatureType.VISUAL, ENV_SIZE) for name in CAMERAS}
    state = {"agent_pos": PolicyFeature(FeatureType.STATE, (STATES,))}
    return {"action": PolicyFeature(FeatureType.ACTION, (ACTIONS,)), **state, **cameras}


@EnvConfig.register_subclass("mock_arm")
@dataclass
class ArmEnvConfig(EnvConfig):
    """Of the environment."""

    task: str = "lift"
    fps: int = 10
    features: dict[str, PolicyFeature] = field(default_factory=_features)
    features_map: dict[str, str] = field(
        default_factory=lambda: {
            "action": "action",
            "agent_pos": "observation.state",
            **{f"pixels/{name}": f"observation.images.{name}" for name in CAMERAS},
        }
    )

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        return {}


gymnasium.register("gym_mock_arm/lift", ArmEnv)
