"""robomimic HDF5 (v1.4.1, v1.5 and what robomimic's own tools write).

``data/demo_<i>/{actions, rewards, dones, states, obs/<key>}``, ``mask/<filter>`` lists of demos, and the environment's
metadata as JSON in ``data``'s attribute ``env_args`` (robomimic documentation, "Dataset structure").
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omp_cli.core.config import Settings
from omp_cli.core.data.readers.base import FORMATS, Reader, Recording, Subject, spec_of
from omp_cli.core.data.readers.hdf5 import array, is_hdf5, numbered, opened
from omp_cli.core.data.store import Arrays
from omp_cli.core.errors import DataError, UsageError, did_you_mean
from omp_cli.core.progress import Progress

if TYPE_CHECKING:
    import h5py

PROPRIOCEPTION = ("eef_pos", "eef_quat", "gripper_qpos")
SUFFIX = "_image"
NOTES = "omp"
"""Attribute of ``data`` in which omp's own files say how they were recorded."""


class RobomimicConfig(Settings):
    """What is taken from a robomimic file."""

    name: Literal["robomimic"] = "robomimic"
    filter: str | None = None
    """A filter key of the file ("train", "20_percent", "better" ...); None takes all demonstrations."""
    state: tuple[str, ...] = ()
    """Observation keys that make the state, in order; empty takes position (3), quaternion (4) and gripper (2) of each
    arm, as DPPO and DMPO do.
    """
    object_state: bool = False
    """Append the key "object", as their state-only policies see it."""
    cameras: tuple[str, ...] | None = None
    """Cameras ("agentview" ...) whose pictures lie one after the other in the channels; None takes all that the file
    has, an empty list none.
    """
    replay: bool = False
    """Show the recorded states in the simulator anew, for observations and pictures that the file lacks; raw files,
    which have states alone, are always replayed. None of cameras then means the paper's.
    """
    image_size: int = Field(96, ge=8, le=4096)
    """Of pictures rendered in a replay, pixels."""


