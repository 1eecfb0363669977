"""Errors and scores of predicted action chunks against recorded ones, summed up by episode.

Legend: W windows, m samples, E executed steps, A action dimension, N episodes.

An error is a root mean square: of one action dimension in the data's units, over dimensions in units of the spread, the
standard deviation of the demonstrations' actions. There 1 is what playing their mean action comes to, 0 is perfect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.statistics import Interval, bootstrap_of_ratios

Floats = NDArray[np.float64]
SAMPLE, MEAN, SAMPLES, POLICY = "sample", "mean_of_samples", "samples", "policy"
LAST, DATA = "last_action", "mean_of_data"
BASELINES = (LAST, DATA)
"""What costs nothing: the action before the decision, repeated; the mean action of the demonstrations."""


def chunk_distance(a: Floats, b: Floats, valid: NDArray[np.bool_]) -> Floats:
    """Root mean square difference of chunks (..., E, A) over the steps that are valid (..., E) and all dimensions."""
    squares = ((a - b) ** 2).mean(-1)
    return np.asarray(np.sqrt((squares * valid).sum(-1) / valid.sum(-1)))


def energy_score(samples: Floats, truth: Floats, valid: NDArray[np.bool_]) -> Floats:
    """Energy score E|X - y| - E|X - X'| / 2 of m >= 2 samples of a distribution over chunks: lower is better.

    Gneiting and Raftery 2007 (JASA 102:359), equation 22, with ``chunk_distance``; X and X' are different samples, so
    the estimate is unbiased in m. It is strictly proper: on average no forecast scores better than the distribution
    that the truth is drawn from, however wide that is. Of a single chunk it is the distance to the truth.

    Args:
        samples: (W, m, E, A).
        truth: (W, E, A).
        valid: (W, E), the steps that were recorded.

    Returns:
        (W,).
    """
    count, seen = samples.shape[1], valid[:, None]
    to_truth = chunk_distance(samples, truth[:, None], seen).mean(1)
    among = np.zeros(len(samples))
    for shift in range(1, count):  # each ordered pair once
        among += chunk_distance(samples, np.roll(samples, shift, axis=1), seen).mean(1)
    return np.asarray(to_truth - among / (count - 1) / 2)


@dataclass
class Sums:
    """Sums over the windows of each episode, from which all figures are made.

    Attributes:
        steps: E.
        spread: (A,) what a unit of relative error is, in the data's units.
        moving: (A,) whether the dimension varies in the demonstrations; others have no relative error.
        squares: by predictor, for each episode: its squared errors in the data's units, (E, A).
        scores: by predictor, for each episode: its energy scores.
        counts: for each episode: the number of its recorded actions by step, (E,).
        windows: for each episode: the number of its decisions.
    """

    steps: int
    spread: Floats
    moving: NDArray[np.bool_]
    squares: dict[str, list[Floats]] = field(default_factory=dict)
    scores: dict[str, list[float]] = field(default_factory=dict)
    counts: list[Floats] = field(default_factory=list)
    windows: list[int] = field(default_factory=list)

    def begin(self) -> None:
        """The next episode."""
        self.counts.append(np.zeros(self.steps))
        self.windows.append(0)

    def add(self, predicted: Mapping[str, Floats], truth: Floats, valid: NDArray[np.bool_]) -> None:
        """Account for windows of the present episode.

        Args:
            predicted: chunks (W, m, E, A) by predictor; the m samples of one are alternatives.
            truth: (W, E, A).
            valid: (W, E), the steps that were recorded: the episode ended before the others.
        """
        self.windows[-1] += len(truth)
        self.counts[-1] += valid.sum(0)
        scaled = truth[..., self.moving] / self.spread[self.moving]
        for name, chunks in predicted.items():
            errors = ((chunks - truth[:, None]) ** 2).mean(1)
            self._of(self.squares, name)[-1] += (errors * valid[..., None]).sum(0)
            if not self.moving.any():
                continue
            relative = chunks[..., self.moving] / self.spread[self.moving]
            if name == SAMPLE and chunks.shape[1] > 1:
                self._of(self.scores, SAMPLES)[-1] += float(energy_score(relative, scaled, valid).sum())
            distance = chunk_distance(relative, scaled[:, None], valid[:, None]).mean(1)
            self._of(self.scores, name)[-1] += float(distance.sum())

    def _of(self, sums: dict[str, list[Any]], name: str) -> list[Any]:
        """The sums of a predictor, with one for each episode so far."""
        found = sums.setdefault(name, [])
        found += [0.0] * (len(self.windows) - len(found))
        return found

    def relative(self, name: str) -> list[float | None]:
        """The relative error of each episode; None where no dimension varies."""
        squares, counts = self._overall(name)
        return [float(np.sqrt(s / n)) if n else None for s, n in zip(squares, counts, strict=True)]

    def figures(self, name: str, seed: int) -> dict[str, Any]:
        """Errors and energy score of a predictor, each with the 95 % interval of a bootstrap over episodes.

        "relative": over dimensions and steps; "by_step": of each executed step; "by_dimension": in the data's units,
        "by_dimension_relative" in the spread's (None where it does not vary); "by_step_and_dimension": in the data's
        units, without intervals; "energy_score" in the spread's.
        """
        found: dict[str, Any] = {}
        if name in self.squares:
            squares, counts = np.stack(self.squares[name]), np.stack(self.counts)
            by_dimension = self._roots(squares.sum(1), counts.sum(1, keepdims=True), seed)
            scale = [float(s) if moves else None for s, moves in zip(self.spread, self.moving, strict=True)]
            found["by_dimension"] = [_plain(x) for x in by_dimension]
            found["by_dimension_relative"] = [
                None if s is None else _plain(x.divided(s)) for x, s in zip(by_dimension, scale, strict=True)
            ]
            cells = np.sqrt(squares.sum(0) / np.maximum(counts.sum(0), 1)[:, None])
            found["by_step_and_dimension"] = [[_digits(x) for x in row] for row in cells]
        if name in self.squares and self.moving.any():
            overall = self._overall(name)
            found["relative"] = _plain(self._roots(overall[0][:, None], overall[1][:, None], seed)[0])
            by_step = (squares[..., self.moving] / self.spread[self.moving] ** 2).mean(-1)
            found["by_step"] = [_plain(x) for x in self._roots(by_step, counts, seed)]
        if name in self.scores:
            scores, windows = np.array(self.scores[name])[:, None], np.array(self.windows, float)[:, None]
            found["energy_score"] = _plain(bootstrap_of_ratios(scores, windows, seed=seed)[0])
        return found

    def _overall(self, name: str) -> tuple[Floats, Floats]:
        """Squared errors in units of the spread, meant over what varies, and recorded actions, of each episode (N,)."""
        counts = np.stack(self.counts).sum(1)
        if not self.moving.any():
            return np.zeros_like(counts), np.zeros_like(counts)
        squares = np.stack(self.squares[name])[..., self.moving] / self.spread[self.moving] ** 2
        return squares.mean(-1).sum(1), counts

    @staticmethod
    def _roots(squares: Floats, counts: Floats, seed: int) -> list[Interval]:
        found = bootstrap_of_ratios(squares, np.broadcast_to(counts, squares.shape), np.sqrt, seed=seed)
        return [x if x.low is None else Interval(x.value, max(x.low, 0.0), x.high) for x in found]


def _plain(x: Interval) -> dict[str, float | None]:
    return {"value": _digits(x.value), "low": _digits(x.low), "high": _digits(x.high)}


def _digits(x: float | None) -> float | None:
    """Six significant digits: errors have the data's units, which may be small."""
    return None if x is None else float(f"{x:.6g}")
