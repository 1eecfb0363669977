"""Memory of a step: the counters against each other, the allocator against its rules, the issue's targets."""

from __future__ import annotations

import gc
import multiprocessing
from typing import Any

import pytest
import torch
from torch import nn

from omp_cli.core.base.errors import UsageError
from omp_cli.core.encoders.pointnet import PointNet
from omp_cli.core.measure.memory.allocator import LARGE_SEGMENT, MIB, CachingAllocator
from omp_cli.core.measure.memory.cases import Case, grid, made_up_spec, make_case
from omp_cli.core.measure.memory.config import COLUMNS, Column, MemprofileConfig
from omp_cli.core.measure.memory.ledger import Event, Ledger
from omp_cli.core.measure.memory.paper import paper_cases, published_gb
from omp_cli.core.measure.memory.profile import (
    MEASURED_CPU,
    MEASURED_CUDA,
    PREDICTED,
    MemoryRow,
    compare,
    cpu_allocations,
    critical_share,
    measure_cpu,
    measure_cuda,
    phase_peaks,
    predict_cuda,
)
from omp_cli.core.measure.memory.step import TrainingStep, nbytes

CPU = torch.device("cpu")
UNET = {"net.dims": [32, 64], "net.blocks": 1, "encoder.name": "state"}


def peaks(events: list[Event]) -> dict[str, int]:
    """Largest sum of live bytes in each phase; what comes before the first phase is phase ""."""
    live, phase = 0, ""
    found: dict[str, int] = {}
    for event in events:
        live += event.nbytes
        phase = event.phase or phase
        found[phase] = max(found.get(phase, 0), live)
    return found


def case(derivative: Column, horizon: int = 16, batch: int = 32, points: int = 64, **changes: Any) -> Case:
    spec = made_up_spec(action_dim=4, state_dim=9, points=points)
    values = UNET | {key.replace("__", "."): value for key, value in changes.items()}
    return make_case("omp-small", derivative, horizon, batch, spec, values)


@pytest.fixture(scope="module")
def rows() -> dict[tuple[str, str], MemoryRow]:
    """A small U-Net at horizon 16: every derivative, measured on the CPU and predicted for CUDA."""
    found = [count(case(way)) for way in COLUMNS for count in (lambda c: measure_cpu(c, 1), predict_cuda)]
    compare(found)
    return {(row["how"], row["derivative"]): row for row in found}


@pytest.mark.parametrize("how", [MEASURED_CPU, PREDICTED])
def test_forward_and_dde_take_what_flow_matching_takes_and_jvp_three_times_that(
    rows: dict[tuple[str, str], MemoryRow], how: str
) -> None:
    for way in ("forward", "dde"):
        assert rows[how, way]["dynamic_ratio"] <= 1.10
    assert rows[how, "jvp"]["dynamic_ratio"] >= 3
    assert rows[how, "jvp"]["kept_for_backward"] == pytest.approx(rows[how, "none"]["kept_for_backward"], rel=0.05)


def test_static_memory_is_five_copies_of_the_weights(rows: dict[tuple[str, str], MemoryRow]) -> None:
    for row in rows.values():
        assert row["static"]["gradients"] == 4 * row["parameters"]
        for kind, copies in (("weights", 1), ("optimiser", 2), ("ema", 1)):
            assert row["static"][kind] == pytest.approx(copies * 4 * row["parameters"], rel=0.01)
        assert row["static_total"] == sum(row["static"].values())


def test_only_measurements_have_a_time_and_only_cuda_reserves(rows: dict[tuple[str, str], MemoryRow]) -> None:
    for (how, _), row in rows.items():
        assert (row["step_ms"] is None) == (how == PREDICTED)
        assert (row["peak_reserved"] is None) == (how == MEASURED_CPU)
        if how == PREDICTED:
            assert row["peak_reserved"] >= row["peak_allocated"]


def test_prediction_agrees_with_the_measurement_on_the_cpu(rows: dict[tuple[str, str], MemoryRow]) -> None:
    """Different machines: CUDA's allocator rounds up, and kernels of the CPU take scratch space."""
    for way in COLUMNS:
        ratio = rows[PREDICTED, way]["dynamic"] / rows[MEASURED_CPU, way]["dynamic"]
        assert 0.9 < ratio < 1.3, way


