"""Clouds, depth pictures and poses of their camera among the observations of a robomimic demonstration.

Which observations they are has to be said: robomimic's own files name depth ``<camera>_depth`` (T, H, W, 1) in metres,
and have no fixed name for clouds and poses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.readers.frames import Frames
from omp_cli.core.data.readers.hdf5 import dataset
from omp_cli.core.data.readers.roles import DEPTH, POSE, check_cloud_roles
from omp_cli.core.data.readers.stored import Stored
from omp_cli.core.data.store import Arrays

if TYPE_CHECKING:
    import h5py

CLOUD_ROLES = ("cloud", "depth", "pose")


def clouds_of(
    obs: h5py.Group,
    asked: Mapping[str, Sequence[str]],
    expected: str,
    frames: int,
    more: Collection[str],
    said: list[str],
) -> Arrays:
    """What is asked for, by the names of episodes: "point_cloud" (T, N, 3), "depth" (T, H, W), "camera_pose" (T, 4, 4).

    Args:
        obs: observations of a demonstration.
        asked: keys of observations by role (``CLOUD_ROLES``); roles that are left out have none.
        expected: what such a file holds, for messages.
        frames: T.
        more: names of the observations that have one more.
        said: gets what the user has to know.

    Raises:
        UsageError: there is no such observation, or the roles do not go together.
        DataError: an observation has another shape than its role asks for.
    """
    roles = {role: asked.get(role, ()) for role in CLOUD_ROLES}
    check_cloud_roles(obs.file.filename, **roles)
    names = [name for of_role in roles.values() for name in of_role]
    check_observations(obs, names)
    whole = frames_of(obs, names, expected, frames, more)
    read: dict[str, tuple[str, Callable[[str], NDArray[Any]]]] = {
        "cloud": ("point_cloud", lambda name: whole.clouds(name, said)),
        "depth": (DEPTH, whole.depth),
        "pose": (POSE, whole.poses),
    }
    return {ours: of(roles[role][0]) for role, (ours, of) in read.items() if roles[role]}


def check_observations(obs: h5py.Group, names: Sequence[str]) -> None:
    """UsageError for a name of no observation."""
    if unknown := [name for name in names if name not in obs]:
        raise UsageError(
            f"{obs.file.filename}: no observation {unknown[0]!r}",
            did_you_mean(unknown[0], obs) or f"it has: {listed(obs)}",
        )


def frames_of(obs: h5py.Group, names: Sequence[str], expected: str, frames: int, more: Collection[str] = ()) -> Frames:
    """The observations of these names, of so many frames, which are read later; DataError where one is not there.

    Those in ``more`` have one frame more, which is never read.
    """
    stored = {name: _stored(dataset(obs, name, expected), int(name in more)) for name in names}
    return Frames(f"{obs.file.filename}: {obs.name}", stored, frames, frames)


def _stored(found: h5py.Dataset, more: int) -> Stored:
    frames, *inner = found.shape or (0,)
    return Stored.sliced(
        (frames - more, *inner) if found.shape else (),
        found.dtype,
        found.id.get_storage_size(),
        lambda start, stop: np.asarray(found[start:stop]),
    )
