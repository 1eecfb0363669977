"""One policy in a control loop: the run that keeps what it did, its times, its episodes, what of them is recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from omp_cli.core.base.files import to_json
from omp_cli.core.base.run import EPISODES, Run
from omp_cli.core.data.store import STORE
from omp_cli.core.deploy.config import DeployConfig
from omp_cli.core.deploy.judging import Outcomes, Verdict
from omp_cli.core.deploy.player import Player
from omp_cli.core.deploy.recording import Recorder
from omp_cli.core.deploy.ticks import TickTimes

TICKS = "ticks.jsonl"
WARM_UP = 5
"""Decisions on the first frame that do not count: the first ones allocate memory and choose kernels."""


class Deployment:
    """Context manager around what a policy does on a robot; however it ends, the run has its figures and files.

    Args:
        run: the run whose folder and manifest receive them.
        player: the policy.
        config: rate, seed, what is recorded.
        by: who judges; None where nothing is judged, as in a replay.
        note: called with whole sentences.

    Attributes:
        clock: what its ticks took.
        outcomes: its episodes, and what is said of them.
    """

    def __init__(
        self, run: Run, player: Player, config: DeployConfig, by: str | None, note: Callable[[str], None]
    ) -> None:
        self.run, self.player, self._seed = run, player, config.seed
        self.hz = config.hz or player.signature.control_hz
        self.clock = TickTimes()
        self.outcomes = Outcomes(None if by is None else run.folder / EPISODES, by or "")
        self._recorder = None
        if config.record != "nothing":
            self._recorder = Recorder(run, player.decider, self.hz, config.record, note)
        self._begun = False
        self._held = ExitStack()
        self.ticks_file = run.folder / TICKS

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if self._recorder is not None:
                stack.enter_context(self._recorder)
            self._log = stack.enter_context(self.ticks_file.open("w", 1, encoding="utf-8"))
            self._held = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._held.__exit__(kind, error, at)
        finally:
            self.run.metrics(**self.figures())
            for path in (self.ticks_file, self.run.folder / EPISODES, self.run.folder / STORE):
                if path.exists():
                    self.run.artifact(path)

    def warm_up(self, frame: Mapping[str, Any]) -> None:
        """Decide on a frame, for nothing."""
        for _ in range(WARM_UP):
            self.player.act_chunk(frame)
        self.player.decisions = 0
        self.player.reset(self._seed)

    def begin(self) -> None:
        """Another episode of the policy; one seed determines the noise of all."""
        self.player.reset(None if self._begun else self._seed)
        self._begun = True

    def tick(self, row: Mapping[str, Any]) -> None:
        """One tick of an episode has passed; each line is written out at once."""
        self._log.write(to_json(row) + "\n")
        if self._recorder is not None:
            self._recorder.take(self.player.seen, row)

    def end(self, verdict: Verdict) -> None:
        """The episode is over, or was cut."""
        if self._recorder is not None:
            self._recorder.end(verdict)

    def said(self) -> str:
        """How far it came, in a few words."""
        rate = self.outcomes.rate
        text = f"{len(self.clock.late)} ticks, {self.clock.missed} missed deadlines"
        return text if rate is None else f"{text}, success {rate}"

    def figures(self) -> dict[str, Any]:
        """What goes into the manifest; JSON types."""
        signature = self.player.signature
        head = {"task": signature.task, "nfe": signature.nfe, "hz": round(self.hz, 6), **self.player.decider.figures()}
        recorded = {} if self._recorder is None else self._recorder.figures()
        return {**head, **self.clock.figures(), **self.outcomes.figures(), **recorded}
