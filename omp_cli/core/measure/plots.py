"""Plots of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omp_cli.core.files import atomic


def plot_success(path: Path, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Success over training steps with Wilson 95 % intervals.

    Args:
        path: PNG to write.
        title: what was evaluated.
        rows: each with ``checkpoint_step`` and ``success_any`` (``Rate.as_dict``).
    """
    from matplotlib.figure import Figure

    steps = [row["checkpoint_step"] for row in rows]
    rates = [row["success_any"] for row in rows]
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.fill_between(steps, [r["low"] for r in rates], [r["high"] for r in rates], alpha=0.2, label="Wilson 95 %")
    axes.plot(steps, [r["rate"] for r in rates], marker="o", label="success at any step")
    for step, rate in zip(steps, rates, strict=True):
        label = f"{rate['successes']}/{rate['episodes']}"
        axes.annotate(label, (step, rate["rate"]), textcoords="offset points", xytext=(0, -13), ha="center", fontsize=8)
    axes.set(xlabel="training step", ylabel="success on held-out start states", ylim=(-0.05, 1.05))
    axes.set_title(f"{title}, NFE {rows[-1]['nfe']}, {rows[-1]['weights']} weights")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=130)
