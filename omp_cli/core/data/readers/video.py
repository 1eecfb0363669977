"""Pictures out of videos and compressed images, by PyAV; damage is one line."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.errors import DataError, MissingDependency, data_error

INSTALL = "pip install 'omp-cli[lerobot]'"
AGAIN = "fetch the file again; in a Git clone: git lfs pull"
TOLERANCE = 0.25
"""How far a picture's time may lie from the frame's, in frames."""


@dataclass(frozen=True)
class Clip:
    """A part of a video: from ``start`` to before ``end``, seconds after the video's beginning."""

    path: Path
    start: float = 0.0
    end: float = math.inf


def decoded_video(
    clip: Clip, times: NDArray[np.floating[Any]], fps: float, size: int | None, where: str
) -> list[NDArray[np.uint8]]:
    """The clip's pictures (H, W, 3), one at each of the ascending ``times`` (T,), seconds after the clip's start.

    Args:
        clip: where they are.
        times: of the frames.
        fps: frames per second, for the tolerance.
        size: resize to (size, size); None keeps the size.
        where: for messages.

    Raises:
        DataError: the video is missing or damaged, shows nothing at one of these times, or goes on after them.
    """
    wanted = clip.start + np.asarray(times, np.float64)
    found: list[NDArray[np.uint8]] = []
    if not clip.path.is_file():
        raise DataError(f"{where}: {clip.path}: no such file")
    with _opened(clip.path, f"{where}: {clip.path}") as video:
        if not video.streams.video:
            raise DataError(f"{where}: {clip.path} has no pictures")
        stream = video.streams.video[0]
        stream.thread_type = "AUTO"
        if clip.start > 0 and stream.time_base is not None:
            video.seek(int(max(wanted[0] - 1.0 / fps, 0.0) / stream.time_base), stream=stream)  # the key frame before
        for frame in video.decode(stream):
            if len(found) == len(wanted):
                if frame.time is not None and frame.time < clip.end - TOLERANCE / fps:
                    raise DataError(f"{where}: {clip.path} goes on after the last of {len(wanted)} frames")
                break
            if frame.time is None or frame.time < wanted[len(found)] - TOLERANCE / fps:
                continue
            if frame.time > wanted[len(found)] + TOLERANCE / fps:
                break
            found.append(_rgb(frame, size))
    if len(found) < len(wanted):
        missing = f"frame {len(found)} of {len(wanted)}, at {wanted[len(found)]:.3f} s"
        raise DataError(f"{where}: {clip.path} has no picture for {missing}")
    return found


def decoded_image(entry: Any, size: int | None, where: str) -> NDArray[np.uint8]:
    """A compressed picture (PNG or JPEG, ``{"bytes": ...}`` or bytes), (H, W, 3); see ``decoded_video``."""
    content = entry.get("bytes") if isinstance(entry, dict) else entry
    if not isinstance(content, bytes):
        raise DataError(f"{where}: a picture is not in the table")
    with _opened(io.BytesIO(content), where) as image:
        return _rgb(next(image.decode(video=0)), size)


def _rgb(frame: Any, size: int | None) -> NDArray[np.uint8]:
    given = {} if size is None else {"width": size, "height": size, "interpolation": "AREA"}
    return np.ascontiguousarray(frame.reformat(format="rgb24", **given).to_ndarray())


@contextmanager
def _opened(source: Any, where: str) -> Iterator[Any]:
    """A container; whatever PyAV raises inside becomes a DataError."""
    try:
        import av
    except ImportError:
        raise MissingDependency("PyAV is not installed", INSTALL) from None
    try:
        with av.open(source if isinstance(source, io.BytesIO) else str(source)) as container:
            yield container
    except (av.FFmpegError, StopIteration, MemoryError) as error:
        raise data_error(error, where, "damaged, or not a picture or video", AGAIN) from None
