"""The episodes of a data set that are to be shown, cut out of its arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.run import Run
from omp_cli.core.data.store import Arrays, Dataset
from omp_cli.core.view.config import ViewConfig

PAGE, RECORDING = "episodes.html", "episodes.rrd"


@dataclass(frozen=True)
class ShownEpisode:
    """One episode.

    Attributes:
        number: its number in the data set, from 0.
        arrays: its frames, each (T, ...).
        shown: (K,) the frames of which picture and cloud are shown, the first and the last among them.
    """

    number: int
    arrays: Arrays
    shown: NDArray[np.int64]

    def clouds(self, points: int) -> NDArray[np.float32]:
        """Shown clouds (K, at most ``points``, 3), metres; points are left out evenly."""
        clouds = self.arrays["point_cloud"][self.shown, :, :3]
        kept = np.linspace(0, clouds.shape[1] - 1, min(points, clouds.shape[1])).round().astype(int)
        return np.asarray(clouds[:, kept], np.float32)

    def pictures(self) -> NDArray[np.uint8]:
        """Shown pictures (K, H, W x cameras, 3); cameras, which lie in the channels, stand side by side."""
        pictures = self.arrays["img"][self.shown]
        if pictures.shape[-1] % 3:
            return np.repeat(pictures[..., :1], 3, axis=-1)
        cameras = np.split(pictures, pictures.shape[-1] // 3, axis=-1)
        return np.concatenate(cameras, axis=2)


def chosen_episodes(dataset: Dataset, config: ViewConfig) -> Iterator[ShownEpisode]:
    """The episodes that the configuration names; UsageError where there is none of that number."""
    ends = dataset.episode_ends
    if config.first >= len(ends):
        raise UsageError(
            f"first: episode {config.first} of {len(ends)}, which count from 0", "choose a smaller --first"
        )
    starts = np.concatenate([[0], ends[:-1]])
    for number in range(config.first, min(config.first + config.episodes, len(ends))):
        begin, end = int(starts[number]), int(ends[number])
        shown = np.unique(np.linspace(0, end - begin - 1, min(config.frames, end - begin)).round().astype(np.int64))
        yield ShownEpisode(number, {key: array[begin:end] for key, array in dataset.arrays.items()}, shown)


def view(run: Run, dataset: Dataset, config: ViewConfig) -> dict[str, Any]:
    """Write the page, and the recording where it is asked for, into the run's folder; returns the figures.

    Raises:
        UsageError: there is no episode of that number.
        MissingDependency: a recording is asked for and ``rerun-sdk`` is not installed.
    """
    from omp_cli.core.view.page import write_page
    from omp_cli.core.view.recording import write_recording

    episodes = list(chosen_episodes(dataset, config))
    files: list[Path] = []
    if config.rerun:  # first: it may be that it cannot be written
        files.append(write_recording(run.folder / RECORDING, dataset, episodes))
    files.insert(0, write_page(run.folder / PAGE, dataset, episodes, config))
    figures: dict[str, Any] = {
        "task": dataset.spec.task,
        "episodes": len(episodes),
        "of": len(dataset.episode_ends),
        "frames": sum(len(episode.arrays["action"]) for episode in episodes),
        "control_hz": dataset.spec.control_hz,
        "arrays": {key: list(array.shape[1:]) for key, array in dataset.arrays.items()},
    }
    run.metrics(**figures)
    for file in files:
        run.artifact(file)
    return figures
