"""Three small recordings, as a robot's own script writes them. Needs zarr, NumPy and SciPy alone.

`python examples/own_recording.py pour.zarr`, in DP3's layout: a hand goes to a thing that lies somewhere on a table and
that a depth camera sees, 20 episodes of 40 frames at 30 Hz. Actions are velocities in metres a second, so they leave
[-1, 1] or not as they please.

`python examples/own_recording.py hand.npz`, plain arrays: a hand points down, tilts and turns on its way to where it is
told to. Actions are the poses that follow, position (m) and axis times angle (rad).

`python examples/own_recording.py held.npz`, plain arrays: a gripper that a person holds goes to a thing that its camera
sees. Its tracker begins anew with each episode, so that nobody knows where the frame of its poses lies.
"""

import sys
from pathlib import Path

import numpy as np
import zarr

EPISODES, FRAMES, POINTS, HZ = 20, 40, 1024, 30
COLOUR = (200, 120, 40)


def pour(path: str) -> None:
    """Write ``data/state``, ``data/action``, ``data/point_cloud`` (x, y, z and colour) and ``meta/episode_ends``."""
    random = np.random.default_rng(0)
    rows: dict[str, list[np.ndarray]] = {"state": [], "action": [], "point_cloud": []}
    for _ in range(EPISODES):
        hand, thing = np.array([0.0, 0.0, 0.3]), np.array([*random.uniform(-0.25, 0.25, 2), 0.02])
        for _ in range(FRAMES):
            velocity = np.clip(3.0 * (thing - hand), -0.5, 0.5)
            seen = np.concatenate(
                [thing + random.normal(0, 0.02, (POINTS // 2, 3)), random.normal(hand, 0.02, (POINTS // 2, 3))]
            )
            rows["state"].append(hand.copy())
            rows["action"].append(velocity)
            rows["point_cloud"].append(np.concatenate([seen, np.tile(COLOUR, (POINTS, 1))], axis=1))
            hand = hand + velocity / HZ
    root = zarr.create_group(path, zarr_format=2)
    for name, values in rows.items():
        root.create_array(f"data/{name}", data=np.stack(values).astype(np.float32))
    root.create_array("meta/episode_ends", data=FRAMES * np.arange(1, EPISODES + 1))


def hand(path: str) -> None:
    """Write ``state`` (pose, and what it is told), ``action`` (pose) and ``episode_ends``."""
    from scipy.spatial.transform import Rotation

    random = np.random.default_rng(0)
    down = Rotation.from_rotvec([np.pi, 0.0, 0.0])
    states, actions = [], []
    for _ in range(EPISODES):
        place, turn = random.uniform(-0.2, 0.2, 2), [*random.normal(0.0, 0.15, 2), random.uniform(-1.2, 1.2)]
        way = np.linspace(0.0, 1.0, FRAMES + 1)[:, None]
        position = np.concatenate([way * place, 0.4 - 0.2 * way], axis=1)
        pose = np.concatenate([position, (down * Rotation.from_euler("xyz", way * turn)).as_rotvec()], axis=1)
        states.append(np.concatenate([pose[:-1], np.tile([*place, *turn], (FRAMES, 1))], axis=1))
        actions.append(pose[1:])
    state, action = (np.concatenate(rows).astype(np.float32) for rows in (states, actions))
    np.savez(path, state=state, action=action, episode_ends=FRAMES * np.arange(1, EPISODES + 1))


def held(path: str) -> None:
    """Write ``state`` (pose, and where the gripper sees the thing), ``action`` (pose) and ``episode_ends``."""
    from scipy.spatial.transform import Rotation

    random = np.random.default_rng(0)
    states, actions = [], []
    for _ in range(EPISODES):
        frame = Rotation.from_euler("z", random.uniform(-np.pi, np.pi)), random.uniform(-1.0, 1.0, 3)
        place, turn = Rotation.from_rotvec([np.pi, 0.0, 0.0]), random.uniform(-1.2, 1.2)
        hand, thing = np.array([0.0, 0.0, 0.4]), np.array([*random.uniform(-0.2, 0.2, 2), 0.05])
        poses, seen = [], []
        for _ in range(FRAMES + 1):
            poses.append([*(frame[0].apply(hand) + frame[1]), *(frame[0] * place).as_rotvec()])
            seen.append([*place.inv().apply(thing - hand), turn])
            hand, place = hand + 0.1 * (thing - hand), place * Rotation.from_euler("z", 0.1 * turn)
            turn *= 0.9
        states.append(np.concatenate([poses, seen], axis=1)[:-1])
        actions.append(poses[1:])
    state, action = (np.concatenate(rows).astype(np.float32) for rows in (states, actions))
    np.savez(path, state=state, action=action, episode_ends=FRAMES * np.arange(1, EPISODES + 1))


if __name__ == "__main__":
    write = {"pour.zarr": pour, "hand.npz": hand, "held.npz": held}.get(Path(sys.argv[-1]).name)
    if write is None:
        sys.exit("usage: python examples/own_recording.py pour.zarr, or hand.npz, or held.npz")
    write(sys.argv[1])
