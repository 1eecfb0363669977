"""robomimic HDF5 (v1.4.1, v1.5 and what robomimic's own tools write), and robosuite's raw recordings.

``data/demo_<i>/{actions, rewards, dones, states, obs/<key>}``, ``mask/<filter>`` lists of demos, and the environment's
metadata in attributes (robomimic documentation, "Dataset structure"). Raw recordings have states and actions alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from omp_cli.core.base.config import Keys, Names
from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.foreign import listed, short
from omp_cli.core.data.readers.base import (
    FORMATS,
    Contents,
    Reader,
    Recording,
    Subject,
    left_out,
    some_lack,
    spec_of,
)
from omp_cli.core.data.readers.hdf5 import (
    contents_of,
    lengths,
    member_group,
    numbered,
    object_attribute,
    opened,
    unread,
)
from omp_cli.core.data.readers.one_more import one_more, said_of
from omp_cli.core.data.readers.pictures import PicturesConfig
from omp_cli.core.data.readers.robomimic_actions import (
    DISPLACEMENTS,
    POSES,
    STORED,
    actions_of,
    names_of_poses,
    rotations_of_poses,
)
from omp_cli.core.data.readers.robomimic_cameras import cameras_of
from omp_cli.core.data.readers.robomimic_clouds import CLOUD_ROLES, check_observations
from omp_cli.core.data.readers.robomimic_demonstrations import (
    OPTIONAL,
    ReadDemonstrations,
    Taken,
    observed_demonstrations,
    raw_demonstrations,
)
from omp_cli.core.data.readers.robomimic_masks import chosen, held_out_by_masks, masks_of
from omp_cli.core.data.readers.robomimic_metadata import (
    check_counts,
    check_task,
    environment,
    names_of_state,
    said_of_guessed,
)
from omp_cli.core.data.store import Arrays
from omp_cli.core.spec import Spec

if TYPE_CHECKING:
    import h5py

PROPRIOCEPTION = ("eef_pos", "eef_quat", "gripper_qpos")
OBS = "obs/"
NEXT = "next_obs"
"""Observations after each action, which say nothing that those before the next one do not."""
NOTES = "omp"
"""Attribute of ``data`` in which omp's own files say how they were recorded."""


class RobomimicConfig(PicturesConfig):
    """What is taken from a robomimic file."""

    name: Literal["robomimic"] = "robomimic"
    filter: str | None = None
    """A filter key of the file ("train", "20_percent", "better" ...); None takes all demonstrations."""
    state: Keys = ()
    """Observation keys that make the state, in order; empty takes position (3), quaternion (4) and gripper (2) of each
    arm, as DPPO and DMPO do.
    """
    object_state: bool = False
    """Append the key "object", as their state-only policies see it."""
    cameras: Names | None = None
    """Cameras ("agentview" of "agentview_image" or "agentview_rgb") or observation keys, whose pictures lie one after
    the other in the channels; None takes all keys with one of these endings, an empty list none. Grey pictures and
    RGBA are made RGB.
    """
    cloud: Names = ()
    """The observation key of point clouds (T, N, 3), or (T, N, k) of which what follows x, y, z is cut."""
    depth: Names = ()
    """The observation key of depth pictures (T, H, W) or (T, H, W, 1) of which clouds are to be made
    ("agentview_depth").
    """
    pose: Names = ()
    """The observation key of poses (T, 4, 4) or (T, 16) of the depth camera, camera to world, where it moves; with
    ``camera.pose`` beside it, of what that is the camera's pose in (a hand).
    """
    replay: bool = False
    """Show the recorded states in the simulator anew, for observations and pictures that the file lacks; raw files,
    which have states alone, are always replayed. None of cameras then means the paper's.
    """
    image_size: int = Field(96, ge=8, le=4096)
    """Width and height of the pictures that a replay renders, pixels."""
    absolute: bool | None = None
    """Whether actions are poses that the end-effectors are to take, and not displacements. None takes ``actions`` as
    they are. true takes ``actions_abs`` where the file has them, and where a file of displacements is replayed it makes
    poses of them; false takes numbers beyond [-1, 1] for displacements.
    """


