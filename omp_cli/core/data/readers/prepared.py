"""Data sets that omp itself has prepared, read as the zarr stores that they are: what their attributes say besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from omp_cli.core.base.config import checked
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.readers.recording import Recording
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
    return replace(
        found,
        spec=found.spec.model_copy(update=turned),
        hz=found.hz or spec.control_hz,
        names={**found.names, **names},
        units={key: told.unit for key, told in known.items() if told.unit},
        cameras=cameras or found.cameras,
        held_out=tuple(index for index in held_out if index < len(found.episodes)),
        said=(*found.said, *_not_taken(attributes.get("rollout_suite"))),
    )


def _not_taken(suite: Any) -> list[str]:
    """What to say of how the arrays of a robot became those of the data set."""
    made = sorted(set(suite) - {"name", "cameras"}) if isinstance(suite, Mapping) and suite.get("name") == "own" else []
    if not made:
        return []
    return [
        f"how the data set was made of a robot's arrays ({listed(made)}) is not taken over: a policy of this one reads "
        "arrays as they are in it"
    ]
