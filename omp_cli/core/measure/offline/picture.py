"""The picture of an evaluation without an environment: actions over an episode, as done and as predicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from omp_cli.core.base.files import atomic
from omp_cli.core.measure.offline.predict import Chunks
from omp_cli.core.measure.offline.scores import Floats


def plot_actions(path: Path, title: str, done: Floats, chunks: Sequence[Chunks]) -> None:
    """Each action dimension over the frames of an episode: demonstrated, one sample, and where 80 % of the samples are.

    Args:
        path: PNG to write.
        title: what is shown.
        done: (F, A) the demonstration, in the data's units.
        chunks: decisions at every E-th frame; each is shown the demonstration's observations, so errors do not add up.
    """
    from matplotlib.figure import Figure

    count = done.shape[1]
    columns = 1 if count <= 4 else 2
    rows = -(-count // columns)
    figure = Figure(figsize=(7 * columns, 1.2 + 1.5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel(order="F")
    for dimension, axes in enumerate(panels):
        if dimension >= count:
            axes.set_visible(False)
            continue
        axes.plot(done[:, dimension], color="black", linewidth=1.2, label="demonstrated")
        label: str | None = "predicted"
        for at in chunks:
            for frame, samples, valid in zip(at.frames, at.samples, at.valid, strict=True):
                steps = frame + np.flatnonzero(valid)
                values = samples[:, valid, dimension]
                axes.plot(steps, values[0], color="tab:orange", marker=".", markersize=3, linewidth=1, label=label)
                if len(values) > 1:
                    low, high = np.percentile(values, [10, 90], axis=0)
                    band = None if label is None else f"80 % of {len(values)} samples"
                    axes.fill_between(steps, low, high, color="tab:orange", alpha=0.25, linewidth=0, label=band)
                label = None
        axes.set_ylabel(f"action {dimension}", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    panels[rows - 1].set_xlabel("frame")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    figure.suptitle(title, fontsize=10)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=120)
