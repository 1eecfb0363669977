"""One line of the table: a decision at one number of steps and one batch size, by one backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from omp_cli.core.deploy.parity import Difference
from omp_cli.core.measure.latency.samples import Statistics
from omp_cli.core.measure.latency.timer import Samples

EAGER = "eager"

Encoder = Literal["once", "each step"]
Status = Literal["measured", "composed", "missing", "failed", "refused", "skipped"]


@dataclass(frozen=True)
class LatencyRow:
    """One line of the table.

    Attributes:
        policy: the subject's name.
        label: the subject's label.
        nfe: evaluations of the network per decision.
        batch: observations per decision.
        backend: the runtime.
        encoder: "once" per decision, or at "each step", as published.
        status: "measured"; "composed" of measured parts; or why there is no figure.
        reason: one line where there is no figure.
        parameters: number of the policy's parameters; None when the policy could not be made.
        megabytes: size of weights and normalisation in this dtype, in 1e6 bytes.
        build_seconds: time that it took to compile or export.
        difference: from eager in the same dtype.
        against_float32: difference of eager in another dtype from eager in float32; it may be of any size.
        statistics: statistics by the clock that is quoted, ms.
        speed_up: over the reference row of the table.
        over_eager: eager's p50 over this one's, measured in turn with it.
        samples: all times; not part of the JSON form.
    """

    policy: str
    label: str
    nfe: int
    batch: int
    backend: str = EAGER
    encoder: Encoder = "once"
    status: Status = "measured"
    reason: str = ""
    parameters: int | None = None
    megabytes: float | None = None
    build_seconds: float | None = None
    difference: Difference | None = None
    against_float32: Difference | None = None
    statistics: Statistics | None = None
    speed_up: float | None = None
    over_eager: float | None = None
    samples: Samples | None = None

    def as_json(self) -> dict[str, Any]:
        """The row as the manifest and ``--json`` have it."""
        parts = ("statistics", "samples", "difference", "against_float32")
        other = self.samples.cross_check() if self.samples else None
        return {
            **{key: value for key, value in vars(self).items() if key not in parts},
            "difference": self.difference and self.difference.as_json(),
            "against_float32": self.against_float32 and self.against_float32.as_json(),
            "clock": self.samples.clock if self.samples else None,
            "ms": self.statistics and self.statistics.as_json(),
            "cross_check": other and {"clock": other[0], "ms": other[1].as_json()},
        }


def compared(rows: Sequence[LatencyRow], reference: tuple[str, int] | None) -> list[LatencyRow]:
    """Rows with their ratios.

    Args:
        rows: all of a table.
        reference: policy and NFE of the row that speed-ups refer to: eager, encoder once, the same batch size.
    """
    eager = {(r.policy, r.nfe, r.batch): r.statistics for r in rows if r.backend == EAGER and r.encoder == "once"}

    def ratio(base: Statistics | None, row: LatencyRow) -> float | None:
        return round(base.p50 / row.statistics.p50, 3) if base and row.statistics else None

    return [
        replace(
            row,
            over_eager=ratio(eager.get((row.policy, row.nfe, row.batch)), row),
            speed_up=ratio(eager.get((*reference, row.batch)), row) if reference else None,
        )
        for row in rows
    ]