@pytest.mark.parametrize("derivative", ["dde", "jvp"])
def test_dispatcher_and_allocator_see_the_same_step(derivative: Column) -> None:
    """Two counters of one real step that share no code: storages by dispatch, events of the CPU's allocator."""
    step = TrainingStep(case(derivative).config, case(derivative).spec, CPU)
    step.run()
    by_allocator, _ = phase_peaks(cpu_allocations(step))
    ledger = Ledger()
    tensors = step.static_tensors()
    ledger.adopt([*(x for kind in tensors.values() for x in kind), *step.data_tensors()])
    del tensors
    with ledger:
        ledger.phase("forward")
        report = step.forward()
        ledger.phase("backward")
        step.backward(report)
    start = sum(step.static_bytes().values()) + nbytes(step.data_tensors())
    for phase in ("forward", "backward"):
        assert peaks(ledger.events)[phase] - start == pytest.approx(by_allocator[phase], rel=0.05)


def test_ledger_counts_what_lives_at_once() -> None:
    ledger = Ledger()
    old = torch.zeros(256)
    ledger.adopt([old])
    with ledger:
        ledger.phase("a")
        x = torch.zeros(1024)
        y = x.view(2, 512)  # the same storage
        del x
        ledger.phase("b")
        z = y + 1
        del y, z
        ledger.phase("c")
    assert peaks(ledger.events) == {"": 1024, "a": 5120, "b": 9216, "c": 1024}


def test_ledger_takes_the_place_of_a_boolean_index_on_meta_tensors() -> None:
    x, chosen = torch.empty(100, 3, device="meta"), torch.empty(100, dtype=torch.bool, device="meta")
    with Ledger(selected=0.25):
        assert x[chosen].shape == (25, 3)


def test_allocator_rounds_and_takes_segments_as_cuda_does() -> None:
    a = CachingAllocator()
    a.malloc(0, 1)
    assert (a.allocated, a.reserved) == (512, 2 * MIB)
    a.malloc(1, MIB)  # fits in the rest of the small segment
    assert (a.allocated, a.reserved) == (512 + MIB, 2 * MIB)
    a.malloc(2, MIB + 1)  # large: a segment of 20 MiB, split
    assert (a.allocated, a.reserved) == (512 + 2 * MIB + 512, 2 * MIB + LARGE_SEGMENT)
    a.malloc(3, 11 * MIB)
    assert a.reserved == 2 * MIB + LARGE_SEGMENT  # 18.99 MiB were left there
    a.malloc(4, 21 * MIB - 5)  # a segment of its own, rounded to 2 MiB; the rest of 1 MiB is too small to split off
    assert a.reserved == 2 * MIB + LARGE_SEGMENT + 22 * MIB
    before = a.allocated
    a.free(4)
    assert before - a.allocated == 22 * MIB


def test_allocator_joins_neighbours_and_reuses_them() -> None:
    a = CachingAllocator()
    for key in range(3):
        a.malloc(key, 6 * MIB)
    assert a.reserved == LARGE_SEGMENT
    for key in (0, 2, 1):  # the middle one last: three blocks and the rest become one
        a.free(key)
    assert a.allocated == 0
    a.malloc(9, 9 * MIB)
    a.malloc(10, 9 * MIB)
    assert a.reserved == LARGE_SEGMENT


def test_two_pass_pointnet_keeps_a_quarter_of_the_activations_at_1024_points() -> None:
    """On a surface and fresh weights, close to the worst case: nearly each of the 256 channels has its own point."""
    g = torch.Generator().manual_seed(0)
    directions = nn.functional.normalize(torch.randn(8, 1024, 3, generator=g), dim=-1)
    cloud = directions * torch.tensor([0.3, 0.2, 0.1]) + 0.2 * torch.rand(8, 1, 3, generator=g)
    kept = {}
    for two_pass in (False, True):
        torch.manual_seed(0)
        net = PointNet((64, 128, 256), 64, two_pass)
        known = {p.untyped_storage()._cdata for p in net.parameters()}
        sizes: dict[int, int] = {}

        def pack(x: torch.Tensor, sizes: dict[int, int] = sizes, known: set[int] = known) -> torch.Tensor:
            if x.untyped_storage()._cdata not in known:
                sizes[x.untyped_storage()._cdata] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            out = net(cloud)
        kept[two_pass] = sum(sizes.values())
        del out
    assert kept[False] >= 4 * kept[True]


