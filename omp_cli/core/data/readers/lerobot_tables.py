"""The frames of a LeRobot folder: columns of its Parquet tables, by episode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from omp_cli.core.base.errors import DataError, MissingDependency, data_error
from omp_cli.core.data.foreign import AGAIN as FETCH
from omp_cli.core.data.foreign import affordable, whole
from omp_cli.core.data.readers.video import AGAIN, INSTALL, Clip


@dataclass(frozen=True)
class LerobotEpisode:
    """One episode: its number and length, the table with its frames, a clip for each camera that is a video."""

    index: int
    frames: int
    table: Path
    videos: Mapping[str, Clip]
    instructions: tuple[str, ...]


class Tables:
    """Columns of episodes; keeps the last table, which in v3 is that of the next episode too.

    Args:
        features: those of the folder's ``meta/info.json``.
        parts: all episodes of the folder, so that frames of no episode do not pass unnoticed.
        columns: features with numbers.
        pictures: features with pictures.
    """

    def __init__(
        self,
        features: Mapping[str, Any],
        parts: Sequence[LerobotEpisode],
        columns: Sequence[str],
        pictures: Sequence[str],
    ) -> None:
        self._columns, self._pictures = tuple(dict.fromkeys(columns)), tuple(pictures)
        self._widths = {name: width_of(features.get(name)) for name in self._columns}
        self._lengths: dict[Path, dict[int, int]] = {}
        for part in parts:
            self._lengths.setdefault(part.table, {})[part.index] = part.frames
        self._last: tuple[Path, str, Any] | None = None

    def of(self, part: LerobotEpisode) -> dict[str, Any]:
        """Columns of an episode in the order of its frames: (T, D) numbers, or a list for pictures.

        DataError when a column or a frame is missing, or the table holds frames of no episode.
        """
        if self._last is None or self._last[0] != part.table:
            self._last = None
            self._last = (part.table, *self._read(part.table))
        order, table = self._last[1:]
        with _one_line(part.table):
            import pyarrow.compute as pc

            rows = table.filter(pc.equal(table["episode_index"], part.index)).sort_by(order)
            numbers = rows[order].to_numpy()
        first = numbers[0] if order == "index" else 0  # "index" counts the frames of all episodes
        if not np.array_equal(numbers, first + np.arange(part.frames)):
            raise DataError(_gap(part.table, part.index, len(numbers), part.frames), FETCH)
        found = {n: _values(rows[n], f"{part.table}: column {n!r}", self._widths[n]) for n in self._columns}
        return {**found, **{name: rows[name].to_pylist() for name in self._pictures}}

    def confirm(self, parts: Sequence[LerobotEpisode]) -> None:
        """DataError unless the heads of the tables of these episodes say as many frames as the list of episodes."""
        for path in dict.fromkeys(part.table for part in parts):
            with opened(path) as file:
                frames = file.metadata.num_rows
            expected = sum(self._lengths[path].values())
            if frames != expected:
                raise DataError(f"{path}: {frames} frames, meta says {expected}", FETCH)

    def _read(self, path: Path) -> tuple[str, Any]:
        """A table, and the column that orders the frames of its episodes."""
        lengths = self._lengths[path]
        with opened(path) as file:
            import pyarrow as pa
            import pyarrow.compute as pc

            names = file.schema_arrow.names
            order = "frame_index" if "frame_index" in names else "index"
            wanted = [*self._columns, *self._pictures, "episode_index", order]
            for name in wanted:
                if names.count(name) != 1:
                    raise DataError(f"{path}: {'no column' if name not in names else 'twice the column'} {name!r}")
            for name in ("episode_index", order):
                if not pa.types.is_integer(file.schema_arrow.field(name).type):
                    raise DataError(f"{path}: column {name!r} is no column of whole numbers")
            frames = file.metadata.num_rows
            affordable(str(path), 8 * frames * sum(self._widths.values()), path.stat().st_size)
            table = file.read(columns=wanted)
            counted = {pair["values"]: pair["counts"] for pair in pc.value_counts(table["episode_index"]).to_pylist()}
        for index, length in lengths.items():
            if counted.get(index, 0) != length:
                raise DataError(_gap(path, index, counted.get(index, 0), length), FETCH)
        if frames != sum(lengths.values()):
            raise DataError(f"{path}: {frames - sum(lengths.values())} frames of no episode that meta knows", FETCH)
        return order, table


def _gap(table: Path, index: int, found: int, expected: int) -> str:
    return f"{table}: episode {index} has {found} frames or a gap, meta says {expected} frames"


def width_of(feature: Any) -> int:
    """How many numbers a frame has of a feature; 1 where info.json does not say."""
    shape = feature.get("shape") if isinstance(feature, dict) else None
    return shape[0] if isinstance(shape, list) and len(shape) == 1 and isinstance(shape[0], int) else 1


def _values(column: Any, where: str, width: int) -> Any:
    try:
        array = np.array(column.to_pylist())
    except ValueError:  # rows of several lengths
        raise DataError(f"{where} has rows of several lengths") from None
    if array.dtype.kind not in "fiub" or array.ndim > 2:
        raise DataError(f"{where} is {array.shape} {array.dtype}, expected numbers or vectors of numbers")
    array = array.reshape(len(array), -1)
    if array.shape[1] != width:
        raise DataError(f"{where} has {array.shape[1]} numbers a frame, info.json says {width}")
    return array


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A Parquet file (``pyarrow.parquet.ParquetFile``); whatever pyarrow raises inside becomes a DataError."""
    with _one_line(path):
        from pyarrow import parquet

        with parquet.ParquetFile(whole(path)) as file:
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
