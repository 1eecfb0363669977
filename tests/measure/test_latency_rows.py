"""Rows: backends that are missing, refused or broken; composed rows; ratios; other dtypes."""

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from omp_cli.core.base.errors import RunFailed, UsageError
from omp_cli.core.base.progress import Silent
from omp_cli.core.base.run import Run
from omp_cli.core.deploy.backends import BACKENDS
from omp_cli.core.deploy.base import Backend, Inputs, Prepared
from omp_cli.core.measure.latency.bench import SAMPLES, bench_latency, published
from omp_cli.core.measure.latency.config import LatencyConfig
from omp_cli.core.measure.latency.rows import LatencyRow, compared
from omp_cli.core.measure.latency.samples import statistics
from omp_cli.core.measure.latency.subjects import TimedPolicy, from_document
from omp_cli.core.policy import Policy
from tests.measure.latency_policies import CPU, QUICK, document, rows_of, subject


class Changed(Prepared):
    """Eager with something done to its answer."""

    def __init__(
        self, module: nn.Module, inputs: Inputs, scale: float, wait: float = 0.0, lives: int | None = None
    ) -> None:
        self.module, self.inputs, self.scale, self.wait, self.lives = module, inputs, scale, wait, lives

    def place(self, *inputs: Tensor) -> None:
        self.inputs = inputs

    def call(self) -> Tensor:
        time.sleep(self.wait)
        if self.lives is not None:
            self.lives -= 1
            if self.lives == 0:
                os.kill(os.getpid(), signal.SIGSEGV)
        return self.scale * self.module(*self.inputs)


class Fake(Backend):
    """A backend whose behaviour is told."""

    name = "fake"

    def __init__(
        self, scale: float = 1.0, absent: str | None = None, broken: bool = False, wait: float = 0.0, dies: str = ""
    ) -> None:
        self.scale, self.absent, self.broken, self.wait, self.dies = scale, absent, broken, wait, dies

    def missing(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
        return self.absent

    def prepare(self, module: nn.Module, inputs: Inputs, folder: Path) -> Prepared:
        if self.broken:
            raise OSError("no such kernel")
        if self.dies == "building":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.dies == "never":
            time.sleep(600)
        return Changed(module, inputs, self.scale, self.wait, lives=8 if self.dies == "timed" else None)


@pytest.mark.parametrize(
    ("fake", "status", "reason"),
    [
        (Fake(absent="needs a moon rocket"), "missing", "needs a moon rocket"),
        (Fake(scale=1.01), "refused", "differs from eager"),
        (Fake(broken=True), "failed", "no such kernel"),
    ],
)
def test_a_backend_without_a_figure_is_a_row_that_says_why(
    fake: Fake, status: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "fake", fake)
    eager, other = rows_of(tmp_path, backend=("fake",))
    assert (eager.backend, eager.status) == ("eager", "measured")  # always there: the others are compared with it
    assert (other.backend, other.status, other.statistics) == ("fake", status, None)
    assert reason in other.reason
    document = json.loads(json.dumps(other.as_json(), allow_nan=False))
    assert (document["status"], document["ms"]) == (status, None)
    if status == "refused":
        assert document["difference"]["max_rel"] == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    ("dies", "reason"),
    [
        ("building", "signal 11 while being built"),
        ("timed", "signal 11 while being timed"),
        ("never", "no answer within 8 s"),
    ],
)
def test_a_backend_that_crashes_or_hangs_is_a_row_and_the_others_stand(
    dies: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "bad", Fake(dies=dies))
    monkeypatch.setitem(BACKENDS, "good", Fake())
    asked = ("bad",) if dies == "never" else ("bad", "good")
    eager, bad, *good = rows_of(tmp_path, backend=asked, patience=8.0 if dies == "never" else 120.0)
    assert (bad.backend, bad.status, bad.statistics, bad.build_seconds) == ("bad", "failed", None, None)
    assert bad.reason.startswith(reason)
    for row in (eager, *good):
        assert row.status == "measured"
        assert row.statistics is not None
        assert row.statistics.n == QUICK["calls"] * QUICK["blocks"]