@FORMATS.register("robomimic")
class RobomimicReader(Reader):
    """One episode per demonstration, in the order of their numbers."""

    Config = RobomimicConfig
    config: RobomimicConfig
    expected = "data/demo_<i>/{actions, obs/robot0_eef_pos, ...} as robomimic's low_dim and image files have it"

    @classmethod
    def contents(cls, path: Path) -> Contents | None:
        """See the base class."""
        return contents_of(path, lambda file: [] if numbered(file.get("data"), "demo_") else ["data/demo_<number>"])

    @classmethod
    def env_name(cls, path: Path) -> str | None:
        """See the base class."""
        with opened(path) as file:
            return environment(file["data"])["env_name"] if numbered(file.get("data"), "demo_") else None

    def read(self, path: Path, subject: Subject, limit: int | None, progress: Progress) -> Recording:
        """See the base class."""
        self.refuse_incomplete(path)
        with opened(path) as file:
            data, known = file["data"], numbered(file["data"], "demo_")
            names = chosen(file, known, self.config.filter)[:limit]
            env = environment(data)
            check_task(path, env, subject)
            progress.start(f"{subject.task}: reading demonstrations", len(names))
            demos = [member_group(data, name, self.expected) for name in names]
            raw = self._are_raw(path, demos)
            taken = Taken((), {}, {}) if raw else self._taken(demos[0])
            here = subject.facts.env is not None  # a task of the simulator, and not data of one's own
            configs = env["env_kwargs"].get("controller_configs")
            actions = actions_of(str(path), demos, configs, self.config.absolute, here, raw, self.expected)
            self.config.check_pictures(str(path), taken.cameras)
            of_each = [(f"{path}: {demo.name}/", lengths(demo)) for demo in demos]
            longer = one_more(of_each, [OBS + key for key in taken.keys], ("actions",))
            taken = replace(taken, more=[name.removeprefix(OBS) for name in longer], actions=actions)
            check_counts(data, known, self.expected, len(longer) > 0)
            if raw:
                found = raw_demonstrations(demos, actions, self.expected, progress)
            else:
                found = observed_demonstrations(demos, taken, self.expected, progress)
            own = object_attribute(data, NOTES)
            notes: dict[str, Any] = {"recorded": own} if own else {}
            masks = masks_of(file)
            held_out = () if self.config.filter is not None else held_out_by_masks(file, names)
            widths = [math.prod(demos[0]["obs"][key].shape[1:]) for key in taken.state]
            said = (*([said_of(taken.more)] if longer else []), *_said(data, known, demos, found, own or {}))
            said += actions.said
            said += said_of_guessed(env, subject) if raw else ()
            said += left_out(_unread(demos[0], raw, taken.keys))
            has_states = "states" in demos[0]
        _add_success(found.episodes)
        notes |= {"demonstrations": names, "state": list(taken.state), "filter_keys": masks, **env, **actions.notes}
        notes |= {"cameras": list(taken.cameras)} | {role: list(keys) for role, keys in taken.clouds.items()}
        named = {} if raw else {"state": names_of_state(taken.state, widths, env["env_name"])}
        rate = env["env_kwargs"].get("control_freq")
        hz = None if rate is None else float(rate)
        spec = _spec(subject, found.episodes, taken.state, hz)
        if actions.poses == STORED:
            named |= {"action": names_of_poses(spec.action_dim)}
            spec = spec.model_copy(update={"action_rotations": rotations_of_poses(spec.action_dim)})
        return Recording(
            found.episodes,
            spec,
            notes,
            found.starts,
            simulator=has_states,
            scenes=found.scenes,
            said=(*dict.fromkeys(found.shown), *said),
            held_out=held_out,
            names=named,
            parts=tuple(zip(taken.state, widths, strict=True)),
            cameras=tuple(taken.cameras),
            hz=hz,
        )

    def _are_raw(self, path: Path, demos: Sequence[h5py.Group]) -> bool:
        """Whether the demonstrations are taken as states alone, to be replayed.

        Raises:
            UsageError: they are to be replayed and have no states, or clouds are named that states do not hold; or a
                setting of the replay is given where there is none.
        """
        has_states = "states" in demos[0]
        raw = self.config.replay or (has_states and not any("obs" in demo for demo in demos))
        if raw and not has_states:
            raise UsageError(f"{path}: {demos[0].name}/states is missing, so nothing can be replayed")
        if raw and (clouds := self._clouds()):
            raise UsageError(f"{path}: format.{next(iter(clouds))}: raw recordings have no such array")
        if raw and self.config.size is not None:
            raise UsageError(
                f"{path}: format.size is that of the file's own pictures, and a replay renders others",
                f"say how large: --set format.image_size={self.config.size}",
            )
        if not raw and self.config.image_size != type(self.config).model_fields["image_size"].default:
            raise UsageError(
                f"{path}: format.image_size is that of a replay, and the file's own observations are taken",
                "leave it out, or add --set format.replay=true",
            )
        return raw

    def _taken(self, demo: h5py.Group) -> Taken:
        """The observations that the settings and the first demonstration's names mean."""
        obs = member_group(demo, "obs", self.expected)
        arms = [f"robot{i}" for i in range(2) if f"robot{i}_eef_pos" in obs]
        keys = list(self.config.state) or [f"{arm}_{part}" for arm in arms for part in PROPRIOCEPTION]
        keys += ["object"] if self.config.object_state else []
        if not keys:
            raise DataError(
                f"{demo.file.filename}: {demo.name}/obs has no robot0_eef_pos",
                f"say what the state is: --set 'format.state=[\"NAME\", ...]'; it has: {listed(obs)}",
            )
        check_observations(obs, keys)
        cameras = cameras_of(obs, self.config.cameras, self.config.depth)
        return Taken(keys, cameras, self._clouds(), self.config.size)

    def _clouds(self) -> dict[str, Names]:
        """The observation keys of clouds, depth pictures and poses, by role, as far as the settings name them."""
        return {role: names for role in CLOUD_ROLES if (names := getattr(self.config, role))}


