"""From what a robot shows, by the names of the file that it was recorded in, to what a policy reads.

What ``omp prepare own`` did to the recording is kept with the data and with each policy that learned from them, so that
a control loop can show the arrays of its robot as they are: the parts of the state, one picture per camera, a cloud of
any size, or a depth picture.

Legend: T frames or a batch of them, if there is such an axis, N points, H, W height and width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omp_cli.core.base.config import Count, Settings
from omp_cli.core.base.errors import DataError
from omp_cli.core.data.readers.base import Recording
from omp_cli.core.data.readers.cameras import by_name
from omp_cli.core.data.readers.pictures import live_pictures
from omp_cli.core.data.readers.roles import DEPTH, POSE
from omp_cli.core.data.shown import shown_array
from omp_cli.core.data.topics import RosTopics
from omp_cli.core.suites.own.camera import CameraConfig, Crop
from omp_cli.core.suites.own.clouds import Making, cloud_of, making_of


class StatePart(Settings):
    """An array of a recording that is a part of the state."""

    name: str
    """Its name in the file."""
    width: Count
    """How many numbers it has in a frame."""


class RecordedCloud(Settings):
    """What the clouds of a recording were made of."""

    array: str
    """Name of the array in the file."""
    points: Count
    """N, points that were kept of each."""
    crop: Crop | None = None
    """Box that they lie in; None for all."""
    camera: CameraConfig | None = None
    """The camera, where the array has depth pictures; None for one of clouds."""
    pose: str | None = None
    """Name of the array with the poses of a camera that moves."""


class OwnSuiteConfig(Settings):
    """There is nothing to simulate; what is kept is how the recording was read."""

    name: Literal["own"] = "own"
    state: tuple[StatePart, ...] = ()
    """Arrays that make the state, one after the other; empty where the file has it in one."""
    cameras: tuple[str, ...] = ()
    """Cameras whose pictures lie one after the other in the channels of "img"."""
    size: Count | None = None
    """Pixels of a side that their pictures were resized to; None for none."""
    white: dict[str, Literal[1, 255]] = Field(default_factory=dict)
    """What white is in pictures of floating point numbers, by camera; cameras with other pictures are not named."""
    cloud: RecordedCloud | None = None
    """What clouds were made of; None where they are the file's own."""
    whole: dict[str, str] = Field(default_factory=dict)
    """Names of the file's arrays, by those above, where they are longer."""
    ros: RosTopics | None = None
    """Topics of a robot on ROS, of whose bags the data were made; None of others."""

    def made_of(self) -> dict[str, tuple[str, ...]]:
        """The names of what a policy's arrays can be made of, where these are others."""
        cloud = () if self.cloud is None else (self.cloud.array, *([self.cloud.pose] if self.cloud.pose else []))
        found = {"state": tuple(part.name for part in self.state), "img": self.cameras, "point_cloud": cloud}
        return {name: of for name, of in found.items() if of not in ((), (name,))}


def how_it_was_read(recording: Recording, crop: Crop | None, camera: CameraConfig, size: int | None) -> dict[str, Any]:
    """``OwnSuiteConfig`` of a recording that has its clouds, as plain data without what goes without saying.

    Args:
        recording: as its reader found it, with the clouds that were made.
        crop: by which they were cropped.
        camera: the camera of its depth pictures, if there are some.
        size: pixels of a side that its other pictures were resized to; None for none.
    """
    notes, spec, cloud = recording.notes, recording.spec, None
    depth, pose = notes.get("depth"), notes.get("pose")
    shown_as = _shown_as(recording)
    if spec.points is not None and spec.cloud_in_fps_order:
        cloud = RecordedCloud(
            array=shown_as((depth or notes.get("cloud") or ("point_cloud",))[0]),
            points=spec.points,
            crop=crop,
            camera=camera if depth else None,
            pose=shown_as(pose[0]) if pose else None,
        )
    state = tuple(StatePart(name=shown_as(name), width=width) for name, width in recording.parts)
    pictures = recording.cameras if spec.image is not None else ()
    keys = {shown_as(key): key for key in _arrays_of(recording)}
    keys |= dict(zip(pictures, notes.get("cameras") or (), strict=False))
    found = OwnSuiteConfig(
        state=state,
        cameras=pictures,
        size=size if pictures else None,
        white={camera: white for camera, white in zip(pictures, recording.whites, strict=False) if white is not None},
        cloud=cloud,
        whole={name: key for name, key in keys.items() if name != key},
        ros=recording.topics,
    )
    told = {"name": found.name, **found.model_dump(mode="json", exclude_defaults=True)}
    usual = {"state": ("state",), "cameras": ("img",)}
    named = {"state": tuple(part.name for part in state), "cameras": pictures}
    return {key: value for key, value in told.items() if key not in usual or named[key] != usual[key]}