def test_critical_share_lies_within_its_bound_and_is_one_without_a_second_pass() -> None:
    changes = {"encoder__name": "pointcloud", "encoder__channels": [16, 32]}
    assert 0.01 < critical_share(case("dde", points=128, **changes)) <= 32 / 128
    assert critical_share(case("dde", encoder__name="pointcloud", encoder__two_pass=False)) == 1


def large_tensors() -> list[torch.Tensor]:
    gc.collect()
    tensors = [x for x in gc.get_objects() if type(x) in (torch.Tensor, nn.Parameter)]
    return [x for x in tensors if not x.is_meta and x.numel() > 10**7]


def test_a_prediction_leaves_nothing_behind_and_costs_no_memory() -> None:
    """The papers' 255 M parameters: a GB of weights alone, none of which is made."""
    (paper,) = [c for c in paper_cases(("none",)) if c.name == "Adroit Hammer" and c.config.chunk.horizon == 4][:1]
    before = large_tensors()  # of other tests, kept alive for as long as they are compared
    row = predict_cuda(paper)
    assert row["parameters"] == pytest.approx(255.4e6, rel=0.01)
    assert row["trained_parameters"] == pytest.approx(86.0e6, rel=0.01)  # the others see nothing at this horizon
    static = 4 * row["parameters"] + 4 * 4 * row["trained_parameters"]
    assert row["static_total"] == pytest.approx(static, rel=0.01)
    assert {id(x) for x in large_tensors()} <= {id(x) for x in before}


def test_the_papers_rows_carry_its_figures() -> None:
    found = {}
    for c in paper_cases(("dde", "jvp")):
        gb = published_gb(c.describe())
        if gb is not None:
            found[c.name, c.config.chunk.horizon, c.derivative] = gb
    assert len(found) == 8
    assert found["Place Bottle", 16, "jvp"] == 26.71
    assert found["Adroit Hammer", 4, "dde"] == 5.35


def test_grid_has_a_cell_for_every_combination_and_names_one_that_cannot_be() -> None:
    config = MemprofileConfig(presets=("light",), horizons=(2, 8), points=(64, 128), batches=(8, 16))
    cells = [(c.derivative, c.config.chunk.horizon, c.spec.points, c.config.train.batch_size) for c in grid(config)]
    assert len(set(cells)) == len(cells) == 4 * 2 * 2 * 2
    with pytest.raises(UsageError, match=r"omp-small at horizon 6, 512 points: .*divisible by 4"):
        grid(MemprofileConfig(presets=("omp-small",), horizons=(6,)))


def test_bf16_is_measured_and_not_predicted() -> None:
    half = case("dde", train__precision="bf16", batch=4)
    assert measure_cpu(half, 1)["dynamic"] > 0
    with pytest.raises(UsageError, match="float32 only"):
        predict_cuda(half)


def test_errors_of_predictions_are_those_against_cuda() -> None:
    same = {**case("dde").describe(), "step_ms": None, "dynamic": 0, "peak_allocated": 0, "peak_reserved": 0}
    measured = {**same, "how": MEASURED_CUDA, "dynamic": 100, "peak_allocated": 200, "peak_reserved": 400}
    predicted = {**same, "how": PREDICTED, "dynamic": 90, "peak_allocated": 210, "peak_reserved": 400}
    compare([measured, predicted])
    errors = [predicted[f"error_{name}"] for name in ("dynamic", "allocated", "reserved")]
    assert errors == pytest.approx([-0.1, 0.05, 0.0])
    assert "error_dynamic" not in measured


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("derivative", COLUMNS)
def test_prediction_against_the_measurement_on_cuda(derivative: Column, tmp_path: Any) -> None:
    it = case(derivative, batch=128, net__dims=[128, 256, 384])
    # In a process of its own: what other tests have left of reserved memory would be used again, and not be seen.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        measured = pool.apply(measure_cuda, (it, torch.device("cuda"), 1, tmp_path / "snapshot.pickle"))
    predicted = predict_cuda(it)
    assert (tmp_path / "snapshot.pickle").stat().st_size > 0
    assert measured["static"] == pytest.approx(predicted["static"], rel=0.01)
    assert predicted["dynamic"] == pytest.approx(measured["dynamic"], rel=0.10)
    assert predicted["peak_reserved"] == pytest.approx(measured["peak_reserved"], rel=0.10)
