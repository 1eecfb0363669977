"""Where a LeRobot folder keeps what: ``meta/info.json``, the list of episodes, and the tables with their frames.

* v2: ``meta/episodes.jsonl``; a table and a video per camera for each episode.
* v3: ``meta/episodes/*/*.parquet``; tables and videos hold many episodes each, and a row says from when to when.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from omp_cli.core.data.readers.video import AGAIN, INSTALL, Clip
from omp_cli.core.errors import DataError, MissingDependency, UsageError, data_error, did_you_mean
from omp_cli.core.files import read_json, read_jsonl

VERSIONS = ("v2.0", "v2.1", "v3.0")
NUMBERS = ("float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")


@dataclass(frozen=True)
class Part:
    """One episode: its number and length, the table with its frames, a clip for each camera that is a video."""

    index: int
    frames: int
    table: Path
    videos: Mapping[str, Clip]
    instructions: tuple[str, ...]


class Folder:
    """``meta/info.json`` and what it leads to; DataError when it is not a LeRobot folder that omp reads."""

    def __init__(self, path: Path) -> None:
        self.path = path.parent.parent
        self.info = read_json(path, "LeRobot folder")
        self.version = self.info.get("codebase_version") if isinstance(self.info, dict) else None
        if self.version not in VERSIONS:
            known = ", ".join(VERSIONS)
            raise DataError(f"LeRobot folder {path}: codebase_version {self.version!r}, this omp reads {known}")
        self.features = self._value("features", dict)
        self.fps = float(self._value("fps", (int, float)))
        if not self.fps > 0 or not all(isinstance(feature, dict) for feature in self.features.values()):
            raise DataError(f"LeRobot folder {path}: fps or features are not what they are to be")

    def cameras(self) -> dict[str, str]:
        """Features with pictures, by the cameras' names; without depth."""
        found = {}
        for key, feature in self.features.items():
            about = {**feature, **(feature.get("info") or {})}
            depth = about.get("is_depth_map") or about.get("video.is_depth_map")
            if feature.get("dtype") in ("video", "image") and not depth:
                found[key.removeprefix("observation.").removeprefix("images.")] = key
        return found

    def numeric(self, name: str) -> None:
        """UsageError unless there is such a feature, one vector of numbers for each frame."""
        if name not in self.features:
            hint = did_you_mean(name, self.features) or f"it has: {', '.join(self.features)}"
            raise UsageError(f"{self.path}: no feature {name!r}", hint)
        kind, shape = (self.features[name].get(key) for key in ("dtype", "shape"))
        if kind not in NUMBERS or not isinstance(shape, list) or len(shape) != 1:
            raise UsageError(f"{self.path}: feature {name!r} is {kind} {shape}, expected a vector of numbers")

    def episode_files(self) -> list[Path]:
        """The files with the list of episodes; the first of them if there are none."""
        if self.version < "v3":
            return [self.path / "meta" / "episodes.jsonl"]
        found = sorted((self.path / "meta" / "episodes").glob("*/*.parquet"))
        return found or [self.path / "meta" / "episodes" / "chunk-000" / "file-000.parquet"]

    def parts(self, cameras: Sequence[str]) -> list[Part]:
        """Every episode, by number, with the clips of these cameras.

        Args:
            cameras: features.

        Raises:
            DataError: the list of episodes is missing or damaged, or leads out of the folder.
            MissingDependency: a v3 folder needs pyarrow.
        """
        rows = [row for file in self.episode_files() for row in self._rows(file)]
        videos = [key for key in cameras if self.features[key]["dtype"] == "video"]
        try:
            make = self._part_v2 if self.version < "v3" else self._part_v3
            parts = [make(row, videos) for row in rows]
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise DataError(f"{self.path}: its list of episodes or info.json is damaged ({error!r})") from None
        parts.sort(key=lambda part: part.index)
        if not parts or min(part.frames for part in parts) < 1:
            raise DataError(f"{self.path}: no episodes in it, or one without frames")
        return parts

    @staticmethod
    def _rows(file: Path) -> list[dict[str, Any]]:
        if not file.is_file():
            raise DataError(f"{file}: no such file")
        if file.suffix == ".jsonl":
            return read_jsonl(file)
        with opened(file) as table:
            names = [name for name in table.schema_arrow.names if not name.startswith("stats/")]
            return list(table.read(columns=names).to_pylist())

    def _part_v2(self, row: dict[str, Any], videos: Sequence[str]) -> Part:
        index = int(row["episode_index"])
        at = {"episode_index": index, "episode_chunk": index // int(self.info.get("chunks_size", 1000))}
        clips = {key: Clip(self._file("video_path", **at, video_key=key)) for key in videos}
        return Part(index, int(row["length"]), self._file("data_path", **at), clips, tuple(row.get("tasks") or ()))

    def _part_v3(self, row: dict[str, Any], videos: Sequence[str]) -> Part:
        clips = {}
        for key in videos:
            at = {name: int(row[f"videos/{key}/{name}"]) for name in ("chunk_index", "file_index")}
            start, end = (float(row[f"videos/{key}/{name}_timestamp"]) for name in ("from", "to"))
            clips[key] = Clip(self._file("video_path", **at, video_key=key), start, end)
        table = self._file("data_path", **{n: int(row[f"data/{n}"]) for n in ("chunk_index", "file_index")})
        return Part(int(row["episode_index"]), int(row["length"]), table, clips, tuple(row.get("tasks") or ()))

    def _file(self, template: str, **values: int | str) -> Path:
        """A file by its template in info.json, inside the folder."""
        name = PurePosixPath(str(self.info[template]).format(**values))
        if name.is_absolute() or ".." in name.parts:
            raise DataError(f"{self.path}: {template} of info.json leads out of the folder")
        return self.path / name

    def _value(self, name: str, kind: Any) -> Any:
        value = self.info.get(name)
        if not isinstance(value, kind):
            raise DataError(f"LeRobot folder {self.path}: {name} is missing in info.json, or of another kind")
        return value


@dataclass
class Tables:
    """Columns of episodes; keeps the last table, which in v3 is that of the next episode too."""

    columns: list[str]
    _last: tuple[Path, Any] | None = field(default=None, repr=False)

    def of(self, part: Part) -> dict[str, Any]:
        """Columns of an episode in the order of its frames: (T, D) numbers, or a list for pictures.

        DataError when a column or a frame is missing.
        """
        if self._last is None or self._last[0] != part.table:
            self._last = None
            with opened(part.table) as table:
                wanted = [*self.columns, "episode_index", "frame_index"]
                missing = [name for name in wanted if name not in table.schema_arrow.names]
                if missing:
                    raise DataError(f"{part.table}: no column {missing[0]!r}")
                self._last = (part.table, table.read(columns=wanted))
        with _one_line(part.table):
            import pyarrow.compute as pc

            table = self._last[1]
            rows = table.filter(pc.equal(table["episode_index"], part.index)).sort_by("frame_index")
            numbers = rows["frame_index"].to_numpy()
        if not np.array_equal(numbers, np.arange(part.frames)):
            raise DataError(
                f"{part.table}: episode {part.index} has {len(numbers)} frames or a gap, meta says {part.frames} frames"
            )
        return {name: _values(rows[name], f"{part.table}: column {name!r}") for name in self.columns}


def _values(column: Any, where: str) -> Any:
    values = column.to_pylist()
    if isinstance(values[0], dict | bytes):
        return values
    try:
        array = np.array(values)
    except ValueError:  # rows of several lengths
        raise DataError(f"{where} has rows of several lengths") from None
    if array.dtype.kind not in "fiub" or array.ndim > 2:
        raise DataError(f"{where} is {array.shape} {array.dtype}, expected numbers or vectors of numbers")
    return array.reshape(len(array), -1)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A Parquet file (``pyarrow.parquet.ParquetFile``); whatever pyarrow raises inside becomes a DataError."""
    with _one_line(path):
        from pyarrow import parquet

        if not path.is_file():
            raise DataError(f"{path}: no such file")
        with parquet.ParquetFile(path) as file:
            yield file


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        import pyarrow
    except ImportError:
        raise MissingDependency("pyarrow is not installed", INSTALL) from None
    try:
        yield
    except (pyarrow.ArrowException, OSError, MemoryError) as error:
        raise data_error(error, str(path), "damaged or cut short", AGAIN) from None