def test_on_cuda_the_graph_by_which_policies_decide_is_measured_unasked() -> None:
    known = tuple(BACKENDS)
    assert LatencyConfig().backends(1, known, on_cuda=False) == ("eager", "onnx")
    assert LatencyConfig().backends(1, known, on_cuda=True) == ("eager", "onnx", "cudagraph")
    assert LatencyConfig().backends(3, known, on_cuda=True) == ("eager", "cudagraph")
    assert LatencyConfig(backend=("eager",)).backends(1, known, on_cuda=True) == ("eager",)


def test_a_backend_that_agrees_is_timed_beside_eager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "fake", Fake(wait=0.01))
    eager, other = compared(rows_of(tmp_path, backend=("fake",)), None)
    assert other.statistics is not None
    assert other.statistics.min >= 10
    assert other.statistics.n == QUICK["calls"] * QUICK["blocks"]
    assert other.difference is not None
    assert other.difference.max_abs == 0
    assert (eager.over_eager, eager.speed_up) == (1.0, None)
    assert other.over_eager is not None
    assert other.over_eager < 1


def test_several_steps_are_measured_with_the_encoder_cached_and_as_published(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, nfe=(1, 32), batch=(1, 2))
    assert [(r.batch, r.nfe, r.encoder) for r in rows] == [
        (1, 1, "once"),
        (1, 32, "each step"),
        (1, 32, "once"),
        (2, 1, "once"),
        (2, 32, "each step"),
        (2, 32, "once"),
    ]
    least = {(r.nfe, r.encoder): r.statistics.min for r in rows[:3] if r.statistics}
    assert least[32, "each step"] > least[32, "once"] > least[1, "once"]


def test_a_decision_beyond_the_budget_is_composed_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "fake", Fake())
    rows = rows_of(tmp_path, nfe=(1, 50), budget=1e-6, backend=("fake",))
    one, every, once, other = rows[0], rows[-3], rows[-2], rows[-1]
    assert one.status == "measured"  # one step is always measured, if only a few times
    assert one.statistics is not None
    assert one.statistics.n == 4  # two blocks of the least, rounded up
    assert {every.encoder, once.encoder} == {"each step", "once"}
    for row in (every, once):
        assert row.status == "composed"
        assert row.samples is None
        assert row.statistics is not None
        assert row.statistics.p99 is None
        assert "50 x step, from 4 calls of each" in row.reason
    assert "50 x encode" in every.reason
    assert (other.backend, other.status) == ("fake", "skipped")
    assert "budget" in other.reason


def test_another_dtype_reports_its_distance_from_float32(tmp_path: Path) -> None:
    exact, rough = rows_of(tmp_path)[0], rows_of(tmp_path, dtype="bfloat16")[0]
    assert exact.against_float32 is None
    assert rough.against_float32 is not None
    assert 1e-4 < rough.against_float32.max_rel < 0.2
    assert rough.megabytes is not None
    assert exact.megabytes is not None
    of_net = sum(p.numel() for p in subject().load().net.parameters())  # which alone is cast, as of a policy at work
    assert exact.megabytes - rough.megabytes == pytest.approx(2e-6 * of_net, abs=1e-3)


def test_ratios_refer_to_rows_of_the_same_batch_with_the_encoder_cached() -> None:
    def row(
        policy: str, nfe: int, ms: float, encoder: str = "once", batch: int = 1, backend: str = "eager"
    ) -> LatencyRow:
        return LatencyRow(policy, policy, nfe, batch, backend, encoder, statistics=statistics([[ms]]))  # type: ignore[arg-type]

    rows = [row("dp", 100, 400, "each step"), row("dp", 100, 300), row("dp", 100, 900, batch=8)]
    rows += [row("a", 1, 3), row("a", 1, 1.5, backend="onnx"), row("a", 1, 9, batch=8)]
    rows.append(replace(row("a", 2, 1), statistics=None, status="missing"))
    found = compared(rows, ("dp", 100))
    assert [r.speed_up for r in found] == [0.75, 1, 1, 100, 200, 100, None]
    assert [r.over_eager for r in found] == [0.75, 1, 1, 1, 2, 1, None]
    assert {r.speed_up for r in compared(rows, None)} == {None}


