"""One run of ``omp bench-latency``: all rows, the parts of a single policy, files and figures."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from omp_cli.core.base.device import tf32
from omp_cli.core.base.errors import OmpError, RunFailed
from omp_cli.core.base.files import to_json, write_text
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.run import Run
from omp_cli.core.deploy.backends import BACKENDS
from omp_cli.core.measure.latency.cells import Bench, subject_rows
from omp_cli.core.measure.latency.config import TF32, LatencyConfig
from omp_cli.core.measure.latency.machine import Watch, complaints
from omp_cli.core.measure.latency.parts import Part, Tick, all_parts
from omp_cli.core.measure.latency.plot import plot_nfe
from omp_cli.core.measure.latency.rows import LatencyRow, compared
from omp_cli.core.measure.latency.subjects import Published, TimedPolicy
from omp_cli.core.measure.latency.timer import Clock

SAMPLES, PLOT = "samples.json", "latency_vs_nfe.png"


def bench_latency(
    run: Run, subjects: Sequence[TimedPolicy], config: LatencyConfig, device: torch.device, progress: Progress
) -> dict[str, Any]:
    """Measure every subject; writes ``samples.json`` (all times) and, for several NFE, ``latency_vs_nfe.png``.

    Args:
        run: receives figures and files.
        subjects: one policy, or those of a table.
        config: what is measured.
        device: where policies run.
        progress: advances with every block of calls.

    Returns:
        The figures that go into the manifest.

    Raises:
        OmpError: what the first policy raised, when no row at all could be measured.
    """
    rows: list[LatencyRow] = []
    parts: list[Part] = []
    ticks: list[Tick] = []
    errors: list[OmpError] = []
    with_parts = len(subjects) == 1 if config.parts is None else config.parts
    with tempfile.TemporaryDirectory(prefix="omp-bench-") as scratch, tf32(config.dtype == TF32):
        backends = config.backends(len(subjects), tuple(BACKENDS), device.type == "cuda")
        bench = Bench(config, backends, Clock(device), Watch(device), progress, Path(scratch))
        for subject in subjects:
            try:
                found, more_parts, more_ticks = _measure(subject, bench, with_parts)
            except OmpError as error:  # one preset that cannot run here does not end a table; it has a row that says so
                errors.append(error)
                found, more_parts, more_ticks = _absent(subject, config, error), [], []
            rows += found
            parts += more_parts
            ticks += more_ticks
    if not any(row.statistics for row in rows):
        raise errors[0] if errors else RunFailed(f"nothing could be measured: {rows[0].reason}")
    figures = _figures(rows, parts, ticks, subjects, bench, run.manifest.hardware.place)
    _write(run, rows, figures["conditions"])
    bench.stopwatch.lap("files")
    figures["seconds_by_part"] = bench.stopwatch.rounded()
    run.metrics(**figures)
    return figures


def _measure(subject: TimedPolicy, bench: Bench, with_parts: bool) -> tuple[list[LatencyRow], list[Part], list[Tick]]:
    """Rows of one policy and its parts; it is freed before the next one is made."""
    policy = subject.load()
    bench.stopwatch.lap("making policies")
    nfe = bench.config.nfe or subject.nfe
    rows = list(subject_rows(subject, policy, nfe, bench))
    parts, ticks = all_parts(subject, policy, nfe, bench) if with_parts else ([], [])
    bench.stopwatch.lap("control ticks" if with_parts else "building and checking")
    del policy
    gc.collect()
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()
    return rows, parts, ticks


def _absent(subject: TimedPolicy, config: LatencyConfig, error: OmpError) -> list[LatencyRow]:
    reason = f"{error.message} ({error.hint})" if error.hint else error.message
    nfe = config.nfe or subject.nfe
    return [
        LatencyRow(subject.name, subject.label, k, b, status="missing", reason=reason)
        for b in config.batch
        for k in nfe
    ]


def _figures(
    rows: Sequence[LatencyRow],
    parts: Sequence[Part],
    ticks: Sequence[Tick],
    subjects: Sequence[TimedPolicy],
    bench: Bench,
    place: str,
) -> dict[str, Any]:
    config = bench.config
    marked = [(s.name, s.bench.reference_nfe) for s in subjects if s.bench.reference_nfe is not None]
    reference = marked[0] if marked else None  # policy and NFE of the row that speed-ups refer to
    machine = bench.watch.report() | {"clock_overhead_ms": round(bench.clock.overhead(), 5)}
    threads = f"{config.threads} CPU thread{'s' * (config.threads > 1)}"
    return {
        "dtype": config.dtype,
        "threads": config.threads,
        "reference": {"policy": reference[0], "nfe": reference[1]} if reference else None,
        "rows": [row.as_json() for row in compared(rows, reference)],
        "parts": [part.as_json() for part in parts],
        "ticks": [tick.as_json() for tick in ticks],
        "published": published(subjects),
        "not_asked_for": [name for name in BACKENDS if name not in bench.backends],
        "machine": machine,
        "warnings": [*complaints(machine), *_drifting(rows, config.drift_percent), *_contradictions(rows)],
        "conditions": f"{place}, {config.dtype}, {threads}",
    }


def published(subjects: Sequence[TimedPolicy]) -> list[dict[str, Any]]:
    """The papers' own figures of these policies, with the speed-up over the same paper's reference on its device."""
    marked: dict[tuple[str, str], float] = {}
    for subject in subjects:
        for figure in subject.bench.published:
            if figure.reference or figure.nfe == subject.bench.reference_nfe:
                marked[figure.source, figure.device] = figure.ms

    def row(subject: TimedPolicy, figure: Published) -> dict[str, Any]:
        base = marked.get((figure.source, figure.device))
        ratio = round(base / figure.ms, 1) if base else None
        hz = round(1000 / figure.ms, 1)
        return {"policy": subject.name, **figure.model_dump(exclude={"reference"}), "hz": hz, "speed_up": ratio}

    return [row(subject, figure) for subject in subjects for figure in subject.bench.published]


def _drifting(rows: Sequence[LatencyRow], limit: float) -> list[str]:
    """One line about the rows whose blocks disagree."""
    drifts = [(row.statistics.drift_percent, row) for row in rows if row.statistics and row.statistics.drift_percent]
    over = sorted(((d, row) for d, row in drifts if d > limit), key=lambda pair: -pair[0])
    if not over:
        return []
    worst, row = over[0]
    name = f"{row.label}, NFE {row.nfe}, {row.backend}"
    which = f"{len(over)} of {len(drifts)} rows"
    return [f"drift: block medians of {which} lie more than {limit:g} % apart (worst: {worst:.0f} %, {name})"]


def _contradictions(rows: Sequence[LatencyRow]) -> list[str]:
    """Rows whose device events claim more time than passed on the host."""
    found = []
    for row in rows:
        clock, other = (row.samples and row.samples.cross_check()) or ("", None)
        if clock == "host" and other and row.statistics and row.statistics.p50 > 1.02 * other.p50:
            name = f"{row.label}, NFE {row.nfe}, {row.backend}"
            found.append(f"{name}: device events say {row.statistics.p50:.3g} ms, the host's clock {other.p50:.3g} ms")
    return found


def _write(run: Run, rows: Sequence[LatencyRow], title: str) -> None:
    document = [
        {
            **{key: getattr(row, key) for key in ("policy", "nfe", "batch", "backend", "encoder")},
            **{f"{clock}_ms": _rounded(blocks) for clock, blocks in asdict(row.samples).items()},
        }
        for row in rows
        if row.samples
    ]
    write_text(run.folder / SAMPLES, to_json(document) + "\n")
    run.artifact(run.folder / SAMPLES)
    if plot_nfe(run.folder / PLOT, title, rows):
        run.artifact(run.folder / PLOT)


def _rounded(blocks: list[list[float]] | None) -> list[list[float]] | None:
    return None if blocks is None else [[round(time, 5) for time in block] for block in blocks]
