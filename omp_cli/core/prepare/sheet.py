"""The contact sheet of a data set: what the demonstrations look like to a person and to the policy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from omp_cli.core.data.store import Arrays
from omp_cli.core.files import atomic

SHOWN = 4


def contact_sheet(path: Path, title: str, episodes: Sequence[Arrays]) -> None:
    """Draw up to four episodes, a row each: first picture, first cloud, middle cloud, last cloud, last picture, actions.

    Args:
        path: PNG to write.
        title: suite and task.
        episodes: recorded candidates with ``first_picture``, ``last_picture``, ``action`` and maybe ``point_cloud``.
    """
    from matplotlib.figure import Figure

    rows = episodes[:SHOWN]
    columns = 6 if "point_cloud" in rows[0] else 3
    figure = Figure(figsize=(2.4 * columns, 2.4 * len(rows) + 0.5), layout="constrained")
    figure.suptitle(f"{title}: {len(episodes)} demonstrations, {sum(len(e['action']) for e in episodes)} frames")
    for r, episode in enumerate(rows):
        frames = [0, len(episode["action"]) // 2, len(episode["action"]) - 1]
        panels = ["first_picture", *(frames if columns == 6 else []), "last_picture", "action"]
        for c, panel in enumerate(panels):
            place = (len(rows), columns, r * columns + c + 1)
            if isinstance(panel, int):
                _draw_cloud(figure, place, episode["point_cloud"], panel)
                continue
            axes = figure.add_subplot(*place)
            if panel == "action":
                axes.plot(episode["action"], linewidth=0.8)
                axes.set_title("actions", fontsize=8)
                axes.tick_params(labelsize=6)
            else:
                axes.imshow(episode[panel])
                axes.set_title(panel.replace("_", " "), fontsize=8)
                axes.axis("off")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _draw_cloud(figure, place: tuple[int, int, int], clouds: np.ndarray, frame: int) -> None:  # type: ignore[no-untyped-def]
    """One cloud of an episode, (T, N, 3), coloured by height, in limits that hold for the whole episode."""
    axes = figure.add_subplot(*place, projection="3d")
    cloud = clouds[frame]
    axes.scatter(*cloud.T, c=cloud[:, 2], s=1.5, cmap="viridis")
    low, high = clouds.min((0, 1)), clouds.max((0, 1))
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], max(high[2], low[2] + 0.1)))
    axes.set_box_aspect(np.maximum(high - low, 0.1))
    axes.set_title(f"cloud, step {frame}", fontsize=8)
    axes.tick_params(labelsize=5, pad=-3)
    axes.view_init(elev=25, azim=30)