def _shown_as(recording: Recording) -> Callable[[str], str]:
    """By which name a robot shows an array of the file: the last part of its path, where no other is called so.

    What is no path, as ``tf:left/base>left/tool``, stays whole.
    """
    arrays = _arrays_of(recording)
    shorten = {key: key if ":" in key else key.rpartition("/")[2] for key in arrays}
    names = {key: name for name, key in by_name(arrays, shorten.__getitem__).items()}
    return lambda key: key if names.get(key, key) in recording.cameras else names.get(key, key)


def _arrays_of(recording: Recording) -> list[str]:
    """The arrays of the file that make state and clouds."""
    notes = recording.notes
    arrays = [name for name, _ in recording.parts]
    return arrays + [name for role in ("cloud", "depth", "pose") for name in notes.get(role) or ()]


class Sensing:
    """Makes what a policy reads of a frame (...) or of several (T, ...).

    Args:
        config: how the recording was read.
    """

    def __init__(self, config: OwnSuiteConfig) -> None:
        self._config, self._made_of = config, config.made_of()
        self._making: Making | None = None
        if (cloud := config.cloud) is not None:
            self._making = making_of(cloud.points, cloud.crop, cloud.camera)

    def __call__(self, obs: Mapping[str, Any], reads: Collection[str]) -> Mapping[str, Any]:
        """The frame with the arrays that it does not have yet; what is there as a policy reads it stays as it is.

        Raises:
            DataError: some of the arrays that one is made of are there and others are not, or one cannot be made.
        """
        ways: dict[str, Callable[[Mapping[str, Any]], NDArray[Any]]]
        ways = {"state": self._state, "img": self._pictures, "point_cloud": self._cloud}
        whole = {name: obs[key] for name, key in self._config.whole.items() if key in obs}
        found = {**obs, **whole}
        for name in reads:
            if name in ways and self._wants(name, found, name in whole):
                found[name] = ways[name](found)
        return found

    def _wants(self, name: str, obs: Mapping[str, Any], raw: bool) -> bool:
        """Whether an array is to be made: it is not there, or what is called so is but a part of it.

        A cloud that was shown by its whole name is ``raw``, also if it has as many points as a finished one.
        """
        if name == "point_cloud" and self._making is not None and name in obs:
            return raw or _array(obs, name).shape[-2:] != (self._making.wanted, 3)
        parts = self._made_of.get(name, ())
        there = [part for part in parts if part in obs]
        if name in obs and not (len(parts) > 1 and len(there) == len(parts) and name in parts):
            return name == "img" and self._unlike_the_data(_array(obs, name))
        if parts and len(there) < len(parts):
            missing = next(part for part in parts if part not in obs)
            raise DataError(
                f"observation: {missing!r} is missing, which the policy reads",
                f"{name!r} is made of {', '.join(parts)}, or show it as the data set has it",
            )
        return bool(parts)

    def _unlike_the_data(self, img: NDArray[Any]) -> bool:
        """Whether pictures that are called as the data's are of another size, or of floating point numbers."""
        size = self._config.size
        of_floats = img.dtype.kind == "f" and self._white("img") is not None
        return of_floats or (size is not None and img.shape[-3:-1] != (size, size))

    def _white(self, camera: str) -> int | None:
        """What white is in a camera's pictures of floating point numbers; of "img" in those of all, if alike."""
        if camera in self._config.cameras or camera != "img":
            return self._config.white.get(camera)
        whites = {self._config.white.get(each) for each in self._config.cameras or ("img",)}
        return whites.pop() if len(whites) == 1 else None

    def _state(self, obs: Mapping[str, Any]) -> NDArray[Any]:
        """(..., S): the parts one after the other; one of a single number may lack its axis."""
        parts = [(part.name, part.width, _array(obs, part.name)) for part in self._config.state]
        axes = max(x.ndim if x.shape[-1:] == (width,) else x.ndim + 1 for _, width, x in parts)
        shown = []
        for name, width, x in parts:
            if width == 1 and x.ndim == axes - 1:
                x = x[..., None]
            if x.shape[-1:] != (width,):
                raise DataError(f"observation: {name!r} has shape {x.shape}, expected ({width},) or (T, {width})")
            shown.append(x)
        return _beside(shown, [name for name, _, _ in parts])

    def _pictures(self, obs: Mapping[str, Any]) -> NDArray[Any]:
        """(..., H, W, C): the cameras' pictures one after the other in the channels, of the size of the data."""
        cameras = self._config.cameras or ("img",)
        cameras = cameras if all(camera in obs for camera in cameras) else ("img",)
        shown = []
        for camera in cameras:
            x = _array(obs, camera)
            if x.ndim < 3:
                raise DataError(f"observation: {camera!r} has shape {x.shape}, expected a picture (H, W, 3)")
            whole, where = x.reshape(-1, *x.shape[-3:]), f"observation: {camera!r}"
            made = live_pictures(whole, where, self._config.size, self._white(camera))
            shown.append(made.reshape(*x.shape[:-3], *made.shape[1:]))
        return _beside(shown, cameras)

    def _cloud(self, obs: Mapping[str, Any]) -> NDArray[np.float32]:
        """(..., N, 3), as ``omp prepare own`` made it of a cloud (..., M, 3), or of a depth picture (..., H, W)."""
        cloud, making = self._config.cloud, self._making
        assert cloud is not None
        assert making is not None
        if making.camera is None or "point_cloud" in obs:
            making = replace(making, camera=None)
            shown = "point_cloud" if "point_cloud" in obs else cloud.array
            frame = {"point_cloud": _array(obs, shown)[..., :3].astype(np.float32)}
        else:
            shown, frame = cloud.array, self._depth(obs, cloud)
        sizes = [x.shape for x in frame.values()]
        if any(len(size) < 2 or 0 in size or size[:-2] != sizes[0][:-2] for size in sizes):
            raise DataError(f"observation: {shown!r} has shape {sizes[0]}", "expected a cloud (M, 3), or depth (H, W)")
        flat = {name: x.reshape(-1, *x.shape[-2:]) for name, x in frame.items()}
        try:
            made = [
                cloud_of(making, {name: x[t] for name, x in flat.items()}, f"observation: {shown!r}", Counter())
                for t in range(len(next(iter(flat.values()))))
            ]
        except DataError as error:
            hint = "look after the sensor: unit, frame and crop are those of the data that the policy learned from"
            raise DataError(error.message, hint) from None
        return np.stack(made).reshape(*sizes[0][:-2], making.wanted, 3)

    @staticmethod
    def _depth(obs: Mapping[str, Any], cloud: RecordedCloud) -> dict[str, NDArray[Any]]:
        """Depth (..., H, W), and the poses (..., 4, 4) of a camera that moves."""
        depth = _array(obs, cloud.array)
        depth = depth[..., 0] if depth.ndim > 2 and depth.shape[-1] == 1 else depth
        if cloud.pose is None:
            return {DEPTH: depth.astype(np.float32)}
        pose = _array(obs, cloud.pose).astype(np.float64)
        pose = pose.reshape(*pose.shape[:-1], 4, 4) if pose.shape[-1:] == (16,) else pose
        return {DEPTH: depth.astype(np.float32), POSE: pose}


def _array(obs: Mapping[str, Any], name: str) -> NDArray[Any]:
    x = shown_array(obs, name)
    if x.dtype.kind not in "iufb":
        raise DataError(f"observation: {name!r} is {x.dtype}, expected numbers")
    return x


def _beside(parts: Sequence[NDArray[Any]], names: Sequence[str]) -> NDArray[Any]:
    """Arrays that are alike but for their last axis, one after the other."""
    if len({x.shape[:-1] for x in parts}) > 1 or len({x.dtype for x in parts if x.ndim > 2}) > 1:
        shapes = ", ".join(f"{name!r} {x.shape} {x.dtype}" for name, x in zip(names, parts, strict=True))
        raise DataError(f"observation: these do not fit beside each other: {shapes}")
    return np.concatenate(parts, axis=-1)
