"""The cameras of a recording: which of its pictures are whose, and the pictures of all of them in one array.

Legend: T frames, H, W, C height, width and channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import UsageError
from omp_cli.core.data.large import held, room


def by_name(keys: Sequence[str], shorten: Callable[[str], str]) -> dict[str, str]:
    """Keys of pictures by the names of their cameras: the shortened key, or all of it where two would be the same."""
    names = [shorten(key) for key in keys]
    return {name if names.count(name) == 1 else key: key for name, key in zip(names, keys, strict=True)}


def chosen(known: Mapping[str, str], wanted: Sequence[str], where: str, hint: Callable[[str], str]) -> dict[str, str]:
    """The keys of the wanted cameras by the cameras' names, in the order in which they are wanted.

    Args:
        known: keys by name.
        wanted: names or keys.
        where: the file, for messages.
        hint: says what to do about a camera that is not known.

    Raises:
        UsageError: a camera is not known, or is named twice.
    """
    found: dict[str, str] = {}
    for asked in wanted:
        name = next((name for name, key in known.items() if asked in (name, key)), None)
        if name is None:
            raise UsageError(f"{where}: no pictures of camera {asked!r}", hint(asked))
        if name in found:
            raise UsageError(f"{where}: camera {name!r} is named twice", "name it once in format.cameras")
        found[name] = known[name]
    return found


def side_by_side(
    pictures: Sequence[NDArray[np.uint8]], cameras: Sequence[str], where: str, setting: str
) -> NDArray[np.uint8]:
    """Pictures of several cameras, (T, H, W, C) each, one after the other in the channels, (T, H, W, sum of C).

    Args:
        pictures: those of each camera, of the same T.
        cameras: their names.
        where: the file or episode, for the message.
        setting: the one that chooses cameras, for the hint.

    Raises:
        UsageError: the cameras differ in height or width.
    """
    sizes = [f"{height}x{width}" for _, height, width, _ in (shown.shape for shown in pictures)]
    for camera, size in zip(cameras, sizes, strict=True):
        if size != sizes[0]:
            raise UsageError(
                f"{where}, camera {camera}: pictures are {size}, those of {cameras[0]} {sizes[0]}",
                f"set format.size, for instance to 96, or take one alone: --set {setting}={cameras[0]}",
            )
    if len(pictures) == 1:
        return held(pictures[0])
    shape = (*pictures[0].shape[:3], sum(shown.shape[3] for shown in pictures))
    return np.concatenate(pictures, axis=3, out=room(shape, np.uint8))