@FORMATS.register("robomimic")
class RobomimicReader(Reader):
    """One episode per demonstration, in the order of their numbers."""

    Config = RobomimicConfig
    config: RobomimicConfig
    expected = "data/demo_<i>/{actions, obs/robot0_eef_pos, ...} as robomimic's low_dim and image files have it"

    @classmethod
    def accepts(cls, path: Path) -> bool:
        if not is_hdf5(path):
            return False
        with opened(path) as file:
            return "data" in file and bool(numbered(file["data"], "demo_"))

    @classmethod
    def env_name(cls, path: Path) -> str | None:
        with opened(path) as file:
            return _env_args(file).get("env_name") if "data" in file else None

    def read(self, path: Path, subject: Subject, limit: int | None, progress: Progress) -> Recording:
        with opened(path) as file:
            names = self._names(file)[:limit]
            env, masks = _env_args(file), sorted(file["mask"]) if "mask" in file else []
            self._check_task(path, env, subject)
            progress.start(f"{subject.task}: reading demonstrations", len(names))
            episodes, starts = [], []
            first = file[f"data/{names[0]}"]
            has_states = "states" in first
            raw = self.config.replay or (has_states and not any("obs" in file[f"data/{name}"] for name in names))
            if raw and not has_states:
                raise UsageError(f"{path}: {first.name}/states is missing, so nothing can be replayed")
            keys, cameras = ([], []) if raw else (self._state_keys(first), self._cameras(first))
            scenes: list[str] | None = [] if raw else None
            optional = [name for name in ("rewards", "dones") if name in first]
            for name in names:
                demo = file[f"data/{name}"]
                simulator = array(demo, "states", self.expected, 2) if has_states else None
                if scenes is None:
                    episodes.append(self._episode(demo, keys, cameras, optional))
                else:
                    actions = array(demo, "actions", self.expected, 2, len(simulator))
                    episodes.append({"state": simulator, "action": actions.astype(np.float32)})
                    scenes.append(str(demo.attrs.get("model_file", "")))
                starts.append(episodes[-1]["state"][0] if simulator is None else simulator[0])
                progress.advance()
            notes = _notes(file)
        _add_success(episodes)
        env_kwargs = env.get("env_kwargs", {})
        notes |= {
            "demonstrations": names,
            "state": keys,
            "cameras": cameras,
            "filter_keys": masks,
            "env_name": env.get("env_name"),
            "env_version": env.get("env_version"),
            "env_kwargs": env_kwargs,
        }
        more: dict[str, Any] = {}
        if keys[:1] != ["robot0_eef_pos"]:
            more["end_effector"] = None
        if env_kwargs.get("control_freq"):
            more["control_hz"] = float(env_kwargs["control_freq"])
        return Recording(episodes, spec_of(subject, episodes, **more), notes, starts, has_states, scenes)

    def _names(self, file: h5py.File) -> list[str]:
        """Demonstrations to read, by number."""
        where = file.filename
        names = numbered(file["data"], "demo_") if "data" in file else []
        if not names:
            raise DataError(f"{where}: no demonstrations in it", f"expected: {self.expected}")
        if self.config.filter is None:
            return names
        masks = list(file["mask"]) if "mask" in file else []
        if self.config.filter not in masks:
            raise UsageError(f"{where}: no filter key {self.config.filter!r}", did_you_mean(self.config.filter, masks))
        chosen = {n.decode() if isinstance(n, bytes) else str(n) for n in file[f"mask/{self.config.filter}"][()]}
        if not chosen or not chosen <= set(names):
            raise DataError(f"{where}: mask/{self.config.filter} names no demonstrations, or some that are not there")
        return [name for name in names if name in chosen]

    @staticmethod
    def _check_task(path: Path, env: dict[str, Any], subject: Subject) -> None:
        found = env.get("env_name")
        if found and subject.facts.env and found != subject.facts.env:
            raise UsageError(f"{path}: holds {found}, task {subject.task} is {subject.facts.env}", "check --task")

    def _state_keys(self, demo: h5py.Group) -> list[str]:
        if "obs" not in demo:
            raise DataError(f"{demo.file.filename}: {demo.name}/obs is missing", f"expected: {self.expected}")
        arms = [f"robot{i}" for i in range(2) if f"robot{i}_eef_pos" in demo["obs"]]
        keys = list(self.config.state) or [f"{arm}_{part}" for arm in arms for part in PROPRIOCEPTION]
        keys += ["object"] if self.config.object_state else []
        if not keys:
            raise DataError(
                f"{demo.file.filename}: {demo.name}/obs has no robot0_eef_pos", f"expected: {self.expected}"
            )
        unknown = [key for key in keys if key not in demo["obs"]]
        if unknown:
            raise UsageError(
                f"{demo.file.filename}: no observation {unknown[0]!r}",
                did_you_mean(unknown[0], demo["obs"]) or f"it has: {', '.join(demo['obs'])}",
            )
        return keys

    def _cameras(self, demo: h5py.Group) -> list[str]:
        known = [key.removesuffix(SUFFIX) for key in demo["obs"] if key.endswith(SUFFIX)]
        wanted = known if self.config.cameras is None else list(self.config.cameras)
        for camera in wanted:
            if camera not in known:
                hint = did_you_mean(camera, known) if known else "it has no pictures"
                raise UsageError(f"{demo.file.filename}: no pictures of camera {camera!r}", hint)
        return wanted

    def _episode(self, demo: h5py.Group, keys: list[str], cameras: list[str], optional: list[str]) -> Arrays:
        action = array(demo, "actions", self.expected, 2)
        frames = len(action)
        if not frames:
            raise DataError(f"{demo.file.filename}: {demo.name} has no frames")
        obs = demo.get("obs", demo)
        state = np.concatenate([_columns(array(obs, k, self.expected, obs[k].ndim, frames)) for k in keys], axis=1)
        episode: Arrays = {"state": state.astype(np.float32), "action": action.astype(np.float32)}
        if cameras:
            pictures = [array(obs, camera + SUFFIX, self.expected, 4, frames) for camera in cameras]
            for camera, picture in zip(cameras, pictures, strict=True):
                if picture.dtype != np.uint8 or picture.shape[3] != 3 or picture.shape != pictures[0].shape:
                    raise DataError(
                        f"{demo.file.filename}: {demo.name}/obs/{camera}{SUFFIX} is {picture.shape} {picture.dtype}, "
                        "expected (frames, height, width, 3) uint8, alike for all cameras"
                    )
            episode["img"] = np.concatenate(pictures, axis=3)
        for name, ours, kind in (("rewards", "reward", np.float32), ("dones", "terminal", np.bool_)):
            if name in optional:
                episode[ours] = array(demo, name, self.expected, 1, frames).astype(kind)
        return episode


def _columns(values: NDArray[Any]) -> NDArray[Any]:
    return values[:, None] if values.ndim == 1 else values


def _env_args(file: h5py.File) -> dict[str, Any]:
    text = file["data"].attrs.get("env_args")
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        raise DataError(f"{file.filename}: data's attribute env_args is not JSON") from None
    return found if isinstance(found, dict) else {}


def _notes(file: h5py.File) -> dict[str, Any]:
    """What omp says of files that it has recorded."""
    text = file["data"].attrs.get(NOTES)
    return {"recorded": json.loads(text)} if text else {}


def _add_success(episodes: list[Arrays]) -> None:
    """Rewards that are only ever 0 and 1 are robosuite's success flag."""
    if all("reward" in e and np.isin(e["reward"], (0, 1)).all() for e in episodes):
        for episode in episodes:
            episode["success"] = episode["reward"] == 1
