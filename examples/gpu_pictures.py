"""A data set with pictures of DMPO's sizes, without a simulator, OpenGL or a download, to time training with.

python examples/gpu_pictures.py FOLDER EPISODES      # writes FOLDER/train.npz, then: omp prepare own FOLDER/train.npz
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

FRAMES, STATE, ACTION, SIZE = 100, 9, 7, 96
LIMITS = {"min": -1.0, "max": 1.0}


def write(folder: Path, episodes: int) -> Path:
    """A recording in DPPO's layout, scaled to [-1, 1] and with its limits: noise, for nobody looks at its success."""
    folder.mkdir(parents=True, exist_ok=True)
    random, frames = np.random.default_rng(0), episodes * FRAMES
    np.savez(
        folder / "train.npz",
        states=random.uniform(-1, 1, (frames, STATE)).astype(np.float32),
        actions=random.uniform(-1, 1, (frames, ACTION)).astype(np.float32),
        images=random.integers(0, 256, (frames, SIZE, SIZE, 3), dtype=np.uint8),
        traj_lengths=np.full(episodes, FRAMES),
    )
    sizes = {"obs": STATE, "action": ACTION}
    limits = {f"{key}_{end}": np.full(size, sign) for key, size in sizes.items() for end, sign in LIMITS.items()}
    np.savez(folder / "normalization.npz", **limits)
    return folder / "train.npz"


def preparing(recording: Path) -> list[str]:
    """The words of ``omp`` that make a data set of the recording, beside it."""
    line = ["prepare", "own", str(recording), "--task", "pictures", "--hz", "20"]
    return [*line, "--out", str(recording.with_name("data")), "--json"]


if __name__ == "__main__":
    words = preparing(write(Path(sys.argv[1]), int(sys.argv[2])))
    os.execv(sys.executable, [sys.executable, "-m", "omp_cli", *words])
