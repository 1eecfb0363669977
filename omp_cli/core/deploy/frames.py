"""What a policy reads of one moment, and the check that stands between a caller's arrays and the network.

Legend: B batch, T observation steps, N points, S state dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, did_you_mean
from omp_cli.core.data.shown import shown_array
from omp_cli.core.data.topics import RosTopics
from omp_cli.core.families import SUITES
from omp_cli.core.spec import Rotation, Spec, learned_dim

Arrays = dict[str, NDArray[Any]]
AsRead = Callable[[Mapping[str, Any], Collection[str]], Mapping[str, Any]]
"""What a robot shows, and the names of the arrays that a policy reads -> what it shows with these among it."""


@dataclass(frozen=True)
class Array:
    """One array of a frame: the shape that a single moment has, and "float32" or "uint8"."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.shape} {self.dtype}"


@dataclass(frozen=True)
class Signature:
    """What goes into a policy and what comes out.

    Attributes:
        suite: registered name of the suite that its data are of.
        task: task name.
        arrays: one frame, by name.
        n_obs: T, the newest frames that a decision sees.
        horizon: H, actions that a decision makes.
        execute: E, how many of them are meant to be executed before the next decision.
        action_dim: A.
        control_hz: actions per second.
        max_steps: actions of an episode; None where nothing says so.
        nfe: evaluations of the network per decision.
        batch: decisions per call, None for any number.
        action_names: names of the A numbers of an action, as the data say them; empty where nobody says them.
        action_unit: "" where nobody says it.
        action_range: smallest and largest value of each of these numbers in the policy's data, or -1 and 1, where the
            actions are as a suite defines them; None of an export that does not say it.
        cameras: cameras of "img", in the order of its channels, as the data say them; empty where nobody says them.
        made_of: for an array, the names of those that a robot may show instead, of which ``Player`` makes it.
        action_rotations: see ``Spec``.
    """

    suite: str
    task: str
    arrays: Mapping[str, Array]
    n_obs: int
    horizon: int
    execute: int
    action_dim: int
    control_hz: float
    max_steps: int | None
    nfe: int
    batch: int | None = None
    action_names: tuple[str, ...] = ()
    action_unit: str = ""
    action_range: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    cameras: tuple[str, ...] = ()
    made_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    action_rotations: tuple[Rotation, ...] = ()

    def __str__(self) -> str:
        of = {name: f" of {', '.join(parts)}" for name, parts in self.made_of.items()}
        reads = ", ".join(f"{name} {array}{of.get(name, '')}" for name, array in self.arrays.items())
        return f"{self.task}: reads {reads}; actions ({self.action_dim},) at {self.control_hz:g} Hz, NFE {self.nfe}"

    @property
    def noise_shape(self) -> tuple[int, int]:
        """Of the noise of a decision: H, and the numbers of an action as the policy learned it."""
        return self.horizon, learned_dim(self.action_dim, self.action_rotations)

    def frame(self, obs: Mapping[str, Any]) -> Arrays:
        """A caller's frame as the policy reads it: each array (B, ...) of its type, B = 1 for a frame without a batch.

        Arrays that the policy does not read are passed over, so that a robot may show more than one policy needs.

        Raises:
            DataError: an array is missing, has another shape or type, or holds numbers that are not finite.
        """
        found = {name: self._array(obs, name, 0) for name in self._named(obs)}
        return self._alike({name: x if x.ndim > len(self.arrays[name].shape) else x[None] for name, x in found.items()})

    def history(self, obs: Mapping[str, Any]) -> Arrays:
        """The newest T frames in one go, each array (T, ...) or (B, T, ...), oldest first -> (B, T, ...).

        Raises:
            DataError: see ``frame``; or there is another number of frames than T.
        """
        found = {name: self._array(obs, name, self.n_obs) for name in self._named(obs)}
        depth = {name: len(self.arrays[name].shape) + 1 for name in found}
        return self._alike({name: x if x.ndim > depth[name] else x[None] for name, x in found.items()})

    def _named(self, obs: Mapping[str, Any]) -> tuple[str, ...]:
        if not isinstance(obs, Mapping):
            raise DataError(f"observation: {_kind(obs)}, expected arrays by name: {self._wanted()}")
        for name in self.arrays:
            if name not in obs:
                hint = did_you_mean(name, map(str, obs)) or f"it reads {self._wanted()}"
                raise DataError(f"observation: {name!r} is missing, which the policy reads", hint)
        return tuple(self.arrays)

    def _wanted(self) -> str:
        return ", ".join(f"{name} {array}" for name, array in self.arrays.items())

    def _array(self, obs: Mapping[str, Any], name: str, frames: int) -> NDArray[Any]:
        """The array ``name``, checked; its shape is that of one frame, after an axis of ``frames`` unless that is 0."""
        wanted = self.arrays[name]
        x = shown_array(obs, name)
        shape = (frames, *wanted.shape) if frames else wanted.shape
        if x.shape[-len(shape) :] != shape or x.ndim > len(shape) + 1 or 0 in x.shape:
            raise self._misshapen(obs, name, x.shape, shape)
        if wanted.dtype == "uint8":
            if x.dtype != np.uint8:
                raise DataError(f"observation: {name!r} is {x.dtype}, expected uint8", "colours from 0 to 255")
            return x
        if x.dtype.kind not in "iuf":
            raise DataError(f"observation: {name!r} is {x.dtype}, expected {wanted.dtype}")
        with np.errstate(over="ignore"):  # told below
            x = x.astype(wanted.dtype)
        if len(odd := np.argwhere(~np.isfinite(x))):
            first = f"{len(odd)} of {x.size}, the first is {x[tuple(odd[0])]} at {odd[0].tolist()}"
            raise DataError(
                f"observation: {name!r} holds numbers that are not finite: {first}",
                "look after the sensor",
            )
        return x

    def _misshapen(
        self, obs: Mapping[str, Any], name: str, found: tuple[int, ...], shape: tuple[int, ...]
    ) -> DataError:
        """What is said of an array of another shape than ``shape``, which is that of several frames or of one."""
        wanted = self.arrays[name].shape
        if len(wanted) == 3 and len(found) >= 3 and found[-1] == wanted[-1] and found[-3:-1] != wanted[:2]:
            of = [part for part in self.made_of.get(name, ()) if part in obs]
            cameras = f" ({', '.join(self.cameras)})" if name == "img" and self.cameras else ""
            told = ", ".join(map(repr, of)) or f"{name!r}{cameras}"
            (height, width), (high, wide) = found[-3:-1], wanted[:2]
            return DataError(
                f"observation: {told} shows {height} x {width} pixels, the policy's pictures have {high} x {wide}",
                "resize the picture as those of its data were; of data that were prepared with format.size omp does so",
            )
        hint = "show the newest frame alone: the policy keeps its own history (chunk.n_obs)"
        if len(wanted) == 2 and len(found) >= 2 and found[-1] == wanted[-1] and found[-2] != wanted[0]:
            hint = f"sample the cloud to {wanted[0]} points, as its data were"
        elif len(shape) > len(wanted):
            hint = "newest frame last"
        elif len(found) <= len(wanted):
            hint = f"show what the policy's data have as {name}"
        more = ", ".join(map(str, ("B", *shape)))
        return DataError(f"observation: {name!r} has shape {found}, expected {shape}, or ({more}) in a batch", hint)

    def _alike(self, arrays: Arrays) -> Arrays:
        sizes = {name: len(x) for name, x in arrays.items()}
        if len(set(sizes.values())) > 1:
            raise DataError(f"observation: the batch is {', '.join(f'{n} of {k}' for k, n in sizes.items())}")
        return arrays


