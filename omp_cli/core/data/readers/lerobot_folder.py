"""Where a LeRobot folder keeps what: ``meta/info.json``, the list of episodes, and the tables with their frames.

* v2: ``meta/episodes.jsonl``; a table and a video per camera for each episode.
* v3: ``meta/episodes/*/*.parquet``; tables and videos hold many episodes each, and a row says from when to when.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import Any

from omp_cli.core.base.errors import DataError, UsageError, did_you_mean
from omp_cli.core.data.foreign import (
    AGAIN as FETCH,
)
from omp_cli.core.data.foreign import (
    affordable,
    count,
    json_file,
    json_lines,
    listed,
    member,
    number,
    parsed,
    refuse,
    short,
    whole,
)
from omp_cli.core.data.readers.cameras import by_name
from omp_cli.core.data.readers.lerobot_tables import LerobotEpisode, opened, width_of
from omp_cli.core.data.readers.video import Clip

VERSIONS = ("v2.0", "v2.1", "v3.0")
_LONGEST, _MOST_FIELDS = 1000, 8
NUMBERS = ("float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")


class Folder:
    """``meta/info.json`` and what it leads to; DataError when it is not a LeRobot folder that omp reads."""

    def __init__(self, path: Path) -> None:
        self.path = path.parent.parent
        self._where = f"LeRobot folder {path}"
        self.info = json_file(path, "LeRobot folder")
        found = self.info.get("codebase_version")
        if found not in VERSIONS:
            known = ", ".join(VERSIONS)
            found = short(found) if isinstance(found, str) else found
            raise DataError(f"LeRobot folder {path}: codebase_version {found!r}, this omp reads {known}")
        self.version: str = found
        self.features = self._value("features", dict)
        self.fps = number(self._value("fps", (int, float)), f"{self._where}: fps", 1e-3)
        self.robot = member(self.info, "robot_type", (str, type(None)), self._where)
        for name, feature in self.features.items():
            if not isinstance(feature, dict):
                refuse(f"{self._where}: feature {short(name)!r}", feature, "an object")

    def cameras(self) -> tuple[dict[str, str], list[str]]:
        """Features with pictures, by the cameras' names, and those with depth, which are not read.

        A camera's name is the last part of its feature's; where two have the same, it is the whole.
        """
        pictures: list[str] = []
        depth: list[str] = []
        for key, feature in self.features.items():
            if feature.get("dtype") in ("video", "image"):
                about = {**feature}
                for more in ("info", "video_info"):  # of LeRobot, and of NVIDIA's folders
                    about |= member(feature, more, (dict, type(None)), f"{self._where}: feature {short(key)!r}") or {}
                deep = about.get("is_depth_map") or about.get("video.is_depth_map")
                (depth if deep else pictures).append(key)
        return by_name(pictures, lambda key: key.removeprefix("observation.").removeprefix("images.")), depth

    def numeric(self, name: str) -> None:
        """UsageError unless there is such a feature, one vector of numbers for each frame."""
        if name not in self.features:
            hint = did_you_mean(name, self.features) or f"it has: {listed(self.features)}"
            raise UsageError(f"{self.path}: no feature {name!r}", hint)
        kind, shape = (self.features[name].get(key) for key in ("dtype", "shape"))
        if kind not in NUMBERS or not isinstance(shape, list) or len(shape) != 1:
            raise UsageError(f"{self.path}: feature {name!r} is {kind} {shape}, expected a vector of numbers")

    def channel_names(self, name: str) -> list[str]:
        """Of a feature's numbers ("left_elbow"): a list, lists by kind ("motors"), or an object with the place of each.

        By place where there are none.
        """
        feature = self.features[name]
        width, found = width_of(feature), feature.get("names")
        parts = list(found.values()) if isinstance(found, dict) else [found]
        if isinstance(found, dict) and all(type(place) is int for place in parts):
            parts = [sorted(found, key=found.__getitem__)] if sorted(parts) == list(range(width)) else []
        names = [x for part in parts if isinstance(part, list) for x in part]
        if len(names) == width and all(isinstance(x, str) for x in names):
            return [short(x) for x in names]
        return [f"{name}[{place}]" for place in range(width)]

    def episode_files(self) -> list[Path]:
        """The files with the list of episodes; the first of them if there are none."""
        if self.version < "v3":
            return [self.path / "meta" / "episodes.jsonl"]
        found = sorted((self.path / "meta" / "episodes").glob("*/*.parquet"))
        return found or [self.path / "meta" / "episodes" / "chunk-000" / "file-000.parquet"]

    def parts(self, cameras: Sequence[str]) -> list[LerobotEpisode]:
        """Every episode, by number, with the clips of these cameras.

        Args:
            cameras: features.

        Raises:
            DataError: the list of episodes is missing or damaged, or leads out of the folder.
            MissingDependency: a v3 folder needs pyarrow.
        """
        videos = [key for key in cameras if self.features[key]["dtype"] == "video"]
        make = self._part_v2 if self.version < "v3" else self._part_v3
        parts = [make(row, where, videos) for file in self.episode_files() for where, row in self._rows(file)]
        parts.sort(key=lambda part: part.index)
        self._check(parts)
        return parts

    def _check(self, parts: Sequence[LerobotEpisode]) -> None:
        """DataError unless the list of episodes is whole: from 0 on, none twice, and as many as info.json says."""
        lists = f"{self.path}: its list of episodes"
        if not parts:
            raise DataError(f"{self.path}: no episodes in it", FETCH)
        for expected, part in enumerate(parts):
            if part.index != expected:
                wrong = f"has episode {part.index} twice" if part.index < expected else f"lacks episode {expected}"
                raise DataError(f"{lists} {wrong}", FETCH)
        for name, found in (("total_episodes", len(parts)), ("total_frames", sum(part.frames for part in parts))):
            declared = self.info.get(name)
            if declared is not None and count(declared, f"{self._where}: {name}") != found:
                raise DataError(f"{lists} has {found} {name.removeprefix('total_')}, info.json says {declared}", FETCH)
        if self.version < "v3":
            for name, key in (("tasks", "task_index"), ("episodes_stats", "episode_index")):
                self._check_list(self.path / "meta" / f"{name}.jsonl", key)
            stats = self.path / "meta" / "stats.json"
            if stats.is_file():
                parsed(whole(stats).read_bytes(), str(stats))

    @staticmethod
    def _check_list(file: Path, key: str) -> None:
        """DataError for a damaged list beside that of the episodes; nothing of it is used, but it tells of damage."""
        seen = set()
        for where, row in json_lines(file) if file.is_file() else ():
            index = count(row.get(key), f"{where}: {key}")
            if index in seen:
                raise DataError(f"{where}: {key} {index} is there twice", FETCH)
            seen.add(index)

    @staticmethod
    def _rows(file: Path) -> list[tuple[str, dict[str, Any]]]:
        """Rows of a list, with their places."""
        if file.suffix == ".jsonl":
            return json_lines(file)
        with opened(file) as table:
            names = [name for name in table.schema_arrow.names if not name.startswith("stats/")]
            affordable(str(file), 8 * len(names) * table.metadata.num_rows, file.stat().st_size)
            rows = table.read(columns=names).to_pylist()
        return [(f"{file}, row {number}", row) for number, row in enumerate(rows)]

    def _part_v2(self, row: dict[str, Any], where: str, videos: Sequence[str]) -> LerobotEpisode:
        index, frames, instructions = self._about(row, where)
        size = count(self.info.get("chunks_size", 1000), f"{self._where}: chunks_size", 1)
        at = {"episode_index": index, "episode_chunk": index // size}
        clips = {key: Clip(self._file("video_path", **at, video_key=key)) for key in videos}
        return LerobotEpisode(index, frames, self._file("data_path", **at), clips, instructions)

    def _part_v3(self, row: dict[str, Any], where: str, videos: Sequence[str]) -> LerobotEpisode:
        def at(prefix: str) -> dict[str, int]:
            names = ("chunk_index", "file_index")
            return {n: count(row.get(f"{prefix}/{n}"), f"{where}: {prefix}/{n}") for n in names}

        clips = {}
        for key in videos:
            prefix = f"videos/{key}"
            names = [f"{prefix}/{name}_timestamp" for name in ("from", "to")]
            start, end = (number(row.get(name), f"{where}: {name}") for name in names)
            clips[key] = Clip(self._file("video_path", **at(prefix), video_key=key), start, end)
        index, frames, instructions = self._about(row, where)
        return LerobotEpisode(index, frames, self._file("data_path", **at("data")), clips, instructions)

    @staticmethod
    def _about(row: dict[str, Any], where: str) -> tuple[int, int, tuple[str, ...]]:
        """Number, length and instructions of an episode."""
        index, frames = count(row.get("episode_index"), f"{where}: episode_index"), row.get("length")
        tasks = member(row, "tasks", (list, type(None)), where) or []
        for task in tasks:
            if not isinstance(task, str):
                refuse(f"{where}: one of tasks", task, "text")
        return index, count(frames, f"{where}: length", 1), tuple(tasks)

    def _file(self, template: str, **values: int | str) -> Path:
        """A file by its template in info.json, inside the folder.

        A template may name the values, and how many digits a number has at least; nothing else that Python's
        templates can do: they reach into objects, and write as many spaces as they are told to.
        """
        text = self._value(template, str)
        where = f"{self.path}: {template} {short(text)!r} of info.json"
        try:
            fields = [field[1:] for field in Formatter().parse(text) if field[1] is not None]
        except ValueError as error:
            raise DataError(f"{where} is damaged ({error})") from None
        for name, spec, conversion in fields:
            if name not in values or conversion or not re.fullmatch(r"(0?[0-9]{1,2}d?|d)?", spec or "", re.ASCII):
                asked = short(f"{name}{'!' if conversion else ''}{conversion or ''}{':' if spec else ''}{spec}")
                raise DataError(f"{where} is damaged: {{{asked}}}, expected {', '.join(values)} as in {{name:03d}}")
        if len(text) > _LONGEST or len(fields) > _MOST_FIELDS:
            raise DataError(f"{where} is damaged: too long for a file's name")
        try:
            path = PurePosixPath(text.format(**values))
        except ValueError as error:
            raise DataError(f"{where} is damaged ({error})") from None
        if path.is_absolute() or ".." in path.parts or "\\" in text or "\0" in text:
            raise DataError(f"{where} leads out of the folder")
        return self.path / path

    def _value(self, name: str, kind: Any) -> Any:
        value = self.info.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise DataError(f"{self._where}: {name} is missing in info.json, or of another kind")
        return value