def _unread(demo: h5py.Group, raw: bool, taken: Sequence[str]) -> dict[str, Any]:
    """Shapes of what a demonstration holds beside the observations ``taken``, by name, observations first.

    States, rewards and ends count as read; so do the observations where the simulator shows all of them anew.
    """
    passed = {DISPLACEMENTS, POSES, "states", NEXT, *(row[0] for row in OPTIONAL), *(["obs"] if raw else [])}
    found = unread(demo, [OBS + key for key in taken]).items()
    kept = [(name, shape) for name, shape in found if name.split("/")[0] not in passed]
    return dict(sorted(kept, key=lambda row: not row[0].startswith(OBS)))


def _spec(subject: Subject, episodes: Sequence[Arrays], keys: Sequence[str], hz: float | None) -> Spec:
    """The spec of what was read; ``keys`` are the observations that the state is made of."""
    known: dict[str, Any] = {}
    if "point_cloud" in episodes[0]:
        known |= {"points": episodes[0]["point_cloud"].shape[1], "cloud_in_world": False, "cloud_in_fps_order": False}
    if list(keys[:1]) != ["robot0_eef_pos"]:
        known["end_effector"] = None
    if hz is not None:
        known["control_hz"] = hz
    return spec_of(subject, episodes, **known)


def _said(
    data: h5py.Group, known: list[str], demos: list[h5py.Group], found: ReadDemonstrations, own: dict[str, Any]
) -> tuple[str, ...]:
    """What the user has to know of how the file was understood."""
    said, scenes = [], found.scenes or []
    others = sorted(set(data) - set(known))
    if others:
        said.append(
            f"{len(others)} members of data that are not called demo_<number> are left out: {short(others[0])} ..."
        )
    for name, *_ in OPTIONAL:
        said += some_lack(name, sum(name not in demo for demo in demos), len(demos), "demonstrations")
    if "" in scenes:
        said.append(f"{scenes.count('')} demonstrations have no model_file and are shown in robosuite's own scene")
    if isinstance(failed := own.get("failed"), int) and failed > 0:
        said.append(f"{failed} of the operator's episodes were left out when they were recorded: they failed")
    return tuple(said)


def _add_success(episodes: list[Arrays]) -> None:
    """Rewards that are only ever 0 and 1 are robosuite's success flag."""
    if all("reward" in e and np.isin(e["reward"], (0, 1)).all() for e in episodes):
        for episode in episodes:
            episode["success"] = episode["reward"] == 1
