"""Manifests of evaluations that never took place, written as real ones are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omp_cli.core.base import manifest as m
from omp_cli.core.base.statistics import spread, wilson

SETTINGS = {
    "method.name": "omp",
    "method.derivative": "dde",
    "method.alignment.weight": 0.5,
    "net.name": "film-mlp",
    "net.hidden": 256,
    "encoder.name": "pointcloud",
    "encoder.origin": "gripper",
    "train.steps": 2500,
    "train.log_every": 50,
}


def config(**values: Any) -> dict[str, m.Value]:
    return {key: m.Value(value=value, source="flag") for key, value in values.items()}


def rate_row(successes: int, episodes: int, step: int) -> dict[str, Any]:
    return {"checkpoint_step": step, "success_any": wilson(successes, episodes).as_dict()}


def return_row(returns: Sequence[float], step: int) -> dict[str, Any]:
    return {"checkpoint_step": step, "metric": "return", "return": spread(returns).as_dict()}


def write_eval(
    folder: Path,
    task: str,
    successes: int = 0,
    *,
    seed: int | None = 0,
    label: str | None = "omp dde",
    suite: str = "metaworld",
    episodes: int = 50,
    nfe: int = 1,
    curve: Sequence[int] = (),
    returns: Sequence[float] | None = None,
    settings: dict[str, Any] | None = None,
    data: str = "",
    status: m.Status = "succeeded",
    started: str = "2026-11-22T10:00:00.000000+00:00",
    max_steps: int | None = None,
    finetuned_by: str | None = None,
    weights: str = "ema",
    precision: str | None = None,
    checkpoint: str = "",
    export: str = "",
    execute: int | None = None,
    by_episode: dict[str, list[Any]] | None = None,
    starts: str | None = None,
    training: dict[str, Any] | None = None,
    demonstrations: float | None = None,
) -> Path:
    """One manifest in ``folder``; ``curve`` are successes out of 20 of earlier checkpoints. Returns its path."""
    chosen = SETTINGS | (settings or {})
    if finetuned_by:  # its run knows how it was fine-tuned, not how it was trained
        chosen = {key: value for key, value in chosen.items() if not key.startswith("train.")}
    content = data or hashlib.sha256(f"{suite}/{task}".encode()).hexdigest()
    last = rate_row(successes, episodes, 2500) if returns is None else return_row(returns, 2500)
    metrics = {
        "suite": suite,
        "task": task,
        "weights": "ema",
        "nfe": nfe,
        "selection": "last",
        **last,
        "policy": {
            "method": chosen["method.name"],
            "seed": seed,
            "steps": 2500,
            "finetuned_by": finetuned_by,
            "settings": chosen,
            "training": training or {},
            "data": {"content_sha256": content, "demos": 10, "settings": {"name": suite, "cloud.points": 512}},
        },
    }
    if demonstrations is not None:
        metrics["demonstrations"] = {"mean": demonstrations}
    if by_episode is not None:
        metrics["by_episode"] = by_episode
    if starts is not None:
        metrics["starts_sha256"] = starts
    if curve:
        steps = range(2500 // (len(curve) + 1), 2500, 2500 // (len(curve) + 1))
        metrics["curve"] = [rate_row(n, 20, step) for n, step in zip(curve, steps, strict=False)]
    manifest = m.Manifest(
        command="eval",
        status=status,
        started_at=started,
        finished_at=started,
        config=config(episodes=episodes, nfe=nfe, weights=weights, seed=0, max_steps=max_steps, label=label)
        | ({} if precision is None else config(precision=precision))  # an early omp knew one alone
        | ({} if execute is None else config(execute=execute)),
        versions={"python": "3.11.7", "omp": "0.1.0", "torch": "2.13.0"},
        hardware=m.Hardware(platform="Linux x86_64", cpu="a processor", cores=2, memory_gib=8.0),
        inputs=[m.Input(kind="checkpoint", path="run", sha256=checkpoint or f"{label}-{task}-{seed}")]
        + ([m.Input(kind="export", path="policy.onnx", sha256=export)] if export else []),
        metrics=metrics,
    )
    folder.mkdir(parents=True, exist_ok=True)
    return m.write_manifest(folder, manifest)


def write_offline(
    folder: Path,
    label: str,
    *,
    samples: int = 16,
    stride: int = 1,
    episodes: Sequence[int] = (3, 7),
    checkpoint: str = "one",
    started: str = "2026-11-22T10:00:00.000000+00:00",
    draws: bool = True,
) -> Path:
    """One manifest of ``omp eval --offline``; a policy that does not draw has errors of its one answer."""
    names = ("sample", "mean_of_samples", "samples") if draws else ("policy",)
    error = {"relative": {"value": 0.5, "low": None, "high": None}}
    manifest = m.Manifest(
        command="eval",
        status="succeeded",
        started_at=started,
        finished_at=started,
        config=config(samples=samples, stride=stride, weights="ema", seed=0, label=label),
        hardware=m.Hardware(platform="Linux x86_64", cpu="a processor", cores=2, memory_gib=8.0),
        inputs=[m.Input(kind="checkpoint", path="run", sha256=checkpoint)],
        metrics={
            **{"suite": "toy", "task": "reach", "checkpoint_step": 30, "weights": "ema", "nfe": 1, "selection": "last"},
            "offline": {
                **{"on": "held-out", "content_sha256": "d" * 64, "episodes": list(episodes), "decisions": 20},
                "samples": samples if draws else 1,
                "errors": dict.fromkeys((*names, "last_action", "mean_of_data"), error),
            },
            "policy": {
                **{"method": "omp", "seed": 0, "steps": 30, "finetuned_by": None, "settings": SETTINGS, "training": {}},
                "data": {"content_sha256": "d" * 64, "demos": 10, "settings": {}},
            },
        },
    )
    folder.mkdir(parents=True, exist_ok=True)
    return m.write_manifest(folder, manifest)


def write_latency(
    folder: Path,
    nfe: int,
    ms: float,
    policy: str = "light",
    checkpoint: str | None = None,
    hour: int = 10,
    dtype: str = "float32",
) -> Path:
    """One manifest of ``omp bench-latency``."""
    usual = {"policy": policy, "nfe": nfe, "batch": 1, "backend": "eager", "encoder": "once"}
    manifest = m.Manifest(
        command="bench-latency",
        status="succeeded",
        started_at=f"2026-11-22T{hour:02}:00:00.000000+00:00",
        hardware=m.Hardware(platform="Linux x86_64", cpu="a processor", cores=2, memory_gib=8.0),
        inputs=[m.Input(kind="checkpoint", path="run", sha256=checkpoint)] if checkpoint else [],
        metrics={"dtype": dtype, "rows": [{**usual, "ms": {"p50": ms}}, {**usual, "backend": "onnx", "ms": None}]},
    )
    folder.mkdir(parents=True, exist_ok=True)
    return m.write_manifest(folder, manifest)
