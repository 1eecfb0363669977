"""What robomimic's and robosuite's files say about the environment, in attributes that anyone could have written.

robomimic keeps one JSON object, ``env_args``, with ``env_name``, ``env_version`` and ``env_kwargs``. The raw files of
robosuite's ``collect_human_demonstrations`` have ``env`` (the name), ``env_info`` (a JSON object of arguments) and
``repository_version``; the model of each demonstration is XML in its attribute ``model_file``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.data.foreign import AGAIN, member, number, short
from omp_cli.core.data.readers.base import Subject, names_of_parts
from omp_cli.core.data.readers.hdf5 import (
    attribute,
    count_attribute,
    dataset,
    member_group,
    object_attribute,
    text_attribute,
)
from omp_cli.core.data.readers.one_more import HINT

if TYPE_CHECKING:
    import h5py


def environment(data: h5py.Group) -> dict[str, Any]:
    """``env_name`` and ``env_version`` (text or None) and ``env_kwargs`` (an object) of the group ``data``.

    DataError where an attribute is there and of another kind.
    """
    place, _ = attribute(data, "env_args")
    found = object_attribute(data, "env_args")
    if found is None:
        place, _ = attribute(data, "env_info")
        kwargs = object_attribute(data, "env_info") or {}
        name, version = (text_attribute(data, key) for key in ("env", "repository_version"))
    else:
        kwargs = member(found, "env_kwargs", dict, place) or {}
        name, version = (member(found, key, (str, type(None)), place) for key in ("env_name", "env_version"))
    if kwargs.get("control_freq") is not None:
        number(kwargs["control_freq"], f"{place}: control_freq", 1e-3)
    name = name or member(kwargs, "env_name", (str, type(None)), place)
    return {"env_name": name, "env_version": version, "env_kwargs": kwargs}


def check_task(path: Path, env: Mapping[str, Any], subject: Subject) -> None:
    """UsageError where a file says in one of two places that it holds another task; ``env`` as of ``environment``."""
    ours, again = subject.facts.env, env["env_kwargs"].get("env_name")
    for found, where in ((env["env_name"], ""), (again, " (env_name among the environment's arguments)")):
        if found and ours and found != ours:
            raise UsageError(f"{path}: holds {short(str(found))}{where}, task {subject.task} is {ours}", "check --task")


def said_of_guessed(env: Mapping[str, Any], subject: Subject) -> tuple[str, ...]:
    """What of robosuite's environment a file does not say, so that it is taken as robomimic's data sets have it."""
    kwargs = env["env_kwargs"]
    said = {"environment": env["env_name"], "robots": kwargs.get("robots")}
    said["controller"] = kwargs.get("controller_configs")
    unsaid = [part for part, value in said.items() if not value]
    if not unsaid or subject.facts.env is None:
        return ()
    return (f"the file does not say its {' and '.join(unsaid)}: taken to be as in robomimic's data sets",)


def scene(demo: h5py.Group) -> str:
    """The model of a raw demonstration, as XML; empty where the file has none.

    DataError where the attribute holds something else, such as the name of a file, as robosuite before 1.0 wrote it.
    """
    found = text_attribute(demo, "model_file")
    if found is None:
        return ""
    if not found.lstrip().startswith("<") or "<mujoco" not in found:
        place, _ = attribute(demo, "model_file")
        raise DataError(
            f"{place} is {short(found)!r}, expected the model's XML itself",
            "where it names a file, put that file's content in its place",
        )
    return found


def check_counts(data: h5py.Group, known: Sequence[str], expected: str, more: int = 0) -> None:
    """DataError unless each of the demonstrations ``known``, and all together, are as long as attributes say.

    Attributes may count the actions, or the observations, of which each demonstration has ``more``.
    """
    total = 0
    for name in known:
        demo = member_group(data, name, expected)
        shape = dataset(demo, "actions", expected).shape or (0,)
        declared = count_attribute(demo, "num_samples")
        if declared not in (None, shape[0], shape[0] + more):
            where = f"{data.file.filename}: {demo.name}"
            raise DataError(f"{where} has {shape[0]} actions, num_samples says {declared}", HINT)
        total += shape[0]
    declared = count_attribute(data, "total")
    if declared not in (None, total, total + more * len(known)):
        raise DataError(
            f"{data.file.filename}: its {len(known)} demonstrations have {total} actions, total says {declared}", AGAIN
        )


def names_of_state(keys: Sequence[str], widths: Sequence[int], env: str | None) -> tuple[str, ...]:
    """Names of the numbers of a state; those of "object" by what robosuite's environment ``env`` puts into it."""
    parts: list[tuple[str, int]] = []
    for key, width in zip(keys, widths, strict=True):
        inner = OBJECT_PARTS.get(env or "", ()) if key == "object" else ()
        parts += inner if sum(size for _, size in inner) == width else ((key, width),)
    return names_of_parts(*zip(*parts, strict=True))


_IN_ITS_HAND = (("pos", 3), ("quat", 4), ("to_robot0_eef_pos", 3), ("to_robot0_eef_quat", 4))
OBJECT_PARTS: Mapping[str, tuple[tuple[str, int], ...]] = {
    "Lift": (("cube_pos", 3), ("cube_quat", 4), ("gripper_to_cube_pos", 3)),
    "PickPlaceCan": tuple((f"Can_{name}", size) for name, size in _IN_ITS_HAND),
    "NutAssemblySquare": tuple((f"SquareNut_{name}", size) for name, size in _IN_ITS_HAND),
    "TwoArmTransport": (
        *(("payload_pos", 3), ("payload_quat", 4), ("trash_pos", 3), ("trash_quat", 4)),
        *(("lid_handle_pos", 3), ("lid_handle_quat", 4), ("target_bin_pos", 3), ("trash_bin_pos", 3)),
        *(("gripper0_to_payload", 3), ("gripper0_to_lid_handle", 3), ("gripper1_to_payload", 3)),
        *(("gripper1_to_trash", 3), ("payload_in_target_bin", 1), ("trash_in_trash_bin", 1)),
    ),
}
"""What robosuite puts into "object", one after the other."""
