"""Where the frames of a control tick come from: the suite's simulator, or camera pictures to be resized."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from omp_cli.core.base.errors import OmpError, UsageError
from omp_cli.core.measure.latency.subjects import TimedPolicy
from omp_cli.core.policy import Policy
from omp_cli.core.spec import Spec
from omp_cli.core.suites.base import TaskEnv, recorded_suite

CAMERA = (480, 640, 3)
"""A camera's own frame, as on the papers' robots."""

Frame = dict[str, NDArray[Any]]


class Sensors(Protocol):
    """Where frames come from."""

    note: str

    def advance(self) -> None:
        """One control step of the world; not timed."""

    def frame(self) -> Frame:
        """The arrays of the present moment; timed."""

    @property
    def seconds(self) -> Mapping[str, float]:
        """Time spent in frames so far, by part."""

    def close(self) -> None:
        """Free what is held."""


class Simulator:
    """The suite's own environment, moved by random actions.

    Args:
        env: the task.
        keys: arrays of a frame.
        points: points of a cloud that the policy reads; None for all.
        seed: seed of the random actions.
    """

    def __init__(self, env: TaskEnv, keys: Sequence[str], points: int | None, seed: int) -> None:
        env.read_points(points)
        self._env, self._keys, self._points, self._steps = env, keys, points, 0
        self._random, self._over = np.random.default_rng(seed), False
        self.note = "simulated camera" if {"point_cloud", "img"} & set(keys) else "simulator"
        env.reset(0)

    def advance(self) -> None:
        """One random action; from the start state again when the task has terminated or the step limit is reached."""
        if self._over:
            self._steps = 0
            self._env.reset(0)
        outcome = self._env.step(self._random.uniform(-1, 1, self._env.spec.action_dim))
        self._steps += 1
        self._over = outcome.terminated or self._steps == self._env.spec.max_steps

    def frame(self) -> Frame:
        """A frame as an evaluation reads it."""
        frame = self._env.observe(self._keys)
        return {key: value[: self._points] if key == "point_cloud" else value for key, value in frame.items()}

    @property
    def seconds(self) -> Mapping[str, float]:
        """Rays, crop, farthest point sampling."""
        return self._env.seconds

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()


class Cameras:
    """Random frames of 480 x 640 pixels that are resized to the policy's picture, and a random state.

    Args:
        spec: the spec whose picture is made; several cameras lie one after the other in the channels.
        keys: arrays of a frame.
        seed: seed of the random pixels.
    """

    def __init__(self, spec: Spec, keys: Sequence[str], seed: int) -> None:
        assert spec.image is not None
        self._size, self._count = spec.image[:2], -(-spec.image[2] // CAMERA[2])
        self._keys, self._random, self._spec = keys, np.random.default_rng(seed), spec
        self.seconds: dict[str, float] = {}
        self.note = f"{self._count} x {CAMERA[0]}x{CAMERA[1]} random pixels resized to {spec.image[0]}x{spec.image[1]}"
        self.advance()

    def advance(self) -> None:
        """New pixels."""
        self._raw = [self._random.integers(0, 256, CAMERA, np.uint8) for _ in range(self._count)]
        self._state = self._random.uniform(-0.5, 0.5, self._spec.state_dim).astype(np.float32)

    def frame(self) -> Frame:
        """The resized pictures (H, W, C) and the state."""
        made: dict[str, Callable[[], NDArray[Any]]] = {"state": lambda: self._state, "img": self._picture}
        return {key: made[key]() for key in self._keys}

    def close(self) -> None:
        """Nothing is held."""

    def _picture(self) -> NDArray[np.uint8]:
        pixels = torch.from_numpy(np.stack(self._raw)).permute(0, 3, 1, 2)
        small = torch.nn.functional.interpolate(pixels, self._size, mode="bilinear", antialias=True)
        return small.permute(2, 3, 0, 1).flatten(2).numpy()


def sensors(subject: TimedPolicy, policy: Policy, seed: int) -> Sensors:
    """Cameras for a policy that sees pictures alone, else the suite's simulator.

    Raises:
        OmpError: the suite or its simulator is not there, or shows something else than the policy reads.
    """
    if "img" in policy.keys and "point_cloud" not in policy.keys:
        return Cameras(policy.spec, policy.keys, seed)
    env = recorded_suite(subject.suite).make(policy.spec.task)
    try:
        shapes = {key: env.observe([key])[key].shape for key in policy.keys}
        _check_shapes(shapes, policy.spec)
    except OmpError:
        env.close()
        raise
    return Simulator(env, policy.keys, getattr(policy.config.encoder, "points", None), seed)


def _check_shapes(shown: Mapping[str, tuple[int, ...]], spec: Spec) -> None:
    """UsageError when the suite shows other arrays than the policy reads."""
    read = {"state": (spec.state_dim,), "point_cloud": (spec.points, 3), "img": spec.image}
    for key, shape in shown.items():
        if key in read and shape != read[key]:
            raise UsageError(f"suite {spec.suite} shows {key} of shape {shape}, the policy reads {read[key]}")
