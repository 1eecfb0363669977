"""The contact sheet of a data set: what the demonstrations look like to a person and to the policy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.files import atomic
from omp_cli.core.data.store import Arrays

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 4
VIEW = np.array([[0.5, 0.87, 0.0], [-0.43, 0.25, 0.87]])
"""World to picture, (2, 3): seen from the front right, 30 degrees above the table."""


def contact_sheet(path: Path, title: str, episodes: Sequence[Arrays]) -> None:
    """Draw up to four episodes, a row each: first and last picture, first, middle and last cloud, actions.

    Args:
        path: PNG to write.
        title: suite and task.
        episodes: recorded candidates with ``action``; maybe ``first_picture``, ``last_picture`` and ``point_cloud``.
    """
    from matplotlib.figure import Figure

    rows = episodes[:SHOWN]
    clouds, pictures = "point_cloud" in rows[0], "first_picture" in rows[0]
    columns = 1 + 3 * clouds + 2 * pictures
    height = 2.4 * len(rows) + 0.6
    figure = Figure(figsize=(2.4 * columns, height))
    figure.subplots_adjust(0.02, 0.2 / height, 0.96, 1 - 0.6 / height, wspace=0.12, hspace=0.25)
    shown = f"{len(episodes)} demonstration{'s' * (len(episodes) > 1)}"
    figure.suptitle(f"{title}: {shown}, {sum(len(e['action']) for e in episodes)} frames", y=1 - 0.1 / height, va="top")
    for r, episode in enumerate(rows):
        frames = [0, len(episode["action"]) // 2, len(episode["action"]) - 1]
        first, last = (["first_picture"], ["last_picture"]) if pictures else ([], [])
        panels: list[str | int] = [*first, *(frames if clouds else []), *last, "action"]
        for c, panel in enumerate(panels):
            axes = figure.add_subplot(len(rows), columns, r * columns + c + 1)
            if isinstance(panel, int):
                _draw_cloud(axes, episode["point_cloud"], panel)
            elif panel == "action":
                axes.plot(episode["action"], linewidth=0.8)
                axes.set_title("actions", fontsize=8)
                axes.tick_params(labelsize=6)
                axes.yaxis.tick_right()  # on the left they would stand in the picture before
            else:
                axes.imshow(episode[panel])
                axes.set_title(panel.replace("_", " "), fontsize=8)
                axes.axis("off")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _draw_cloud(axes: Axes, clouds: NDArray[Any], frame: int) -> None:
    """One cloud of an episode, (T, N, 3), from obliquely above; colour is height, limits hold for the episode."""
    flat = clouds @ VIEW.T
    across, up = flat[frame].T
    axes.scatter(across, up, c=clouds[frame, :, 2], s=2, cmap="viridis")
    low, high = flat.min((0, 1)), flat.max((0, 1))
    axes.set(xlim=(low[0] - 0.02, high[0] + 0.02), ylim=(low[1] - 0.02, high[1] + 0.02), aspect="equal")
    axes.set_title(f"cloud, step {frame}", fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])
