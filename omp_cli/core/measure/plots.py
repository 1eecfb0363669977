"""Plots of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omp_cli.core.base.files import atomic
from omp_cli.core.base.statistics import counted


def plot_success(path: Path, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Success over training steps with Wilson 95 % intervals.

    Args:
        path: PNG to write.
        title: what was evaluated.
        rows: each with ``checkpoint_step`` and its rates (``summarise``).
    """
    figure, axes = _figure()
    steps = [row["checkpoint_step"] for row in rows]
    rates = [counted(row) for row in rows]
    rule = "at the end" if "success_end" in rows[-1] else "at any step"
    axes.fill_between(steps, [r["low"] for r in rates], [r["high"] for r in rates], alpha=0.2, label="Wilson 95 %")
    axes.plot(steps, [r["rate"] for r in rates], marker="o", label=f"success {rule}")
    for step, rate in zip(steps, rates, strict=True):
        label = f"{rate['successes']}/{rate['episodes']}"
        axes.annotate(label, (step, rate["rate"]), textcoords="offset points", xytext=(0, -13), ha="center", fontsize=8)
    axes.set(xlabel="training step", ylabel="success on held-out start states", ylim=(-0.05, 1.05))
    axes.legend(loc="lower right")
    _finish(path, title, figure, axes, rows)


def plot_return(path: Path, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Return over training steps: mean with standard error and extremes, and the demonstrations' mean if known.

    Args:
        path: PNG to write.
        title: what was evaluated.
        rows: each with ``checkpoint_step`` and ``return`` (``Spread.as_dict``); the last perhaps with
            ``demonstrations``.
    """
    name = rows[-1].get("counts", "return")
    figure, axes = _figure()
    steps = [row["checkpoint_step"] for row in rows]
    returns = [row["return"] for row in rows]
    axes.fill_between(steps, [r["min"] for r in returns], [r["max"] for r in returns], alpha=0.15, label="min .. max")
    errors = [r["sem"] or 0.0 for r in returns]
    axes.errorbar(
        steps,
        [r["mean"] for r in returns],
        errors,
        marker="o",
        capsize=3,
        label="mean, \N{PLUS-MINUS SIGN} standard error",
    )
    if "demonstrations" in rows[-1]:
        mean = rows[-1]["demonstrations"]["mean"]
        axes.axhline(mean, linestyle="--", color="grey", label=f"mean of the demonstrations, {mean:.4g}")
    axes.set(xlabel="training step", ylabel=f"{name} from held-out start states")
    axes.legend(loc="best")
    _finish(path, title, figure, axes, rows)


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    return figure, figure.add_subplot()


def _finish(path: Path, title: str, figure: Any, axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title(f"{title}, NFE {rows[-1]['nfe']}, {rows[-1]['weights']} weights")
    axes.grid(alpha=0.3)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=130)