def test_papers_speed_ups_refer_to_their_own_reference_on_their_own_device() -> None:
    def figure(device: str, nfe: int, ms: float) -> dict[str, object]:
        return {"source": "Table 2", "device": device, "nfe": nfe, "ms": ms}

    slow = [figure("4090", 100, 400.0), figure("2080", 100, 2000.0)]
    fast = [figure("4090", 1, 0.5), figure("2080", 1, 2.0), figure("A5000", 1, 3.0)]
    subjects = [
        from_document("dp", document(nfe=[100], reference_nfe=100, published=slow)),
        from_document("a", document(published=fast)),
    ]
    found = {(p["policy"], p["device"]): (p["hz"], p["speed_up"]) for p in published(subjects)}
    assert found["a", "4090"] == (2000, 800)
    assert found["a", "2080"] == (500, 1000)
    assert found["a", "A5000"] == (333.3, None)
    assert found["dp", "2080"] == (0.5, 1)


def table(folder: Path, subjects: list[TimedPolicy], **settings: object) -> tuple[Run, dict[str, object]]:
    config = LatencyConfig(**{**QUICK, **settings})  # type: ignore[arg-type]
    with Run(folder, "bench-latency", {}, {}) as run:
        return run, bench_latency(run, subjects, config, CPU, Silent())


def test_a_table_goes_on_after_a_policy_that_cannot_be_made(tmp_path: Path) -> None:
    broken = from_document("broken", {**document(nfe=[1, 3]), "net": {"name": "warp-drive"}})
    run, figures = table(tmp_path / "t", [broken, subject(nfe=[1, 2], reference_nfe=2)])
    rows = figures["rows"]
    assert [(r["policy"], r["nfe"], r["status"]) for r in rows] == [  # type: ignore[union-attr, index]
        ("broken", 1, "missing"),
        ("broken", 3, "missing"),
        ("tiny", 1, "measured"),
        ("tiny", 2, "measured"),
        ("tiny", 2, "measured"),
    ]
    assert "unknown net 'warp-drive'" in rows[0]["reason"]  # type: ignore[index]
    assert rows[-1]["speed_up"] == 1  # type: ignore[index]
    assert figures["parts"] == []
    assert {a.path for a in run.manifest.artifacts} == {SAMPLES, "latency_vs_nfe.png"}
    kept = json.loads((tmp_path / "t" / SAMPLES).read_text())
    assert [sum(map(len, row["host_ms"])) for row in kept] == [8, 8, 8]
    assert run.manifest.metrics["rows"] == rows


def test_when_nothing_can_be_measured_the_run_fails_with_the_reason(tmp_path: Path) -> None:
    broken = from_document("broken", {**document(), "net": {"name": "warp-drive"}})
    with pytest.raises(UsageError, match="unknown net 'warp-drive'"):
        table(tmp_path / "a", [broken])


def test_a_policy_that_torch_cannot_run_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def executed(self: Policy, z_0: Tensor, obs: dict[str, Tensor]) -> Tensor:
        raise RuntimeError("not implemented for 'Half'")

    monkeypatch.setattr(Policy, "executed", executed)
    row = rows_of(tmp_path)[0]
    assert (row.status, row.reason) == ("failed", "RuntimeError: not implemented for 'Half'")
    with pytest.raises(RunFailed, match="not implemented for 'Half'"):
        table(tmp_path / "b", [subject()], parts=False)
