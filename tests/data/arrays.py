"""Small recordings in the layouts of named arrays: zarr of both formats, npz, folders of npy, a file per episode."""

import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
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


def write_umi(path: Path, lengths: tuple[int, ...] = LENGTHS) -> dict[str, np.ndarray]:
    """As UMI's stores are: poses of a hand that points down, widths of its gripper, pictures as JPEG XL; the arrays."""
    from imagecodecs.numcodecs import Jpegxl

    random, frames = np.random.default_rng(0), sum(lengths)
    turned = np.pi + 0.1 * np.sin(2.0 * np.arange(frames))
    zeros = np.zeros(frames)
    arrays = {
        "robot0_eef_pos": random.normal(size=(frames, 3)),
        "robot0_eef_rot_axis_angle": np.stack([np.where(turned > np.pi, turned - 2 * np.pi, turned), zeros, zeros], 1),
        "robot0_gripper_width": random.uniform(0, 0.08, (frames, 1)),
        "robot0_demo_start_pose": np.zeros((frames, 6)),
    }
    arrays = {name: values.astype(np.float32) for name, values in arrays.items()}
    root = zarr.create_group(str(path), zarr_format=2)
    for name, values in arrays.items():
        root.create_array(f"data/{name}", data=values)
    arrays["camera0_rgb"] = pictures = random.integers(0, 256, (frames, 24, 24, 3), dtype=np.uint8)
    root.create_array(
        "data/camera0_rgb", data=pictures, chunks=(1, 24, 24, 3), compressors=Jpegxl(lossless=True, numthreads=1)
    )
    root.create_array("meta/episode_ends", data=np.cumsum(lengths))
    return arrays


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


def jpeg(picture: np.ndarray) -> bytes:
    """A JPEG of (H, W, 3)."""
    import av

    codec = av.CodecContext.create("mjpeg", "w")
    codec.height, codec.width = picture.shape[:2]
    codec.pix_fmt, codec.time_base = "yuvj420p", Fraction(1, 10)
    codec.options = {"qmin": "1", "qmax": "2"}
    return bytes(codec.encode(av.VideoFrame.from_ndarray(picture, "rgb24"))[0])


def write_aloha(
    folder: Path, lengths: tuple[int, ...] = LENGTHS, compress: bool = False, more: int = 0
) -> list[dict[str, np.ndarray]]:
    """episode_<i>.hdf5 with two cameras, as ALOHA's recorder writes them; packed pictures are padded to the longest.

    Observations have ``more`` frames more than actions.
    """
    folder.mkdir(parents=True)
    episodes = []
    for number, frames in enumerate(lengths):
        random = np.random.default_rng(number)
        episode = {"action": random.uniform(-1, 1, (frames, 14)).astype(np.float32)}
        episode |= {f"observations/{n}": random.normal(size=(frames + more, 14)) for n in ("qpos", "qvel")}
        for camera in ("top", "wrist"):
            pictures = np.full((frames + more, 32, 48, 3), 20 * number, np.uint8)
            pictures[:, 8:24, 8 : 24 + 2 * number] = (250, 30, 20) if camera == "top" else (20, 30, 250)
            episode[f"observations/images/{camera}"] = pictures
        with h5py.File(folder / f"episode_{number}.hdf5", "w") as file:
            file.attrs["sim"], file.attrs["compress"] = False, compress
            for name, values in episode.items():
                file[name] = _padded([jpeg(p) for p in values]) if compress and values.ndim == 4 else values
        episodes.append(episode)
    return episodes


def _padded(rows: list[bytes]) -> np.ndarray:
    longest = max(map(len, rows))
    return np.stack([np.frombuffer(row.ljust(longest, b"\0"), np.uint8) for row in rows])
