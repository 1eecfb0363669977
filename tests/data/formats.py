"""Small files in the public formats, written as their publishers write them, with the numbers that are in them."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

ENV = {"env_name": "PickPlaceCan", "env_version": "1.4.1", "type": 1}
ENV["env_kwargs"] = {"control_freq": 20, "reward_shaping": False, "robots": ["Panda"]}

Demo = dict[str, np.ndarray]


def robomimic_demos(lengths: tuple[int, ...], cameras: tuple[str, ...], arms: int, success: bool) -> list[Demo]:
    demos = []
    for number, frames in enumerate(lengths):
        random = np.random.default_rng(number)
        demo: Demo = {"actions": random.uniform(-1, 1, (frames, 7 * arms))}
        demo["states"] = random.normal(size=(frames, 31))
        demo["rewards"] = np.zeros(frames)
        demo["rewards"][-2:] = float(success or number == 0)
        demo["dones"] = np.zeros(frames, np.int64)
        demo["dones"][-1] = 1
        for arm in range(arms):
            for key, size in (("eef_pos", 3), ("eef_quat", 4), ("gripper_qpos", 2), ("joint_pos", 7)):
                demo[f"obs/robot{arm}_{key}"] = random.normal(size=(frames, size))
        demo["obs/object"] = random.normal(size=(frames, 14))
        for camera in cameras:
            demo[f"obs/{camera}_image"] = random.integers(0, 256, (frames, 16, 16, 3), dtype=np.uint8)
        demos.append(demo)
    return demos


def write_robomimic(
    path: Path,
    lengths: tuple[int, ...] = (12, 9, 7, 8, 6, 5, 5, 9, 6, 7, 11),
    cameras: tuple[str, ...] = (),
    arms: int = 1,
    success: bool = True,
    env: dict[str, Any] = ENV,
) -> list[Demo]:
    """data/demo_<i>/..., mask/*, env_args; eleven demos, so that demo_10 sorts before demo_2 as text."""
    demos = robomimic_demos(lengths, cameras, arms, success)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = sum(lengths)
        data.attrs["env_args"] = json.dumps(env)
        for number, demo in enumerate(demos):
            group = data.create_group(f"demo_{number}")
            group.attrs["num_samples"] = lengths[number]
            for name, values in demo.items():
                group.create_dataset(name, data=values)
        names = [f"demo_{i}".encode() for i in range(len(lengths))]
        file["mask/train"] = np.array(names[:-1])
        file["mask/valid"] = np.array(names[-1:])
    return demos


def write_groups(path: Path, lengths: tuple[int, ...] = (5, 4, 6)) -> list[Demo]:
    """traj_<i>/{obs, actions}, as ManiSkill has them without cameras; observations have one frame more than actions."""
    episodes: list[Demo] = []
    with h5py.File(path, "w") as file:
        for number, frames in enumerate(lengths):
            random = np.random.default_rng(number)
            episodes.append({"obs": random.normal(size=(frames + 1, 5)), "actions": random.normal(size=(frames, 2))})
            for name, values in episodes[-1].items():
                file[f"traj_{number}/{name}"] = values
    return episodes


def write_npz(folder: Path, lengths: tuple[int, ...] = (6, 9, 5), pictures: bool = False) -> dict[str, np.ndarray]:
    """train.npz and normalization.npz; returns the physical values. The last action dimension is constant."""
    folder.mkdir(parents=True, exist_ok=True)
    random, frames = np.random.default_rng(0), sum(lengths)
    raw = {"state": random.normal(3, 20, (frames, 11)), "action": random.uniform(-0.4, 0.4, (frames, 3))}
    raw["action"][:, 2] = 0.25
    limits, scaled = {}, {}
    for name, key, theirs in (("state", "obs", "states"), ("action", "action", "actions")):
        low, high = raw[name].min(0), raw[name].max(0)
        limits |= {f"{key}_min": low, f"{key}_max": high}
        scaled[theirs] = (2 * (raw[name] - low) / (high - low + 1e-6) - 1).astype(np.float32)
    scaled["rewards"] = raw["reward"] = random.normal(size=frames).astype(np.float32)
    scaled["terminals"] = np.zeros(frames, bool)
    scaled["traj_lengths"] = np.array(lengths)
    if pictures:
        scaled["images"] = raw["images"] = random.integers(0, 256, (frames, 6, 16, 20), dtype=np.uint8)
    np.savez_compressed(folder / "train.npz", **scaled)
    np.savez(folder / "normalization.npz", **limits)
    return raw


def write_d4rl(path: Path, lengths: tuple[int, ...] = (7, 5, 9), tail: int = 4, timeouts: bool = True) -> Demo:
    """Flat arrays: the first episode ends as terminal, the others by timeout, and a rest without an end."""
    random, frames = np.random.default_rng(0), sum(lengths) + tail
    ends = np.cumsum(lengths) - 1
    arrays = {
        "observations": random.normal(size=(frames, 11)).astype(np.float32),
        "actions": random.uniform(-1, 1, (frames, 3)).astype(np.float32),
        "rewards": random.normal(1, 1, frames).astype(np.float32),
        "terminals": np.isin(np.arange(frames), ends[:1]),
        "timeouts": np.isin(np.arange(frames), ends[1:]),
    }
    if not timeouts:
        del arrays["timeouts"]
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
        file["infos/action_log_probs"] = np.zeros(frames)
        file["metadata/algorithm"] = "SAC"
    return arrays


def write_minari(folder: Path, lengths: tuple[int, ...] = (4, 6, 5), dictionary: bool = True) -> list[Demo]:
    """main_data.hdf5 and metadata.json; observations have one frame more than actions."""
    folder.mkdir(parents=True, exist_ok=True)
    episodes = []
    with h5py.File(folder / "main_data.hdf5", "w") as file:
        for number, frames in enumerate(lengths):
            random = np.random.default_rng(number)
            group = file.create_group(f"episode_{number}")
            group.attrs["total_steps"] = frames
            episode = {"observations": random.normal(size=(frames + 1, 59)), "goal": np.ones((frames + 1, 7))}
            episode |= {"actions": random.uniform(-1, 1, (frames, 9)), "rewards": np.arange(frames, dtype=float)}
            episode |= {"terminations": np.zeros(frames, bool), "truncations": np.arange(frames) == frames - 1}
            for name in ("actions", "rewards", "terminations", "truncations"):
                group[name] = episode[name]
            if dictionary:
                group["observations/observation"] = episode["observations"]
                group["observations/desired_goal/kettle"] = episode["goal"]
            else:
                group["observations"] = episode["observations"]
            episodes.append(episode)
    metadata = {"dataset_id": "D4RL/kitchen/mixed-v2", "env_spec": json.dumps({"id": "FrankaKitchen-v1"})}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    return episodes
