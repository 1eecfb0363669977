"""Which observations of a robomimic demonstration are pictures, told by their names.

robomimic's own files call them ``<camera>_image``, LIBERO's ``<camera>_rgb``; any other has to be named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from omp_cli.core.base.errors import did_you_mean
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.readers.cameras import by_name, chosen

if TYPE_CHECKING:
    import h5py

ENDINGS = ("_image", "_rgb")


def cameras_of(obs: h5py.Group, wanted: Sequence[str] | None, others: Sequence[str] = ()) -> dict[str, str]:
    """The observation keys of pictures, by the cameras' names.

    Args:
        obs: observations of a demonstration.
        wanted: names of cameras or observation keys ("images/top" for one in a group); None takes all keys with one of
            ``ENDINGS``.
        others: keys that are something else by the settings, such as depth, which None does not take.

    Raises:
        UsageError: there is no such observation, or one is named twice.
    """
    known = by_name([key for key in obs if key.endswith(ENDINGS)], lambda key: key.rpartition("_")[0])
    if wanted is None:
        return {name: key for name, key in known.items() if key not in others}

    def hint(asked: str) -> str:
        pictures = _pictures_in(obs)
        if not pictures:
            return "it has no pictures"
        return did_you_mean(asked, {*known, *pictures}) or f"it has: {listed(pictures)}"

    inside = (asked for asked in wanted if not asked.startswith("/") and asked in obs)  # "/" leads to another episode
    keys = (*obs, *inside)
    further = {key: key for key in keys if key not in known and key not in known.values()}
    return chosen({**known, **further}, wanted, obs.file.filename, hint)


def _pictures_in(obs: h5py.Group) -> list[str]:
    """The keys of what may be pictures, those inside of groups last."""
    found = [key for key in obs if _may_be_pictures(obs.get(key))]

    def note(key: str, member: object) -> None:
        if key not in found and _may_be_pictures(member):
            found.append(key)

    obs.visititems(note)
    return found


def _may_be_pictures(found: object) -> bool:
    """Whether a member of a group is an array of three (grey) or four dimensions, of uint8."""
    shape, dtype = (getattr(found, name, None) for name in ("shape", "dtype"))
    return shape is not None and len(shape) in (3, 4) and dtype == np.uint8
