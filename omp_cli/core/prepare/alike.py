"""What several files have to have alike, to be one data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import DataError
from omp_cli.core.base.layers import flatten
from omp_cli.core.data.readers import Recording
from omp_cli.core.families import SUITES

SAYS = {
    "hz": "--hz 30",
    "points": "--points 512",
    "end_effector": "--set end_effector=0,1,2",
    **{f"{key}_names": f"--set '{key}_names=[\"NAME\", ...]'" for key in ("state", "action")},
    **{f"{key}_unit": f"--set {key}_unit=rad" for key in ("state", "action")},
    **{f"{key}_rotations": f"--set {key}_rotations=3:axis-angle" for key in ("state", "action")},
}
"""Settings that say something for all files, whatever each of them says, and how they are written on a line."""
LEAVES_OUT = {
    name: f"--set 'format.{setting}=[]'"
    for name, setting in {"point_cloud": "cloud", **{x: x for x in ("img", "reward", "success", "terminal")}}.items()
}
"""Settings that take no such array, as they are written on a line."""
_TAKEN = ("state", "action", "cameras", "cloud", "depth", "pose")
_SIMULATOR = ("env_name", "env_id", "env_kwargs", "repeat")
"""What the notes say of the arrays that were taken, and of the simulator in which episodes were recorded."""


def check_alike(first: tuple[Path, Recording], other: tuple[Path, Recording], config: Settings) -> None:
    """DataError that names the first thing that two files do not have alike, of what ``config`` leaves to them."""
    ours, theirs = _told(first[1], config), _told(other[1], config)
    for key in ours | theirs:
        wanted, found = ours.get(key, (None, "")), theirs.get(key, (None, ""))
        if wanted[0] != found[0]:
            what = f"{other[0]}: not as {first[0]}: {_difference(key, wanted[0], found[0])}"
            of_one = [name for name in LEAVES_OUT if (name in ours) != (name in theirs)]
            if key in of_one:
                raise DataError(what, f"leave it out of all files: {' '.join(LEAVES_OUT[name] for name in of_one)}")
            setting = wanted[1] or found[1]
            raise DataError(
                what,
                f"where both mean the same, say it for all files: {SAYS[setting]}"
                if setting
                else "files that are to be one data set have to be alike: leave one out, or write it as the others",
            )


def _difference(key: str, wanted: str | None, found: str | None) -> str:
    if found is None:
        return f"it has no {key}, that one has {wanted}"
    return f"its {key} is {found}, " + ("that one has none" if wanted is None else f"that one's is {wanted}")


def _told(recording: Recording, config: Settings) -> dict[str, tuple[str, str]]:
    """What a recording is made of, by what messages call it; with the setting that would say it for all files."""

    def open_(setting: str) -> bool:
        return not getattr(config, setting, None)

    def of_setting(setting: str) -> str:
        return setting if hasattr(config, setting) else ""

    told: dict[str, tuple[str, str]] = {}
    for name, array in recording.episodes[0].items():
        clouds = name == "point_cloud"
        shape = array.shape[1:] if not clouds or open_("points") else ("N", *array.shape[2:])
        told[name] = (f"{shape} {array.dtype}", of_setting("points") if clouds else "")
    if open_("hz") and recording.hz is not None:
        told["rate"] = (f"{recording.hz:g} Hz", of_setting("hz"))
    for name in _TAKEN:
        if (arrays := recording.notes.get(name)) is not None:
            told[f"source of {name}"] = (arrays if isinstance(arrays, str) else ", ".join(arrays), "")
    told["list of cameras"] = (", ".join(recording.cameras), "")
    for key in ("state", "action"):
        if open_(setting := f"{key}_names"):
            names = enumerate(recording.names.get(key, ()))
            told |= {f"name of {key}[{place}]": (name, of_setting(setting)) for place, name in names}
        if open_(setting := f"{key}_unit") and (unit := recording.units.get(key)):
            told[f"unit of {key}"] = (unit, of_setting(setting))
        said = getattr(config, setting := f"{key}_rotations", None)
        if said is None and (rotations := getattr(recording.spec, setting)):
            told[f"list of rotations of {key}"] = (", ".join(map(str, rotations)), of_setting(setting))
    place = None if recording.prepared is None else recording.prepared.end_effector
    if open_("end_effector") and place is not None and "point_cloud" in recording.episodes[0]:
        told["end-effector"] = (str(list(place)), of_setting("end_effector"))
    mine: set[str] = getattr(getattr(config, "camera", None), "model_fields_set", set())
    told |= {f"{key} of the camera": (str(value), "") for key, value in recording.camera.items() if key not in mine}
    return told | {key: (value, "") for key, value in _of_simulator(recording).items()}


def _of_simulator(recording: Recording) -> dict[str, str]:
    """What is said of the simulator, where its suite shows such episodes."""
    suite = recording.spec.suite
    if suite not in SUITES.names() or not SUITES.get(suite).simulated:
        return {}
    notes: Mapping[str, Any] = {key: recording.notes[key] for key in _SIMULATOR if key in recording.notes}
    states = () if recording.states is None else tuple(recording.states[0])
    kinds = {"simulator's states": ", ".join(states) or ("whole" if recording.simulator else "")}
    return {key: str(value) for key, value in (flatten(notes) | kinds).items() if value != ""}
