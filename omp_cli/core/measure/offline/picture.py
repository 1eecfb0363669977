"""The picture of an evaluation without an environment: actions over an episode, as done and as predicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from omp_cli.core.base.files import atomic
from omp_cli.core.measure.offline.predict import Chunks
from omp_cli.core.measure.offline.scores import Floats
from omp_cli.core.spec import Spec

FEW = 8
"""Dimensions up to which the panels lie below one another, and the picture is a fine one."""

NARROWEST = 2e-4
"""The least height of a panel, in the data's units."""


def plot_actions(path: Path, title: str, spec: Spec, done: Floats, chunks: Sequence[Chunks]) -> None:
    """Each action dimension over the frames of an episode: demonstrated, one sample, and where 80 % of the samples are.

    Args:
        path: PNG to write.
        title: what is shown.
        spec: names, unit and rate of the actions.
        done: (F, A) the demonstration, in the data's units.
        chunks: decisions at every E-th frame; each is shown the demonstration's observations, so errors do not add up.
    """
    from matplotlib.figure import Figure

    count, names = done.shape[1], spec.action_names
    columns = 1 if count <= FEW else 2
    rows = -(-count // columns)
    figure = Figure(figsize=(7 * columns, 1.2 + 1.5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel(order="F")
    steps, values = _curves(chunks)
    low, high = np.percentile(values, [10, 90], axis=1)
    for dimension, axes in enumerate(panels):
        if dimension >= count:
            axes.set_visible(False)
            continue
        axes.plot(done[:, dimension], color="black", linewidth=1.2, label="demonstrated")
        one = {"color": "tab:orange", "marker": ".", "markersize": 3, "linewidth": 1, "label": "predicted"}
        axes.plot(steps, values[:, 0, dimension], **one)
        if values.shape[1] > 1:
            band = {"color": "tab:orange", "alpha": 0.25, "linewidth": 0, "label": f"80 % of {values.shape[1]} samples"}
            axes.fill_between(steps, low[:, dimension], high[:, dimension], **band)
        low_end, high_end = axes.get_ylim()
        if high_end - low_end < NARROWEST:  # of a number that never changes, noise of rounding is not worth a scale
            axes.set_ylim((low_end + high_end - NARROWEST) / 2, (low_end + high_end + NARROWEST) / 2)
        axes.set_title(names[dimension], fontsize=8, loc="left", pad=3)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    for last in {rows - 1, count - 1}:  # of each column
        panels[last].set_xlabel(f"frame, {spec.control_hz:g} a second", fontsize=8)
        panels[last].tick_params(labelbottom=True)
    unit = spec.action_unit or "the data's units"
    figure.supylabel(f"action, in {unit}", fontsize=8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    figure.suptitle(title, fontsize=10)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=120 if count <= FEW else 80)


def _curves(chunks: Sequence[Chunks]) -> tuple[Floats, Floats]:
    """Frames (F,) and samples (F, m, A) of all decisions one after the other, with a gap (NaN) after each.

    One curve of all of them is drawn hundreds of times faster than a curve for each.
    """
    frames, values = [], []
    for at in chunks:
        windows, samples, steps, width = at.samples.shape
        found = np.full((windows, samples, steps + 1, width), np.nan)
        found[:, :, :steps] = np.where(at.valid[:, None, :, None], at.samples, np.nan)
        frames.append((at.frames[:, None] + np.arange(steps + 1.0)).ravel())
        values.append(found.swapaxes(1, 2).reshape(-1, samples, width))
    return np.concatenate(frames), np.concatenate(values)
