"""The memory of one training step: measured on CUDA, measured on the CPU, predicted for CUDA."""

from __future__ import annotations

import functools
import gc
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from omp_cli.core.base.errors import UsageError
from omp_cli.core.deploy.graph import example_inputs, fresh_policy
from omp_cli.core.encoders.pointnet import PointNet
from omp_cli.core.measure.memory.allocator import CachingAllocator
from omp_cli.core.measure.memory.cases import Case
from omp_cli.core.measure.memory.ledger import Event, Ledger
from omp_cli.core.measure.memory.step import META, TrainingStep, nbytes
from omp_cli.core.nets import NETS

MEASURED_CUDA, MEASURED_CPU, PREDICTED = "measured cuda", "measured cpu", "predicted cuda"
PHASES = ("forward", "backward", "update")
COUNTED = 8
"""Windows in which critical points are counted."""
MemoryRow = dict[str, Any]


def measure_cpu(case: Case, repeats: int = 2) -> MemoryRow:
    """Every allocation of the real step, from the allocator's own events."""
    step = TrainingStep(case.config, case.spec, torch.device("cpu"))
    step.run()  # makes gradients and optimiser state, and imports what forward-mode AD needs
    seconds = _fastest(step.run, repeats)
    peaks, kept = phase_peaks(cpu_allocations(step))
    return _row(case, step, MEASURED_CPU, peaks, kept, seconds)


