"""Tiny policies for the tests of latency, as documents of presets that do not exist."""

from pathlib import Path
from typing import Any

import torch

from omp_cli.core.base.progress import Silent
from omp_cli.core.deploy.backends import BACKENDS
from omp_cli.core.measure.latency.cells import Bench, subject_rows
from omp_cli.core.measure.latency.config import LatencyConfig
from omp_cli.core.measure.latency.machine import Watch
from omp_cli.core.measure.latency.rows import LatencyRow
from omp_cli.core.measure.latency.subjects import TimedPolicy, from_document
from omp_cli.core.measure.latency.timer import Clock

CPU = torch.device("cpu")
TOY = {
    "suite": "toy",
    "task": "reach",
    "action_dim": 2,
    "state_dim": 5,
    "points": 48,
    "end_effector": [0, 1, 2],
    "max_steps": 60,
    "control_hz": 20.0,
}
QUICK = {"calls": 4, "blocks": 2, "warmup": 1, "warmup_seconds": 0.0, "ticks": 3}


def document(encoder: str = "pointcloud", **bench: Any) -> dict[str, Any]:
    """A preset of a few thousand parameters that sees the toy."""
    sizes = {"pointcloud": {"channels": [8, 16], "points": 32}, "light-vit": {"width": 16, "heads": 2}}
    return {
        "method": {"name": "meanflow"},
        "net": {"name": "film-mlp", "hidden": 16, "depth": 1},
        "encoder": {"name": encoder, **sizes.get(encoder, {})},
        "train": {"steps": 10},
        "bench": {"spec": TOY, **bench},
    }


def subject(**bench: Any) -> TimedPolicy:
    """The tiny policy."""
    return from_document("tiny", document(**bench))


def bench_of(folder: Path, **settings: Any) -> Bench:
    """A quick measurement on the CPU."""
    config = LatencyConfig(**{**QUICK, **settings})
    return Bench(config, config.backends(1, tuple(BACKENDS), on_cuda=False), Clock(CPU), Watch(CPU), Silent(), folder)


def rows_of(folder: Path, nfe: tuple[int, ...] = (1,), **settings: Any) -> list[LatencyRow]:
    """Rows of the tiny policy by eager, unless other backends are asked for."""
    policy = subject().load()
    return list(subject_rows(subject(), policy, nfe, bench_of(folder, **{"backend": ("eager",), **settings})))
