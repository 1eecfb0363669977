"""LeRobot folders, v2.0, v2.1 and v3.0 (huggingface/lerobot), told by their ``meta/info.json``.

The layout follows LeRobot's documentation and source. Tables of three public folders (v2.1, v3.0) and five of their
videos were read with it; v2.0, videos of several episodes and pictures in tables only as this omp's tests write them.
Depth cameras are left out. Actions are taken as they are, in whatever units the robot had (a policy fits its own limits
and answers in those units; a simulator clips them to [-1, 1]). A folder does not say what the numbers of its state are,
so no environment is looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_serializer

from omp_cli.core.base.config import Keys, Names
from omp_cli.core.base.errors import DataError, UsageError, did_you_mean
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.foreign import affordable, listed
from omp_cli.core.data.readers.base import (
    FORMATS,
    Reader,
    Recording,
    Subject,
    first_states,
    left_out,
    spec_of,
)
from omp_cli.core.data.readers.cameras import chosen, side_by_side
from omp_cli.core.data.readers.lerobot_folder import Folder
from omp_cli.core.data.readers.lerobot_tables import LerobotEpisode, Tables
from omp_cli.core.data.readers.pictures import PicturesConfig
from omp_cli.core.data.readers.video import clip_offset, decoded_image, decoded_video
from omp_cli.core.data.store import Arrays

INFO = ("meta", "info.json")
OPTIONAL: tuple[tuple[str, str, type[np.generic]], ...] = (
    ("next.reward", "reward", np.float32),
    ("next.done", "terminal", np.bool_),
    ("next.success", "success", np.bool_),
)
COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")
"""Features of every folder, which say where a frame belongs and nothing of the robot."""


class LerobotConfig(PicturesConfig):
    """What is taken from a LeRobot folder."""

    name: Literal["lerobot"] = "lerobot"
    state: Keys = Field(("observation.state",), min_length=1)
    """Features that make the state, in order."""
    action: Keys = Field(("action",), min_length=1)
    """Features that make the action, in order."""
    cameras: Names | None = None
    """Cameras ("top" of "observation.images.top" ...) whose pictures lie one after the other in the channels; None
    takes all, an empty list none.
    """
    instruction: str | None = None
    """Only episodes with this text as their task; None takes all."""

    @field_serializer("action")
    def _one_as_text(self, features: tuple[str, ...]) -> str | list[str]:
        """One feature alone as data of before have it, which took no other."""
        return features[0] if len(features) == 1 else list(features)


@FORMATS.register("lerobot")
class LerobotReader(Reader):
    """One episode per LeRobot episode, in the order of their numbers; ``path`` is meta/info.json."""

    Config = LerobotConfig
    config: LerobotConfig
    expected = "meta/info.json, meta/episodes*, data/ and videos/ as LeRobot v2.0, v2.1 and v3.0 have them"
    simulated = False

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """See the base class."""
        if path.absolute().parts[-2:] != INFO:
            return False
        Folder(path)
        return True

    @classmethod
    def label(cls, path: Path) -> str:
        """See the base class."""
        return path.absolute().parents[1].name

    def files(self, path: Path, limit: int | None) -> tuple[Path, ...]:
        """See the base class."""
        folder = Folder(path)
        parts = self._chosen(folder, self._with_files(folder, self._cameras(folder)))[:limit]
        own = [file for part in parts for file in (part.table, *(video.path for video in part.videos.values()))]
        return tuple(dict.fromkeys([path, *folder.episode_files(), *own]))

    def read(self, path: Path, subject: Subject, limit: int | None, progress: Progress) -> Recording:
        """See the base class."""
        folder = Folder(path)
        cameras = self._cameras(folder)
        self.config.check_pictures(str(folder.path), cameras)
        optional = [row for row in OPTIONAL if row[0] in folder.features]
        numbers = (*self.config.state, *self.config.action)
        for feature in numbers:
            folder.numeric(feature)
        everything = self._with_files(folder, cameras)
        parts = self._chosen(folder, everything)[:limit]
        images = [key for key in cameras.values() if folder.features[key]["dtype"] == "image"]
        columns = [*numbers, *(row[0] for row in optional)]
        columns += ["timestamp"] if len(images) < len(cameras) else []
        tables = Tables(folder.features, everything, columns, images)
        progress.start(f"{subject.task}: reading episodes", len(parts))
        episodes: list[Arrays] = []
        offsets: dict[str, list[float]] = {name: [] for name in cameras}
        for part in parts:
            found = tables.of(part)
            episode: Arrays = {
                name: np.concatenate([found[key] for key in keys], axis=1).astype(np.float32)
                for name, keys in (("state", self.config.state), ("action", self.config.action))
            }
            if cameras:
                episode["img"] = self._pictures(folder, part, cameras, found, offsets)
                if not episodes:
                    _fits(folder, tables, parts, episode["img"][0].nbytes)
            for theirs, ours, kind in optional:
                if found[theirs].shape[1] != 1:
                    raise DataError(
                        f"{part.table}: {theirs} has {found[theirs].shape[1]} numbers a frame, expected one"
                    )
                episode[ours] = found[theirs][:, 0].astype(kind)
            episodes.append(episode)
            progress.advance()
        spec = spec_of(subject, episodes, control_hz=folder.fps, end_effector=None)
        taken = (*numbers, *(row[0] for row in optional), *cameras.values())
        said = self._said(folder, offsets, len(parts), taken)
        notes = self._notes(folder, parts, list(cameras))
        names = {
            name: tuple(channel for key in keys for channel in folder.channel_names(key))
            for name, keys in (("state", self.config.state), ("action", self.config.action))
        }
        starts, shown = first_states(episodes), tuple(cameras)
        return Recording(
            episodes,
            spec,
            notes,
            starts,
            said=said,
            names=names,
            cameras=shown,
            parts=tuple((key, len(folder.channel_names(key))) for key in self.config.state),
            hz=folder.fps,
        )

    @staticmethod
    def _said(folder: Folder, offsets: dict[str, list[float]], episodes: int, taken: Sequence[str]) -> tuple[str, ...]:
        """What was shifted, and which features are not among the ``taken`` ones."""
        said = [
            f"camera {name}: the timestamps of {len(found)} of {episodes} episodes begin {np.median(found):+.3f} s off "
            "their video, which has as many frames; they are shifted by that"
            for name, found in offsets.items()
            if found
        ]
        depth = folder.cameras()[1]
        said += [f"depth is left out: {listed(depth)}"] if depth else []
        left = {n: f.get("shape") for n, f in folder.features.items() if n not in {*taken, *depth, *COUNTERS}}
        return (*said, *left_out({n: tuple(s) if isinstance(s, list) else None for n, s in left.items()}))

    def _with_files(self, folder: Folder, cameras: dict[str, str]) -> list[LerobotEpisode]:
        """Every episode, with the clips of these cameras; DataError for a camera of which there is no file at all."""
        parts = folder.parts(list(cameras.values()))
        if self.config.cameras is not None:
            return parts
        empty = [
            name
            for name, key in cameras.items()
            if key in parts[0].videos and not any(part.videos[key].path.is_file() for part in parts)
        ]
        if empty:
            file = parts[0].videos[cameras[empty[0]]].path
            rest = ", ".join(f'"{name}"' for name in cameras if name not in empty)
            raise DataError(
                f"{file}: no such file, as of every episode: info.json has a camera {empty[0]}, the folder does not",
                f"take the others: --set 'format.cameras=[{rest}]'",
            )
        return parts

    def _notes(self, folder: Folder, parts: list[LerobotEpisode], cameras: list[str]) -> dict[str, Any]:
        return {
            "codebase_version": folder.version,
            "robot_type": folder.robot,
            "fps": folder.fps,
            "episodes": [part.index for part in parts],
            "instructions": sorted({text for part in parts for text in part.instructions}),
            "state": list(self.config.state),
            "action": list(self.config.action),
            "cameras": cameras,
            "picture_size": self.config.size,
            "decoder": {name: metadata.version(name) for name in ("av", "pyarrow") if cameras or name != "av"},
        }

    def _cameras(self, folder: Folder) -> dict[str, str]:
        """Features with the pictures of the chosen cameras, by the cameras' names."""
        known, depth = folder.cameras()
        if self.config.cameras is None:
            return known

        def hint(asked: str) -> str:
            if any(asked == key or key.endswith(f".{asked}") for key in depth):
                return "it is a depth camera, which omp does not read here: zarr stores and arrays take format.depth"
            return did_you_mean(asked, [*known, *known.values()]) if known else "it has no pictures"

        return chosen(known, self.config.cameras, str(folder.path), hint)

    def _chosen(self, folder: Folder, parts: list[LerobotEpisode]) -> list[LerobotEpisode]:
        wanted = self.config.instruction
        known = {text for part in parts for text in part.instructions}
        if wanted is not None and wanted not in known:
            raise UsageError(f"{folder.path}: no episode with the instruction {wanted!r}", did_you_mean(wanted, known))
        return [part for part in parts if wanted is None or wanted in part.instructions]

    def _pictures(
        self,
        folder: Folder,
        part: LerobotEpisode,
        cameras: dict[str, str],
        columns: dict[str, Any],
        offsets: dict[str, list[float]],
    ) -> NDArray[np.uint8]:
        """Pictures of all cameras, (T, H, W, 3 cameras); how far videos are off their times goes into ``offsets``."""
        taken = []
        for name, key in cameras.items():
            where = f"episode {part.index}, camera {name}"
            frames: Sequence[NDArray[np.uint8]]
            if key in part.videos:
                times = _times(columns["timestamp"], f"{part.table}: timestamp of episode {part.index}")
                offset = clip_offset(part.videos[key], times, folder.fps, where)
                offsets[name] += [offset] if offset else []
                frames = decoded_video(part.videos[key], times - offset, folder.fps, self.config.size, where)
            else:
                place = f"{part.table}: {where}"
                frames = [decoded_image(entry, self.config.size, place) for entry in columns[key]]
            if any(frame.shape != frames[0].shape for frame in frames):
                raise DataError(
                    f"{folder.path}: {where}: its pictures differ in size", "set format.size, for instance to 96"
                )
            taken.append(np.stack(frames))
        return side_by_side(taken, list(cameras), f"{folder.path}: episode {part.index}", "format.cameras")


def _times(column: NDArray[Any], where: str) -> NDArray[np.float64]:
    """Times of the frames, (T,) s; DataError unless they ascend."""
    times = column[:, 0].astype(np.float64)
    if column.shape[1] != 1 or not np.isfinite(times).all() or np.any(np.diff(times) <= 0):
        raise DataError(f"{where}: expected a time a frame, each after the one before")
    return times


def _fits(folder: Folder, tables: Tables, parts: Sequence[LerobotEpisode], picture: int) -> None:
    """DataError when the pictures of all episodes, ``picture`` bytes a frame, fit neither into memory nor on the disk.

    It says so where that is because the list of episodes has more frames than the tables.
    """
    size = picture * sum(part.frames for part in parts)
    try:
        affordable(f"{folder.path}: what its cameras show", size, on_disk=True)
    except DataError:
        tables.confirm(parts)
        raise
