"""The parts of a decision one by one, and the whole control tick from the sensors to the actions on the host."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from omp_cli.core.base.errors import OmpError
from omp_cli.core.measure.latency.cells import Bench
from omp_cli.core.measure.latency.samples import Statistics, statistics
from omp_cli.core.measure.latency.sensors import Frame, Sensors, sensors
from omp_cli.core.measure.latency.subjects import TimedPolicy
from omp_cli.core.measure.latency.timer import Call
from omp_cli.core.policy import Policy


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        name: what is done.
        per: "frame" or "decision".
        statistics: ms by the host's clock, to the end of the device's work; None when it could not be measured.
        reason: why not, or what stands for what.
        within: the part that it is a share of.
    """

    name: str
    per: str
    statistics: Statistics | None
    reason: str = ""
    within: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The part as the manifest and ``--json`` have it."""
        ms = self.statistics and self.statistics.as_json()
        return {"name": self.name, "per": self.per, "within": self.within, "reason": self.reason, "ms": ms}


@dataclass(frozen=True)
class Tick:
    """The whole control tick: the frames that a decision reads, the decision, its actions on the host.

    Attributes:
        nfe: evaluations of the network.
        observe: ms spent on frames.
        decide: ms from frames on the host to actions on the host.
        total: both.
        step_ms: one control step, 1 / control rate.
        chunk_ms: the executed chunk: the next one must be there by then if observations are taken meanwhile.
        late_for_step: share of ticks longer than one control step.
        late_for_chunk: share of ticks longer than the chunk.
    """

    nfe: int
    observe: Statistics
    decide: Statistics
    total: Statistics
    step_ms: float
    chunk_ms: float
    late_for_step: float
    late_for_chunk: float

    def as_json(self) -> dict[str, Any]:
        """The tick as the manifest and ``--json`` have it."""
        return {key: x.as_json() if isinstance(x, Statistics) else x for key, x in vars(self).items()}


def measure_parts(policy: Policy, nfe: Sequence[int], bench: Bench) -> list[Part]:
    """Parts of a decision at batch size 1, eager: host to device, encode, sample, un-normalise, device to host."""
    noise, *arrays = bench.inputs(policy, 1)[0]
    obs = dict(zip(policy.keys, arrays, strict=True))
    on_host = [x.cpu().numpy() for x in (noise, *arrays)]
    with torch.inference_mode():
        h = policy.embed(obs)
        z_0 = policy.sample(h, noise, 1)
        actions = policy.executed(z_0, obs)
    calls: dict[str, Call] = {
        "host to device": lambda: [torch.from_numpy(x).to(bench.device) for x in on_host],
        "encode": lambda: policy.embed(obs),
        **{f"sample, NFE {k}": functools.partial(policy.sample, h, noise, k) for k in nfe},
        "un-normalise": lambda: policy.executed(z_0, obs),
        "device to host": lambda: actions.cpu().numpy(),
    }
    with torch.inference_mode():
        times = bench.time(list(calls.values()), "parts")
    return [Part(name, "decision", statistics(took.host)) for name, took in zip(calls, times, strict=True)]


def measure_frames(source: Sensors, frames: int) -> list[Part]:
    """One frame of the sensors, and what it is made of."""
    source.frame()  # the first one builds cameras
    whole: list[float] = []
    pieces: dict[str, list[float]] = {}
    for _ in range(frames):
        source.advance()
        before, start = dict(source.seconds), perf_counter()
        source.frame()
        whole.append(1000 * (perf_counter() - start))
        for name, seconds in source.seconds.items():
            pieces.setdefault(name, []).append(1000 * (seconds - before.get(name, 0.0)))
    parts = [Part("observation", "frame", statistics([whole]), source.note)]
    for name, times in pieces.items():
        parts.append(Part(name, "frame", statistics([times]), within="observation"))
    return parts


def measure_ticks(policy: Policy, source: Sensors, nfe: int, bench: Bench) -> Tick:
    """Control ticks as an evaluation has them: of an executed chunk, the last frames are observed; then it decides."""
    chunk, spec = policy.chunk, policy.spec
    history: deque[Frame] = deque([source.frame()] * chunk.n_obs, maxlen=chunk.n_obs)
    noise = torch.Generator().manual_seed(bench.config.seed)
    observe, decide = [], []
    _actions(policy, history, noise, nfe, bench)
    for _ in range(bench.config.ticks):
        seconds = 0.0
        for step in range(chunk.execute):
            source.advance()
            if step >= chunk.execute - chunk.n_obs:
                start = perf_counter()
                history.append(source.frame())
                seconds += perf_counter() - start
        start = perf_counter()
        _actions(policy, history, noise, nfe, bench)
        decide.append(1000 * (perf_counter() - start))
        observe.append(1000 * seconds)
    total = np.array(observe) + np.array(decide)
    step_ms = 1000 / spec.control_hz
    return Tick(
        nfe=nfe,
        observe=statistics([observe]),
        decide=statistics([decide]),
        total=statistics([total.tolist()]),
        step_ms=step_ms,
        chunk_ms=chunk.execute * step_ms,
        late_for_step=float((total > step_ms).mean()),
        late_for_chunk=float((total > chunk.execute * step_ms).mean()),
    )


def _actions(
    policy: Policy, history: Sequence[Frame], generator: torch.Generator, nfe: int, bench: Bench
) -> NDArray[np.float32]:
    """Frames on the host to actions (E, A) on the host."""
    stacked = {key: np.stack([frame[key] for frame in history])[None] for key in policy.keys}
    obs = {key: torch.from_numpy(x).to(bench.device) for key, x in stacked.items()}
    noise = torch.randn(1, policy.chunk.horizon, policy.spec.learned_action_dim, generator=generator)
    actions = policy.act(obs, noise.to(bench.device), nfe)
    return actions[0].cpu().numpy()


def all_parts(subject: TimedPolicy, policy: Policy, nfe: Sequence[int], bench: Bench) -> tuple[list[Part], list[Tick]]:
    """Every part and the control tick; an observation that cannot be made here is listed as missing."""
    decision = measure_parts(policy, nfe, bench)
    try:
        source = sensors(subject, policy, bench.config.seed)
    except OmpError as error:
        return [Part("observation", "frame", None, f"missing: {error.message}"), *decision], []
    try:
        bench.progress.start("control ticks", len(nfe) + 1)
        frames = measure_frames(source, bench.config.ticks)
        bench.progress.advance()
        ticks = []
        for k in nfe:
            ticks.append(measure_ticks(policy, source, k, bench))
            bench.progress.advance()
    finally:
        source.close()
    return [*frames, *decision], ticks
