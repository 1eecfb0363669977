"""What a policy's point cloud shows of a Meta-World task, with the arm and without it, drawn side by side.

    python examples/clouds.py --task pick-place --picture examples/pictures/clouds.png

Left the scene; in the middle the cloud of 0.1 (all links, a plain camera of 84 x 84 pixels), right the cloud without
the arm from a foveated camera. Both clouds are drawn as seen from the same place as the scene.
"""

from __future__ import annotations

import argparse
from collections import Counter
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
    "all links, camera 84 x 84": {"points": 512},
    "without the arm, fovea of factor 4": {"points": 256, "robot": "gripper", "fovea": 4},
}
COLOURS = {"arm": "#b0b0b0", "gripper": "#1f77b4", "marker": "#2ca02c"}
OBJECT = "#d62728"


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


def draw(task: str, seed: int, step: int, picture: Path) -> None:
    """Draw scene and clouds, and print how many points of each cloud lie on what."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 1 + len(CLOUDS), figsize=(4 * (1 + len(CLOUDS)), 4.3))
    for panel, (title, cloud) in zip(panels[1:], CLOUDS.items(), strict=True):
        points, names, env = seen(task, cloud, seed, step)
        counts = Counter(name if name in COLOURS else "objects" for name in names)
        print(f"{title}: " + ", ".join(f"{count} on {name}" for name, count in counts.most_common()))
        places = flat(points, VIEW)
        for name, count in counts.most_common():
            chosen = [(n if n in COLOURS else "objects") == name for n in names]
            label = f"{name} ({count})"
            panel.scatter(*places[chosen].T, s=5, color=COLOURS.get(name, OBJECT), label=label, linewidths=0)
        panel.set_title(f"{title}: {len(points)} points", fontsize=10)
        panel.legend(loc="lower left", fontsize=8, frameon=False, markerscale=2)
    panels[0].imshow(env.picture(VIEW.size))
    panels[0].set_title(f"{task} after {step} steps", fontsize=10)
    for panel in panels:
        panel.set(xlim=(0, VIEW.size), ylim=(VIEW.size, 0), xticks=[], yticks=[], aspect="equal")
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="pick-place")
    parser.add_argument("--seed", type=int, default=1, help="start state")
    parser.add_argument("--step", type=int, default=30, help="steps of the expert before the picture")
    parser.add_argument("--picture", type=Path, default=Path("examples/pictures/clouds.png"))
    asked = parser.parse_args()
    draw(asked.task, asked.seed, asked.step, asked.picture)
