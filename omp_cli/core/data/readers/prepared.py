"""Data sets that omp itself has prepared, read as the zarr stores that they are: what their attributes say besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from omp_cli.core.base.config import checked
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.readers.recording import PreparedData, Recording
from omp_cli.core.data.store import STORE_SCHEMA, checked_held_out
from omp_cli.core.spec import Spec


def as_prepared(where: str, attributes: Mapping[str, Any], found: Recording, episodes: int) -> Recording:
    """The recording, of a data set of omp's with its rate, names, units, cameras and held-out episodes.

    Args:
        where: the store, for messages.
        attributes: of its root.
        found: what was read of its arrays.
        episodes: how many there are in the store, of which ``found`` has the first.

    Raises:
        DataError: the attributes are damaged.
    """
    if attributes.get("schema_version") != STORE_SCHEMA or "spec" not in attributes:
        return found
    spec = checked(Spec, attributes["spec"], f"{where}: spec")
    held_out = checked_held_out(where, attributes, episodes)
    channels = {"state": spec.state_channels, "action": spec.action_channels}
    known = {key: told for key, told in channels.items() if told is not None and found.notes[key] == [key]}
    names = {key: told.names for key, told in known.items() if len(told.names) == found.episodes[0][key].shape[1]}
    cameras = spec.cameras if found.notes["cameras"] == ["img"] else ()
    turned = {
        f"{key}_rotations": getattr(spec, f"{key}_rotations")
        for key, width in (("state", spec.state_dim), ("action", spec.action_dim))
        if found.notes[key] == [key] and found.episodes[0][key].shape[1] == width
    }
    suite = attributes.get("rollout_suite")
    made = suite if isinstance(suite, Mapping) and suite.get("name") == "own" else None
    end_effector = spec.end_effector if spec.cloud_in_world and found.notes["state"] == ["state"] else None
    whole = replace(
        found,
        spec=found.spec.model_copy(update=turned),
        prepared=PreparedData(made, end_effector, spec.cloud_in_fps_order),
        hz=found.hz or spec.control_hz,
        names={**found.names, **names},
        units={key: told.unit for key, told in known.items() if told.unit},
        cameras=cameras or found.cameras,
        held_out=tuple(index for index in held_out if index < len(found.episodes)),
    )
    return whole if _as_it_is(whole, spec) else otherwise(whole)


def otherwise(recording: Recording) -> Recording:
    """A recording whose arrays are not those of a data set of omp's any more: how that was made does not hold of it."""
    if (prepared := recording.prepared) is None or prepared.suite is None:
        return recording
    made = sorted(prepared.suite.keys() - {"name", "cameras"})
    said = (
        f"how the data set was made of a robot's arrays ({listed(made)}) is not taken over: a policy of this one reads "
        "arrays as they are in it"
    )
    return replace(recording, prepared=replace(prepared, suite=None), said=(*recording.said, *([said] if made else [])))


def _as_it_is(found: Recording, spec: Spec) -> bool:
    """Whether every array of a data set that is taken has its own role, and is as it was."""
    own = {"state": ("state",), "action": ("action",), "cameras": ("img",), "cloud": ("point_cloud",), "depth": ()}
    same = all(tuple(found.notes[role]) in (names, ()) for role, names in own.items())
    return same and ("img" not in found.episodes[0] or found.episodes[0]["img"].shape[1:] == spec.image)
