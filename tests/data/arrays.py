"""Small recordings in the layouts of named arrays: diffusion-policy zarr of both formats, npz, folders of npy."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import zarr

LENGTHS = (9, 6, 8)


def recorded(lengths: tuple[int, ...] = LENGTHS, points: int = 40, channels: int = 6) -> dict[str, np.ndarray]:
    """State (T, 4), action (T, 3) in units beyond 1, pictures and clouds."""
    random, frames = np.random.default_rng(0), sum(lengths)
    return {
        "state": random.normal(size=(frames, 4)).astype(np.float32),
        "action": random.uniform(-50, 50, (frames, 3)).astype(np.float32),
        "img": random.integers(0, 256, (frames, 12, 16, 3), dtype=np.uint8),
        "point_cloud": random.normal(size=(frames, points, channels)).astype(np.float32),
    }


def write_zarr(path: Path, arrays: dict[str, np.ndarray], version: Any = 2, lengths: tuple[int, ...] = LENGTHS) -> Path:
    """data/<name> and meta/episode_ends, as diffusion policy's ReplayBuffer writes them."""
    root = zarr.create_group(str(path), zarr_format=version)
    for name, values in arrays.items():
        root.create_array(f"data/{name}", data=values)
    root.create_array("meta/episode_ends", data=np.cumsum(lengths))
    return path


def packed(store: Path, path: Path, inside: str = "") -> Path:
    """The store as a .zip, at its root or in a folder of it."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(store.rglob("*")):
            archive.write(file, Path(inside) / file.relative_to(store))
    return path


def write_npz(path: Path, arrays: dict[str, np.ndarray], lengths: tuple[int, ...] = LENGTHS) -> Path:
    """One file."""
    np.savez(path, episode_ends=np.cumsum(lengths), **arrays)  # type: ignore[arg-type]
    return path


def write_npy(folder: Path, arrays: dict[str, np.ndarray], lengths: tuple[int, ...] = LENGTHS) -> Path:
    """A folder with a file for each array."""
    folder.mkdir(parents=True)
    for name, values in {**arrays, "episode_ends": np.cumsum(lengths)}.items():
        np.save(folder / f"{name}.npy", values)
    return folder
