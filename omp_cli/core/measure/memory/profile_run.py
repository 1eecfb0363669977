"""One run of ``omp memprofile``: all rows, the accuracy of du/dt, plots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from omp_cli.core.base.device import tf32
from omp_cli.core.base.errors import RunFailed, UsageError
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.run import Run
from omp_cli.core.checkpoint import Checkpoint
from omp_cli.core.data.store import Dataset
from omp_cli.core.data.windows import make_windows
from omp_cli.core.deploy.graph import example_inputs, fresh_policy
from omp_cli.core.measure.memory.accuracy import epsilon_analysis
from omp_cli.core.measure.memory.cases import Case
from omp_cli.core.measure.memory.config import MemprofileConfig
from omp_cli.core.measure.memory.paper import published_gb
from omp_cli.core.measure.memory.plots import plot_errors, plot_memory
from omp_cli.core.measure.memory.profile import MemoryRow, compare, measure_cpu, measure_cuda, predict_cuda
from omp_cli.core.policy import Policy
from omp_cli.core.train.batches import batch_indices

MEMORY, ERRORS = "memory.png", "epsilon.png"
WINDOWS = 64
"""Windows that the error of du/dt is measured on."""


def profile_run(
    run: Run,
    cases: Sequence[Case],
    config: MemprofileConfig,
    device: torch.device,
    progress: Progress,
    measure: bool = True,
    snapshot: bool = False,
    trained: tuple[Checkpoint, Dataset | None] | None = None,
) -> dict[str, Any]:
    """Profile the cases, measure the error of du/dt of each preset (or of a checkpoint), write two plots.

    Args:
        run: receives figures and artifacts.
        cases: rows; each is measured and predicted.
        config: the run's configuration.
        device: CPU or CUDA.
        progress: advances with every row.
        measure: whether rows are measured, not only predicted.
        snapshot: write the allocator's history of every step measured on CUDA.
        trained: a checkpoint to analyse instead of fresh weights, and data to draw the batch from.

    Returns:
        The figures that go into the manifest: ``rows`` and ``accuracy``.
    """
    rows = profile_cases(run, cases, config, device, progress, measure, snapshot)
    figures: dict[str, Any] = {"rows": rows, "accuracy": []}
    if config.accuracy:
        figures["accuracy"] = _accuracy(cases, config, device, progress, trained)
    if rows:
        plot_memory(run.folder / MEMORY, rows)
        run.artifact(run.folder / MEMORY)
    if figures["accuracy"]:
        plot_errors(run.folder / ERRORS, figures["accuracy"])
        run.artifact(run.folder / ERRORS)
    run.metrics(**figures)
    return figures


def profile_cases(
    run: Run,
    cases: Sequence[Case],
    config: MemprofileConfig,
    device: torch.device,
    progress: Progress,
    measure: bool = True,
    snapshot: bool = False,
) -> list[MemoryRow]:
    """One row per case and way of counting, with ratios to the floor and errors of predictions."""
    if measure and device.type not in ("cpu", "cuda"):
        raise UsageError(f"memprofile measures on cpu and cuda, not on {device.type}", "use --device cpu")
    jobs: list[tuple[Case, Callable[[], MemoryRow]]] = []
    for number, case in enumerate(cases):
        counted = case.counted(measure, config.predict)
        if "measured" in counted and device.type == "cuda":
            file = run.folder / f"snapshot-{number:02d}-{case.derivative}.pickle" if snapshot else None
            jobs.append((case, partial(measure_cuda, case, device, config.repeats, file)))
        elif "measured" in counted:
            jobs.append((case, partial(measure_cpu, case, config.repeats)))
        if "predicted" in counted:
            jobs.append((case, partial(predict_cuda, case)))
    rows: list[MemoryRow] = []
    progress.start("profiling", len(jobs))
    for case, job in jobs:
        try:
            with tf32(case.config.train.precision == "tf32"):
                row = job()
        except torch.OutOfMemoryError:
            what = f"{case.name}, {case.derivative}, horizon {case.config.chunk.horizon}"
            raise RunFailed(f"{what}: out of memory on {device}", "a smaller --batch, --points or --preset") from None
        rows.append({**row, "published_gb": published_gb(row)})
        progress.advance(1, case=f"{case.name} {case.derivative}", dynamic=f"{row['dynamic'] / 2**20:.0f} MiB")
    for file in sorted(run.folder.glob("snapshot-*.pickle")):
        run.artifact(file)
    compare(rows)
    return rows


def _accuracy(
    cases: Sequence[Case],
    config: MemprofileConfig,
    device: torch.device,
    progress: Progress,
    trained: tuple[Checkpoint, Dataset | None] | None,
) -> list[dict[str, Any]]:
    """The epsilon analysis of a checkpoint, or of fresh weights of each preset at its first horizon."""
    if trained is not None:
        checkpoint, data = trained
        policy = checkpoint.load("raw", device)
        batch = _made_up(policy, config.seed) if data is None else _real(policy, data, config.seed)
        subjects = [(checkpoint.run.name, f"step {checkpoint.meta.step}", policy, batch)]
    else:
        first = {case.name: case for case in reversed(cases) if case.derivative != "none"}
        policies = [(name, fresh_policy(c.config.policy(), c.spec, config.seed)) for name, c in reversed(first.items())]
        subjects = [(name, "fresh weights", p, _made_up(p, config.seed)) for name, p in policies]
    progress.start("error of du/dt", len(subjects))
    found = []
    for name, weights, policy, (obs, actions) in subjects:
        obs = {key: x.to(device) for key, x in obs.items()}
        rows = epsilon_analysis(policy.to(device), obs, actions.to(device), config.epsilons, config.seed)
        best = {row["precision"]: config.epsilons[row["dde"].index(min(row["dde"]))] for row in rows}
        found.append(
            {
                "name": name,
                "horizon": policy.chunk.horizon,
                "weights": weights,
                "data": "made up" if trained is None or trained[1] is None else str(trained[1].path),
                "epsilons": list(config.epsilons),
                "rows": rows,
                "best": best,
            }
        )
        progress.advance(1)
    return found


def _made_up(policy: Policy, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Random observations and actions."""
    noise, *arrays = example_inputs(policy, WINDOWS, seed)
    shape = (*noise.shape[:2], policy.spec.action_dim)
    actions = 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1
    return dict(zip(policy.keys, arrays, strict=True)), actions


def _real(policy: Policy, data: Dataset, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Windows of the data that a policy was trained on."""
    windows = make_windows(data.episode_ends, policy.chunk)
    index = batch_indices(len(windows), WINDOWS, seed, 0).numpy()
    obs = {key: torch.from_numpy(data.arrays[key][windows.obs[index]]) for key in policy.keys}
    return obs, torch.from_numpy(data.arrays["action"][windows.action[index]])
