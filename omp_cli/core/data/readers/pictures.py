"""Pictures as files have them, made into those of a data set: three channels a camera, of the size that is asked for.

Legend: T frames, H, W, C height, width and channels.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.data.foreign import short
from omp_cli.core.data.large import gathered
from omp_cli.core.data.readers.base import channels_last
from omp_cli.core.data.readers.stored import Stored
from omp_cli.core.data.readers.white import in_bytes, live_bytes

_GREY, _RGBA = 1, 4
_LARGE, _USUAL = 128, 96
"""Longer side above which the size of pictures is spoken of, and the size that is proposed; pixels."""


class PicturesConfig(Settings):
    """What every format with pictures lets a user choose of them."""

    takes: ClassVar[str] = "cameras"
    """The setting that names the pictures; where it is an empty list, none are taken."""
    size: int | None = Field(None, ge=1, le=4096)
    """Pictures are resized to (size, size) by area averaging, whatever their shape was; None keeps them."""

    def passed_over(self) -> dict[str, str]:
        """The size of pictures, where none are taken."""
        return {"size": "no camera is taken"} if getattr(self, self.takes) == () else {}

    def check_pictures(self, where: str, cameras: Collection[str]) -> None:
        """UsageError where pictures of a size are asked for and the file, ``where``, has none to take."""
        if self.size is not None and not cameras:
            raise UsageError(
                f"{where}: format.size is the size of pictures, and none are found",
                f"leave it out, or name the pictures with format.{self.takes}",
            )


def read_pictures(
    array: Stored,
    frames: int,
    where: str,
    name: str,
    size: int | None,
    said: list[str],
    channels: int | None = None,
    white: int | None = None,
) -> NDArray[np.uint8]:
    """Pictures (T, H, W, C) of an array whose layout its shape tells; resized part by part as they are read.

    Args:
        array: (T, H, W, C) or (T, C, H, W) of 3 channels a camera, of one (grey) or four (RGBA); or (T, H, W), grey;
            ``refuse_depth`` was there before.
        frames: T, how many to read from the start.
        where: the file and its array, for messages.
        name: what the user calls the array.
        size: resize to (size, size); None keeps the size.
        said: gets what the user has to know.
        channels: required number of channels of the result; None takes what is there.
        white: what white is in pictures of floating point numbers (``white_of``), which are rounded; None refuses
            such.

    Raises:
        DataError: the array has another shape or type.
    """
    told = len(said)

    def parts() -> Iterator[NDArray[np.uint8]]:
        for part in array.in_parts(frames):
            del said[told:]  # every part says the same
            whole = part if white is None else in_bytes(part, white)
            yield resized(_coloured(whole, where, name, said, channels), size, name, said)

    return gathered(parts(), frames, np.dtype(np.uint8))


def refuse_depth(array: Stored, where: str, name: str) -> None:
    """DataError for numbers that could be depth; arguments as of ``read_pictures``."""
    if _is_grey(array.shape) and array.dtype != np.uint8:
        raise DataError(
            f"{where} is {array.shape} {array.dtype}, expected pictures of uint8",
            f"if it is depth, say so: --set format.depth={short(name)}; grey pictures have to be written as uint8",
        )


def live_pictures(values: NDArray[Any], where: str, size: int | None, white: int | None) -> NDArray[np.uint8]:
    """Pictures (T, H, W, C) of uint8 that a camera shows, as ``read_pictures`` makes those of a recording.

    Args:
        values: as the camera shows them.
        where: what messages call them.
        size: as of ``read_pictures``.
        white: what white was in its recording, if that had pictures of floating point numbers; None if not.

    Raises:
        DataError: they are of another type or have channels of which none are made.
    """
    if values.dtype.kind == "f":
        values = live_bytes(values, where, white)
    return resized(_coloured(values, where, where, [], None), size, where, [])


def _is_grey(shape: Sequence[int]) -> bool:
    return len(shape) == 3 or _axis(shape, (_GREY,)) is not None


def _axis(shape: Sequence[int], channels: Sequence[int]) -> int | None:
    """Which axis of (T, ...) has one of these numbers of channels, and is shorter than height and width."""
    for axis, others in ((3, (1, 2)), (1, (2, 3))):
        if shape[axis] in channels and shape[axis] < min(shape[other] for other in others):
            return axis
    return None


def _coloured(values: NDArray[Any], where: str, name: str, said: list[str], channels: int | None) -> NDArray[np.uint8]:
    """(T, H, W, C) of 3 channels a camera: grey is repeated, alpha is cut, as ``said``."""
    shape = values.shape[1:]
    shown = values[..., None] if values.ndim == 3 else values
    if values.dtype == np.uint8 and (axis := _axis(shown.shape, (_GREY, _RGBA))) is not None:
        grey, shown = shown.shape[axis] == _GREY, np.moveaxis(shown, axis, 3)
        shown = np.repeat(shown, 3, axis=3) if grey else np.ascontiguousarray(shown[..., :3])
        done = "grey is repeated as red, green and blue" if grey else "the fourth channel, alpha, is cut"
        said.append(f"{short(name)}: pictures {shape}: {done}")
        return shown
    shown, layout = channels_last(values, where, channels)
    if layout == "channels first":
        said.append(f"{short(name)}: pictures {shape} are taken as channels first")
    return shown


def resized(pictures: NDArray[np.uint8], size: int | None, name: str, said: list[str]) -> NDArray[np.uint8]:
    """Pictures (T, H, W, C) as (T, size, size, C), each pixel the mean over the area that it covers; None keeps them.

    One picture after the other is resized, so that numbers of floating point are in memory of one alone.
    """
    frames, height, width, channels = pictures.shape
    if size is None or (height, width) == (size, size):
        return pictures
    rows, columns = _shares(height, size), _shares(width, size)
    found = np.empty((frames, size, size, channels), np.uint8)
    for picture, small in zip(pictures, found, strict=True):
        flat = rows @ picture.reshape(height, -1).astype(np.float32)
        np.rint(columns @ flat.reshape(size, width, channels), out=small, casting="unsafe")
    squeezed = "" if height == width else ", which changes their proportions"
    said.append(f"{short(name)}: pictures of {height}x{width} are resized to {size}x{size}{squeezed}")
    return found


@functools.lru_cache(8)  # a robot's cameras ask for the same ones in every frame
def _shares(pixels: int, size: int) -> NDArray[np.float32]:
    """Which share of each new pixel each of the old ones along a side covers, (size, pixels); rows add up to 1."""
    edges = np.arange(size + 1) * (pixels / size)
    old = np.arange(pixels)
    covered = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    return (np.clip(covered, 0, None) * (size / pixels)).astype(np.float32)


def kept_bytes(shape: Sequence[int], size: int | None) -> int:
    """Bytes that pictures of this shape (T, ...) take in a data set when they are resized to ``size``, or kept."""
    channels = min(shape[1], shape[3]) if len(shape) == 4 else _GREY
    pixels = int(np.prod(shape[1:], dtype=object)) // channels if size is None else size * size
    return shape[0] * pixels * max(channels, 3)


def remark_on_size(height: int, width: int, config: Settings) -> tuple[str, ...]:
    """The sentence on large pictures, for ``Recording.said``; none for small ones.

    Args:
        height: of the pictures, pixels.
        width: likewise.
        config: settings of the format, which is said to be able to resize them if it is.
    """
    if max(height, width) <= _LARGE:
        return ()
    cure = f"; --set format.size={_USUAL} makes {_USUAL}x{_USUAL} of them" if isinstance(config, PicturesConfig) else ""
    cure += ", which changes their proportions" if cure and height != width else ""
    return (
        f"pictures are {height}x{width}, and what the presets' vision transformer costs grows with the fourth power of "
        f"the side{cure}",
    )
