"""Measuring the rows of one policy: every number of steps, backend and batch size, encoder cached and not."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from omp_cli.core.base.device import tf32
from omp_cli.core.base.errors import Diverged, one_line
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.deploy import backends
from omp_cli.core.deploy.base import Inputs
from omp_cli.core.deploy.graph import Decision
from omp_cli.core.deploy.parity import difference
from omp_cli.core.measure.latency.apart import Apart, Trial, decide, random_inputs, torch_dtype
from omp_cli.core.measure.latency.config import LatencyConfig
from omp_cli.core.measure.latency.machine import Watch
from omp_cli.core.measure.latency.rows import EAGER, Encoder, LatencyRow
from omp_cli.core.measure.latency.samples import Statistics, composed
from omp_cli.core.measure.latency.subjects import TimedPolicy
from omp_cli.core.measure.latency.timer import Call, CallFailed, Clock, Samples, Timed, seconds_of, time_together
from omp_cli.core.policy import Policy

Cell = tuple[int, int]
"""Batch size and NFE."""


@dataclass(frozen=True)
class Bench:
    """What all rows are measured with."""

    config: LatencyConfig
    backends: tuple[str, ...]
    clock: Clock
    watch: Watch
    progress: Progress
    folder: Path
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    @property
    def device(self) -> torch.device:
        """The device on which policies run."""
        return self.clock.device

    @property
    def dtype(self) -> torch.dtype:
        """The type in which networks compute."""
        return torch_dtype(self.config.dtype)

    def time(self, calls: Sequence[Call | Timed], title: str) -> list[Samples]:
        """Time calls in turn while the machine is watched."""
        self.stopwatch.lap("building and checking")
        with self.watch:
            taken = time_together(calls, self.clock, self.config.effort(), self.progress, title)
        self.stopwatch.lap("warming up and timing")
        return taken

    def inputs(self, policy: Policy, batch: int) -> list[Inputs]:
        """Random observations and noise on the device."""
        return random_inputs(policy, batch, self.config.seed, self.device)


def subject_rows(subject: TimedPolicy, policy: Policy, nfe: Sequence[int], bench: Bench) -> Iterable[LatencyRow]:
    """All rows of one policy, which is moved to the device, and its network cast to the dtype, in place.

    Args:
        subject: what it is.
        policy: made by it, in float32 on the CPU.
        nfe: evaluations of the network per decision.
        bench: how.
    """
    policy.to(bench.device)
    exact: dict[Cell, Tensor] = {}
    if bench.config.dtype != "float32":
        with tf32(False):
            exact = dict(_exact(policy, list(itertools.product(bench.config.batch, nfe)), bench))
        if bench.dtype != torch.float32:
            policy.lower(bench.dtype)
    tensors = [*policy.parameters(), *policy.buffers()]
    head = LatencyRow(
        subject.name,
        subject.label,
        nfe=1,
        batch=1,
        parameters=sum(p.numel() for p in policy.parameters()),
        megabytes=round(sum(x.numel() * x.element_size() for x in tensors) / 1e6, 3),
    )
    for batch in bench.config.batch:
        here = replace(head, batch=batch)
        try:
            yield from _rows(here, nfe, policy, bench, exact)
        except RuntimeError as error:  # torch has no kernel for this dtype, or too little memory: the rows say so
            reason = one_line(error, 200, typed=True)
            yield from (replace(here, nfe=k, status="failed", reason=reason) for k in nfe)


def _exact(policy: Policy, cells: Sequence[Cell], bench: Bench) -> Iterable[tuple[Cell, Tensor]]:
    """What the policy answers in float32 to the first sample, where that does not take too long."""
    for batch, nfe in cells:
        sample = bench.inputs(policy, batch)[0]
        if _Parts(policy, sample, bench.clock).seconds(nfe, False) <= bench.config.budget:
            yield (batch, nfe), Decision(policy, nfe)(*sample)


@dataclass(frozen=True)
class _Job:
    """A row before it is timed; without a call it is composed of parts, or says why it is not there."""

    row: LatencyRow
    call: Call | Timed | None = None


def _rows(
    head: LatencyRow, nfe: Sequence[int], policy: Policy, bench: Bench, exact: dict[Cell, Tensor]
) -> Iterable[LatencyRow]:
    """Rows of one batch size. All their blocks are taken in turn, so that their ratios survive a busy machine."""
    samples = bench.inputs(policy, head.batch)
    parts = _Parts(policy, samples[0], bench.clock)
    with ExitStack() as processes:  # of the backends; each lives until all of its rows' blocks are timed
        jobs = [job for k in nfe for job in _jobs(replace(head, nfe=k), policy, samples, parts, bench, processes)]
        calls = [job.call for job in jobs if job.call]
        by_parts: list[Call] = [parts.encode, parts.step] if any(job.row.status == "composed" for job in jobs) else []
        title = f"{head.label}, batch {head.batch}" if head.batch > 1 else head.label
        times = iter(bench.time([*by_parts, *calls], title))
    encode, step = [next(times).quoted() for _ in by_parts] or (None, None)
    for job in jobs:
        if job.call:
            row = _timed(job.row, next(times))
            if row.backend == EAGER and (row.batch, row.nfe) in exact:
                answer = Decision(policy, row.nfe)(*samples[0])
                moved = difference([exact[row.batch, row.nfe]], [answer], bench.dtype, policy.spec.action_rotations)
                row = replace(row, against_float32=moved)
            yield row
        elif job.row.status == "composed" and encode and step:
            yield _composed(job.row, encode, step)
        else:
            yield job.row


def _timed(row: LatencyRow, samples: Samples) -> LatencyRow:
    if samples.failure:
        return replace(row, status="failed", reason=samples.failure, build_seconds=None)
    return replace(row, statistics=samples.quoted(), samples=samples)


def _composed(row: LatencyRow, encode: Statistics, step: Statistics) -> LatencyRow:
    reencode = row.encoder == "each step"
    total = composed(encode, step, row.nfe, reencode)
    reason = f"{row.nfe if reencode else 1} x encode + {row.nfe} x step, from {total.n} calls of each"
    return replace(row, statistics=total, reason=reason)


def _jobs(
    head: LatencyRow, policy: Policy, samples: Sequence[Inputs], parts: _Parts, bench: Bench, processes: ExitStack
) -> Iterable[_Job]:
    """Rows of one number of steps: eager as published and with the encoder cached, then the other backends."""
    encoders: tuple[Encoder, ...] = ("each step", "once") if head.nfe > 1 else ("once",)
    budget, eager = bench.config.budget, backends.find(EAGER)
    slow = {name: head.nfe > 1 and parts.seconds(head.nfe, name == "each step") > budget for name in encoders}
    for encoder in encoders:
        row = replace(head, encoder=encoder)
        if slow[encoder]:
            yield _Job(replace(row, status="composed"))
            continue
        prepared = eager.prepare(Decision(policy, head.nfe, encoder == "each step"), samples[0], bench.folder)
        if not bool(prepared.call().isfinite().all()):
            raise Diverged(
                f"{head.label}: its actions in {bench.config.dtype} are not finite, and would be timed for nothing",
                "training has diverged: take an earlier checkpoint"
                if bench.dtype == torch.float32
                else "--dtype float32 has the range",
            )
        yield _Job(row, decide(prepared, samples, bench.config.place))
    for name in bench.backends[1:]:
        row = replace(head, backend=name)
        if slow["once"]:
            reason = f"one eager decision takes longer than the budget of {budget:g} s"
            yield _Job(replace(row, status="skipped", reason=reason))
        elif absent := backends.find(name).missing(bench.device, bench.dtype):
            yield _Job(replace(row, status="missing", reason=absent))
        else:
            yield _apart(row, policy, bench, processes)


def _apart(row: LatencyRow, policy: Policy, bench: Bench, processes: ExitStack) -> _Job:
    """A backend's row: it is built, compared with eager and timed in a process of its own, which may die."""
    trial = Trial.of(policy, row, bench.config, bench.device, Path(tempfile.mkdtemp(dir=bench.folder)))
    try:
        built = processes.enter_context(Apart(trial, bench.config.patience))
        outcome, seconds = built.build()
    except CallFailed as failed:
        return _Job(replace(row, status="failed", reason=str(failed)))
    row = replace(row, difference=outcome.difference)
    if outcome.status != "ready":
        return _Job(replace(row, status=outcome.status, reason=outcome.reason))
    return _Job(replace(row, build_seconds=round(seconds, 2)), built)


class _Parts:
    """Encoding and one step of the sampler, eager: to guess what a decision costs, or to compose it.

    Args:
        policy: on its device, in its dtype.
        sample: noise and observation.
        clock: the clock of the device.
    """

    def __init__(self, policy: Policy, sample: Inputs, clock: Clock) -> None:
        noise, *arrays = sample
        obs = dict(zip(policy.keys, arrays, strict=True))
        with torch.inference_mode():
            h = policy.embed(obs)

        @torch.inference_mode()
        def encode() -> Tensor:
            return policy.embed(obs)

        @torch.inference_mode()
        def step() -> Tensor:
            return policy.sample(h, noise, 1)

        self.encode, self.step = encode, step
        self._encode_seconds, self._step_seconds = seconds_of(encode, clock), seconds_of(step, clock)

    def seconds(self, nfe: int, reencode: bool) -> float:
        """A guess at one decision's time."""
        return (nfe if reencode else 1) * self._encode_seconds + nfe * self._step_seconds
