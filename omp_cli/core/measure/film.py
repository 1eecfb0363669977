"""Videos of rollouts, encoded by the ffmpeg that comes with imageio-ffmpeg."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.files import atomic

HELD_FRAMES = 20
BORDER = 6
GREEN, RED = (60, 180, 75), (220, 60, 50)


def write_video(path: Path, films: Sequence[NDArray[np.uint8]], good: Sequence[bool], hz: float) -> None:
    """Episodes one after the other as H.264, at most 60 frames per second; the end is framed green (good) or red.

    Args:
        path: MP4 to write.
        films: pictures of each episode, (frames, P, P, 3).
        good: whether those episodes succeeded or, where the return counts, did not terminate.
        hz: environment steps per second.
    """
    import imageio_ffmpeg

    size = films[0].shape[2], films[0].shape[1]
    with atomic(path) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary), size, fps=min(hz, 60.0), quality=8, macro_block_size=2, ffmpeg_log_level="error"
        )
        writer.send(None)
        try:
            for film, green in zip(films, good, strict=False):
                for picture in film:
                    writer.send(np.ascontiguousarray(picture))
                ending, colour = film[-1].copy(), GREEN if green else RED
                ending[:BORDER] = ending[-BORDER:] = ending[:, :BORDER] = ending[:, -BORDER:] = colour
                for _ in range(HELD_FRAMES):
                    writer.send(ending)
        finally:
            writer.close()