def cpu_allocations(step: TrainingStep) -> list[tuple[str, int]]:
    """(phase, bytes) of allocations (> 0) and releases (< 0) on the CPU, in order.

    Of two steps, the first one under the phase "": the profiler reports no release of what it has not seen allocated,
    so the gradients that the second step drops have to be made in its sight.
    """
    from torch.profiler import ProfilerActivity, profile, record_function

    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # otherwise the profiler tells stderr that it starts and stops
    step.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step.run()
        with record_function("omp::forward"):
            report = step.forward()
        with record_function("omp::backward"):
            step.backward(report)
            del report
        with record_function("omp::update"):
            step.update()
    events = profiler.profiler.kineto_results.events()
    starts = sorted((e.start_ns(), e.name().removeprefix("omp::")) for e in events if e.name().startswith("omp::"))
    sizes = sorted(((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"), key=lambda pair: pair[0])
    return [(next((name for start, name in reversed(starts) if when >= start), ""), size) for when, size in sizes]


def phase_peaks(allocations: Iterable[tuple[str, int]]) -> tuple[dict[str, int], int]:
    """Largest live bytes in each phase, and those at the end of the forward phase, above those before it.

    Args:
        allocations: (phase, bytes) in order; what is before the forward phase has phase "".
    """
    live = kept = start = 0
    peaks = dict.fromkeys(PHASES, 0)
    for phase, size in allocations:
        start = start if phase else live + size
        live += size
        if phase:
            peaks[phase] = max(peaks[phase], live - start)
        if phase == "forward":
            kept = live - start
    return peaks, kept


def measure_cuda(case: Case, device: torch.device, repeats: int = 3, snapshot: Path | None = None) -> MemoryRow:
    """Peaks of the real step as CUDA's caching allocator counts them.

    Args:
        case: what to measure.
        device: a CUDA device.
        repeats: timed steps; the fastest counts.
        snapshot: file for the allocator's history of one step (pytorch.org/memory_viz shows it).
    """
    # What libraries keep for themselves from their first products on, in each thread, is no step's memory: autograd's
    # thread multiplies in the backward pass.
    square = torch.ones(8, 8, device=device, requires_grad=True)
    torch.addmm(square[0], square, square).sum().backward()
    del square
    gc.collect()
    torch.cuda.empty_cache()
    before, held = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    step = TrainingStep(case.config, case.spec, device)
    for _ in range(3):
        step.run()
    seconds = _fastest(step.run, repeats, lambda: torch.cuda.synchronize(device))
    gc.collect()
    if snapshot is not None:
        torch.cuda.memory._record_memory_history(max_entries=100_000)
    start = torch.cuda.memory_allocated(device)
    peaks: dict[str, int] = {}

    def phase(name: str, work: Callable[[], Any]) -> Any:
        torch.cuda.reset_peak_memory_stats(device)
        result = work()
        torch.cuda.synchronize(device)
        peaks[name] = torch.cuda.max_memory_allocated(device) - start
        return result

    report = phase("forward", step.forward)
    kept = torch.cuda.memory_allocated(device) - start
    phase("backward", functools.partial(step.backward, report))
    del report
    phase("update", step.update)
    reserved = torch.cuda.memory_reserved(device) - held  # segments are kept, so after the step this is the peak
    if snapshot is not None:
        torch.cuda.memory._dump_snapshot(str(snapshot))
        torch.cuda.memory._record_memory_history(enabled=None)
    row = _row(case, step, MEASURED_CUDA, peaks, kept, seconds)
    # The allocator's own sum, with the rounding of every block; others' tensors on the device are not ours.
    return {**row, "peak_allocated": start - before + max(peaks.values()), "peak_reserved": reserved}


def predict_cuda(case: Case) -> MemoryRow:
    """The step on meta tensors, its storages handed to a simulated caching allocator.

    What kernels take for themselves (workspaces of cuDNN and cuBLAS) is not in it.
    """
    if not case.predictable:
        raise UsageError("a prediction for CUDA is made in float32 only: tensors without data have no autocast")
    step = TrainingStep(case.config, case.spec, META)
    selected = critical_share(case)
    ledger = Ledger(selected)
    tensors = step.static_tensors()
    ledger.adopt([*tensors["weights"], *tensors["ema"], *step.data_tensors()])
    with ledger:
        step.prepare()
        ledger.phase("forward")
        report = step.forward()
        ledger.phase("backward")
        step.backward(report)
        del report
        ledger.phase("update")
        step.update()
    del tensors
    changes, reserved = replay(ledger.events)
    peaks, kept = phase_peaks(changes)
    before = sum(size for phase, size in changes if not phase)
    row = _row(case, step, PREDICTED, peaks, kept, None)
    return {
        **row,
        "peak_allocated": before + max(peaks.values()),
        "peak_reserved": reserved,
        "critical_share": round(selected, 4) if getattr(case.config.encoder, "two_pass", False) else None,
    }


def replay(events: Sequence[Event]) -> tuple[list[tuple[str, int]], int]:
    """Hand the events to a simulated allocator.

    Returns:
        (phase, bytes) by which its allocated memory changed, in order, and reserved bytes at the end.
    """
    allocator, phase = CachingAllocator(), ""
    changes = []
    for event in events:
        before, phase = allocator.allocated, event.phase or phase
        if event.nbytes > 0:
            allocator.malloc(event.storage, event.nbytes)
        elif event.nbytes < 0:
            allocator.free(event.storage)
        changes.append((phase, allocator.allocated - before))
    return changes, allocator.reserved


def critical_share(case: Case) -> float:
    """Share of the points that are critical, counted on a real encoder with random weights and random clouds.

    At most channels / points; training and real clouds move it, so a prediction names the share it was made with.
    1 where the encoder has no second pass.
    """
    small = NETS.parse({"name": "film-mlp", "hidden": 8, "depth": 1})
    policy = fresh_policy(case.config.policy().model_copy(update={"net": small}), case.spec, case.config.seed)
    nets = [module for module in policy.modules() if isinstance(module, PointNet) and module.two_pass]
    if not nets:
        return 1.0
    rows: list[int] = []
    for net in nets:
        net.layers.register_forward_pre_hook(
            lambda _, args: rows.append(args[0].shape[:-1].numel()) if torch.is_grad_enabled() else None
        )
    arrays = example_inputs(policy, COUNTED, case.config.seed)[1:]
    obs = dict(zip(policy.keys, arrays, strict=True))
    policy.encoder(obs)
    points = case.describe()["points"]
    return sum(rows) / (COUNTED * case.config.chunk.n_obs * points)


def _fastest(work: Callable[[], None], repeats: int, finish: Callable[[], None] = lambda: None) -> float:
    """Seconds of the fastest call; ``finish`` waits for the device."""
    best = float("inf")
    for _ in range(repeats):
        finish()
        start = time.perf_counter()
        work()
        finish()
        best = min(best, time.perf_counter() - start)
    return best


def _row(
    case: Case,
    step: TrainingStep,
    how: str,
    peaks: Mapping[str, int],
    kept: int,
    seconds: float | None,
) -> MemoryRow:
    """One result; sizes in bytes.

    Args:
        case: what was profiled.
        step: the step of the case, after at least one run.
        how: measured or predicted, and for what.
        peaks: largest bytes above those before the step, by phase.
        kept: bytes at the end of the forward phase above those before the step.
        seconds: time of a step.
    """
    static = step.static_bytes()
    dynamic = max(peaks.values())
    return {
        **case.describe(),
        "how": how,
        **step.policy.sizes(),
        "static": static,
        "static_total": sum(static.values()),
        "dynamic": dynamic,
        "dynamic_by_phase": dict(peaks),
        "kept_for_backward": kept,
        "peak_allocated": sum(static.values()) + nbytes(step.data_tensors()) + dynamic,
        "peak_reserved": None,
        "step_ms": None if seconds is None else 1e3 * seconds,
    }


def compare(rows: Sequence[MemoryRow]) -> None:
    """Add to each row how many times its floor's dynamic memory and time it takes, and to predictions their error.

    The floor is plain flow matching, the row with derivative "none" that was made in the same way and is otherwise
    the same. A prediction's error is relative to the measurement on CUDA of the same case, where there is one.
    """
    setting = ("name", "encoder", "two_pass", "horizon", "points", "batch", "draws", "precision")

    def key(row: MemoryRow, *more: str) -> tuple[Any, ...]:
        return tuple(row[name] for name in (*setting, *more))

    floors = {key(row, "how"): row for row in rows if row["derivative"] == "none"}
    measured = {key(row, "derivative"): row for row in rows if row["how"] == MEASURED_CUDA}
    for row in rows:
        if (floor := floors.get(key(row, "how"))) is not None:
            row["dynamic_ratio"] = row["dynamic"] / floor["dynamic"]
            row["time_ratio"] = row["step_ms"] / floor["step_ms"] if row["step_ms"] else None
        truth = measured.get(key(row, "derivative"))
        if row["how"] == PREDICTED and truth is not None:
            row["error_dynamic"] = row["dynamic"] / truth["dynamic"] - 1
            row["error_allocated"] = row["peak_allocated"] / truth["peak_allocated"] - 1
            row["error_reserved"] = row["peak_reserved"] / truth["peak_reserved"] - 1
