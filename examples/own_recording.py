"""A small recording in DP3's layout, as a robot's own script writes it: `python examples/own_recording.py pour.zarr`.

A hand goes to a thing that lies somewhere on a table and that a depth camera sees: 20 episodes of 40 frames at 30 Hz.
Actions are velocities in metres a second, so they leave [-1, 1] or not as they please. Needs zarr and NumPy alone.
"""

import sys

import numpy as np
import zarr

EPISODES, FRAMES, POINTS, HZ = 20, 40, 1024, 30
COLOUR = (200, 120, 40)


def main(path: str) -> None:
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


if __name__ == "__main__":
    main(sys.argv[1])
