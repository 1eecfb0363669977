"""What papers report: success rates, milliseconds per decision and memory of a training step, from ``papers.toml``."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import Any


@functools.cache
def document() -> dict[str, Any]:
    """The content of ``papers.toml``."""
    return _read("papers.toml")


@functools.cache
def claims() -> dict[str, Any]:
    """``claims.toml``: what a paper says of its table, and the settings of the rows that can tell."""
    return _read("claims.toml")


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((resources.files("omp_cli.core.base") / name).read_text(encoding="utf-8"))


def latency(preset: str) -> list[dict[str, Any]]:
    """Milliseconds per decision of a preset: "source", "device", "nfe", "ms" of each; none if no paper has any."""
    return list(document()["latency"].get(preset, []))


def memory_gb(task: str, horizon: int, derivative: str) -> float | None:
    """GB of a training step in OMP's table (10^9 or 2^30 bytes, it does not say); None where it has no such row."""
    found: float | None = document()["memory"].get(task, {}).get(str(horizon), {}).get(derivative)
    return found
