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

from omp_cli.core.base.errors import DataError, MissingDependency, data_error
from omp_cli.core.data.foreign import affordable, whole

INSTALL = "pip install 'omp-cli[lerobot]'"
AGAIN = "fetch the file again; in a Git clone: git lfs pull"
UNEQUAL = (
    f"{AGAIN}; if the recording itself is so, cut the video to its frames, or leave the camera out (format.cameras)"
)
TOLERANCE = 0.25
"""How far a picture's time may lie from the frame's, in frames."""

_MOST_PIXELS = 64_000_000


@dataclass(frozen=True)
class Clip:
    """A part of a video: from ``start`` to before ``end``, seconds after the video's beginning."""

    path: Path
    start: float = 0.0
    end: float = math.inf


def clip_offset(clip: Clip, times: NDArray[np.floating[Any]], fps: float, where: str) -> float:
    """By how much the ``times`` (T,) of an episode are later than the pictures of its clip, in seconds; 0 where not.

    Only a clip with exactly one picture a frame can be off, and by the same at every frame: anything else is damage,
    which ``decoded_video`` names.

    Args:
        clip: the clip that holds the pictures.
        times: times of the frames, seconds after the clip's start.
        fps: frames per second, for the tolerance.
        where: for messages.

    Raises:
        DataError: the video is missing or damaged.
    """
    tolerance = TOLERANCE / fps
    with _opened(whole(clip.path, where), f"{where}: {clip.path}") as video:
        if not video.streams.video:
            return 0.0
        stream = video.streams.video[0]
        begins = float((stream.start_time or 0) * (stream.time_base or 0))
        if abs(times[0] - (begins if clip.start == 0 else 0.0)) <= tolerance:
            return 0.0
        shown = [float(p.pts * p.time_base) for p in video.demux(stream) if p.size and p.pts is not None]
    own = np.sort([time - clip.start for time in shown if clip.start - tolerance <= time < clip.end - tolerance])
    if len(own) != len(times):
        return 0.0
    offset = float(np.median(times - own))
    constant = np.abs(times - own - offset).max() <= tolerance
    return offset if constant and abs(offset) > tolerance else 0.0


def decoded_video(
    clip: Clip, times: NDArray[np.floating[Any]], fps: float, size: int | None, where: str
) -> list[NDArray[np.uint8]]:
    """The clip's pictures (H, W, 3), one at each of the ascending ``times`` (T,), seconds after the clip's start.

    Args:
        clip: the clip that holds the pictures.
        times: times of the frames, seconds after the clip's start.
        fps: frames per second, for the tolerance.
        size: resize to (size, size); None keeps the size.
        where: for messages.

    Raises:
        DataError: the video is missing or damaged, shows nothing at one of these times, or goes on after them.
    """
    wanted = clip.start + np.asarray(times, np.float64)
    found: list[NDArray[np.uint8]] = []
    with _opened(whole(clip.path, where), f"{where}: {clip.path}") as video:
        if not video.streams.video:
            raise DataError(f"{where}: {clip.path} has no pictures")
        stream = video.streams.video[0]
        _fits(stream, len(wanted), size, f"{where}: {clip.path}")
        stream.thread_type = "AUTO"
        if clip.start > 0 and stream.time_base is not None:
            video.seek(int(max(wanted[0] - 1.0 / fps, 0.0) / stream.time_base), stream=stream)  # the key frame before
        for frame in video.decode(stream):
            if len(found) == len(wanted):
                if frame.time is not None and frame.time < clip.end - TOLERANCE / fps:
                    raise DataError(f"{where}: {clip.path} goes on after the last of {len(wanted)} frames", UNEQUAL)
                break
            if frame.time is None or frame.time < wanted[len(found)] - TOLERANCE / fps:
                continue
            if frame.time > wanted[len(found)] + TOLERANCE / fps:
                break
            found.append(_rgb(frame, size))
    if len(found) < len(wanted):
        missing = f"frame {len(found)} of {len(wanted)}, at {wanted[len(found)]:.3f} s"
        raise DataError(f"{where}: {clip.path} has no picture for {missing}", UNEQUAL)
    return found


def decoded_image(entry: Any, size: int | None, where: str) -> NDArray[np.uint8]:
    """A compressed picture (PNG or JPEG, ``{"bytes": ...}`` or bytes), (H, W, 3); see ``decoded_video``."""
    content = entry.get("bytes") if isinstance(entry, dict) else entry
    if not isinstance(content, bytes):
        raise DataError(f"{where}: a picture is not in the table")
    with _opened(io.BytesIO(content), where) as image:
        if not image.streams.video:
            raise DataError(f"{where}: a picture of the table is none")
        _fits(image.streams.video[0], 1, size, where)
        return _rgb(next(image.decode(video=0)), size)


def decoded_depth(content: bytes, where: str) -> NDArray[np.uint16]:
    """A PNG of one channel of 16 bits, (H, W)."""
    with _opened(io.BytesIO(content), where) as image:
        if not image.streams.video:
            raise DataError(f"{where} is no picture")
        _fits(image.streams.video[0], 1, None, where)
        frame = next(image.decode(video=0))
        if not frame.format.name.startswith("gray16"):
            raise DataError(f"{where} is a picture of {frame.format.name}, expected one channel of 16 bits")
        return np.ascontiguousarray(frame.to_ndarray().astype(np.uint16))


def _fits(stream: Any, frames: int, size: int | None, where: str) -> None:
    """DataError for pictures of a size that no camera has, or that memory cannot hold."""
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > _MOST_PIXELS:
        raise DataError(f"{where} has pictures of {width}x{height}, expected {_MOST_PIXELS:,} pixels at most")
    affordable(where, 3 * frames * (width * height if size is None else size * size))


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
