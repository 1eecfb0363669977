"""What a policy's point cloud shows of Meta-World tasks, with the arm and without it, drawn side by side.

    python examples/clouds.py --task pick-place --task stick-pull --picture clouds.png

A row for each task. Left the scene, then clouds of as many points: of the whole robot from a plain camera of 84 x 84
pixels, as omp 0.1 made them; from a camera that sees four times finer what is kept; and from that without the arm, as
`omp prepare` makes them now. All are drawn as seen from the same place as the scene.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.clouds.camera import Camera, look_at
from omp_cli.core.suites.base import SUITES
from omp_cli.core.suites.metaworld import MetaWorldEnv

VIEW = look_at((0.95, -0.12, 0.88), (-0.01, 0.65, 0.16), 43.0, 400)
"""Where the pictures of Meta-World are taken from."""
CLOUDS: dict[str, dict[str, Any]] = {
    "robot shown, fovea 1": {},
    "robot shown, fovea 4": {"fovea": 4},
    "gripper, fovea 4": {"robot": "gripper", "fovea": 4},
}
POINTS = 256
TASKS = ("pick-place", "peg-unplug-side", "stick-pull")
COLOURS = {"arm": "#b0b0b0", "gripper": "#1f77b4", "marker": "#2ca02c"}
OBJECT, OBJECTS = "#d62728", "objects"


def seen(task: str, cloud: dict[str, Any], seed: int, step: int) -> tuple[NDArray[np.float32], list[str], MetaWorldEnv]:
    """A cloud (N, 3) after ``step`` steps of the expert, what each of its points lies on, and the environment."""
    env = SUITES.build(SUITES.parse({"name": "metaworld", "cloud": cloud})).make(task)
    assert isinstance(env, MetaWorldEnv)
    env.reset(seed)
    for _ in range(step):
        env.step(env.expert())
    points, geom = env.sensor.cropped(env._data, env.markers)
    names = env.sensor.lying_on(geom)
    where = {p.tobytes(): name for p, name in zip(points.astype(np.float32), names, strict=True)}
    sample = env.observe(["point_cloud"])["point_cloud"]
    return sample, [where[p.tobytes()] for p in sample], env


def flat(points: NDArray[np.float32], camera: Camera) -> NDArray[np.float64]:
    """Pixels (N, 2), column and row, at which a camera sees points (N, 3)."""
    inside = camera.to_camera(points)
    return np.array([1.0, -1.0]) * inside[:, :2] / -inside[:, 2:] * camera.focal + camera.size / 2


def draw(tasks: Sequence[str], seed: int, step: int, picture: Path) -> None:
    """Draw scenes and clouds, a task a row, and print how many points of each cloud lie on what."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = 1 + len(CLOUDS)
    figure, grid = pyplot.subplots(len(tasks), columns, figsize=(3 * columns, 3.15 * len(tasks)), squeeze=False)
    for task, (scene, *panels) in zip(tasks, grid, strict=True):
        for panel, (title, cloud) in zip(panels, CLOUDS.items(), strict=True):
            env = draw_cloud(panel, task, title, {"points": POINTS, **cloud}, seed, step)
        scene.imshow(env.picture(VIEW.size))
        scene.set_title(f"{task} after {step} steps", fontsize=10)
    for panel in grid.flat:
        panel.set(xlim=(0, VIEW.size), ylim=(VIEW.size, 0), xticks=[], yticks=[], aspect="equal")
    figure.tight_layout()
    figure.savefig(picture, dpi=72)
    pyplot.close(figure)


def draw_cloud(panel: Any, task: str, title: str, cloud: dict[str, Any], seed: int, step: int) -> MetaWorldEnv:
    """Draw one cloud, coloured by what its points lie on."""
    points, names, env = seen(task, cloud, seed, step)
    of = [name if name in COLOURS else OBJECTS for name in names]
    counts = Counter(of).most_common()
    print(f"{task}, {title}: " + ", ".join(f"{count} on {name}" for name, count in counts))
    places = flat(points, VIEW)
    for name, count in counts:
        chosen = [one == name for one in of]
        colour = COLOURS.get(name, OBJECT)
        panel.scatter(*places[chosen].T, s=4, color=colour, label=f"{name} ({count})", linewidths=0)
    panel.set_title(title, fontsize=10)
    panel.legend(loc="lower left", fontsize=8, frameon=False, markerscale=2)
    return env


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", action="append", help=f"repeatable; {', '.join(TASKS)} if none is named")
    parser.add_argument("--seed", type=int, default=1, help="start state")
    parser.add_argument("--step", type=int, default=30, help="steps of the expert before the picture")
    parser.add_argument("--picture", type=Path, default=Path("examples/results/clouds.png"))
    asked = parser.parse_args()
    draw(asked.task or TASKS, asked.seed, asked.step, asked.picture)