def arrays_of(spec: Spec, keys: tuple[str, ...]) -> dict[str, Array]:
    """The arrays ``keys`` of one frame of a task.

    Raises:
        DataError: the spec does not say what shape one of them has.
    """
    known = {"state": Array((spec.state_dim,), "float32")}
    if spec.points is not None:
        known["point_cloud"] = Array((spec.points, 3), "float32")
    if spec.image is not None:
        known["img"] = Array(spec.image, "uint8")
    for key in keys:
        if key not in known:
            raise DataError(f"{spec.suite} {spec.task}: the policy reads {key!r}, of which the task gives no shape")
    return {key: known[key] for key in keys}


def as_read_by(suite: Mapping[str, Any] | None) -> tuple[AsRead, Mapping[str, tuple[str, ...]]]:
    """How what a robot shows becomes what a policy of such data reads, and ``Signature.made_of``.

    A policy of a simulator's data, and one of which nothing says whose, reads what it is shown.
    """
    if not _recorded(suite):
        return (lambda obs, reads: obs), {}
    found = SUITES.build(SUITES.parse(suite))
    return found.as_read, found.made_of()


def topics_by(suite: Mapping[str, Any] | None) -> RosTopics | None:
    """Where a robot on ROS says what a policy of such data reads; None where nothing says so."""
    return SUITES.build(SUITES.parse(suite)).topics() if _recorded(suite) else None


def _recorded(suite: Mapping[str, Any] | None) -> TypeGuard[Mapping[str, Any]]:
    """Whether a policy's data are such as no simulator shows."""
    return suite is not None and suite.get("name") in SUITES.names() and not SUITES.get(suite["name"]).simulated


def _kind(value: Any) -> str:
    return type(value).__name__
