"""The step that a GPU records as one graph: the same training, and a word on why where there is none."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch

from omp_cli.core.base.config import validated
from omp_cli.core.base.device import recording, tf32
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.layers import Layer, merge
from omp_cli.core.base.presets import preset_layer
from omp_cli.core.base.progress import Silent
from omp_cli.core.checkpoint import EMA, MODEL, TRAINING
from omp_cli.core.data.store import read_store
from omp_cli.core.methods import METHODS
from omp_cli.core.nets import NETS
from omp_cli.core.train import graph
from omp_cli.core.train.batches import AHEAD, Ahead
from omp_cli.core.train.config import PretrainConfig
from omp_cli.core.train.distributed import World
from omp_cli.core.train.graph import WARM_UP, Recorder, tensors
from omp_cli.core.train.loop import Trainer
from tests.train.recordable import Recordable, recorder
from tests.train.test_loop import same, settings, trainer, weights
from tests.train.test_teacher import settings as settings_of
from tests.train.test_teacher import taught

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
JITTER = {"encoder__jitter": 0.01, "train__steps": 13, "train__draws": 2}


def replays(
    monkeypatch: pytest.MonkeyPatch, train: Trainer, check: AbstractContextManager[object] | None = None
) -> list[int]:
    """Let a CPU take the way of a GPU, with the step itself in the place of its graph; the steps that went there."""
    steps: list[int] = []
    happened = {"recorded": lambda: None, "replayed": lambda: steps.append(train.step)}
    monkeypatch.setattr(graph, "on_cuda", recorder(lambda event: happened[event](), check))
    train.recording.eager = None
    train.batches.choose_ahead(train.total)
    return steps


@pytest.mark.parametrize("case", [{}, {"train__grad_clip": 0.1}, {"method__derivative": "forward"}])
def test_over_static_buffers_training_is_the_same_to_the_bit(
    case: dict[str, Any], toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = trainer(toy, tmp_path / "plain", **JITTER, **case).run()
    recorded = trainer(toy, tmp_path / "recorded", **JITTER, **case)
    steps = replays(monkeypatch, recorded)
    result = recorded.run()
    assert steps == list(range(WARM_UP, 13))
    for name in (MODEL, TRAINING, EMA):
        assert same(weights(tmp_path / "plain", name), weights(tmp_path / "recorded", name))
    for name in ("loss", "grad_norm", "lr", "meanflow"):
        assert plain.figures[name] == result.figures[name]
    assert (plain.figures["graph"], result.figures["graph"]) == (
        "eager: a graph needs CUDA, and this runs on cpu",
        "CUDA graph",
    )


@pytest.mark.parametrize("name", [*METHODS.names(), *NETS.names()])
def test_a_graph_can_hold_the_step_of(
    name: str, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step neither waits for the device nor copies from the host, from its first recorded time on."""
    small: dict[str, Any] = {"encoder__two_pass": False, "train__steps": WARM_UP + 2}
    small |= {"net__dims": [16, 32]} if name == "unet1d" else {}
    is_method = name in METHODS.names()
    config = settings_of(name, **small) if is_method else settings(net__name=name, **small)
    teacher = taught(workshop, name) if is_method and METHODS.get(name).distils else None
    train = Trainer(config, read_store(workshop / "toy"), tmp_path, CPU, World(), Silent(), teacher)
    # A CPU looks at numbers within a step, a GPU only after it.
    monkeypatch.setattr(train, "_check_finite", lambda step, figures: None)
    steps = replays(monkeypatch, train, Recordable())
    assert train.run().figures["graph"] == "CUDA graph"
    assert steps == [WARM_UP, WARM_UP + 1]


def test_a_step_that_cannot_be_recorded_runs_eagerly_and_says_why(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(device: torch.device) -> Recorder:
        raise RuntimeError("operation not permitted when\nstream is capturing")

    notes: list[str] = []
    train = trainer(toy, tmp_path / "a")
    monkeypatch.setattr(graph, "on_cuda", refuse)
    train.recording.eager, train.recording._note = None, notes.append
    figures = train.run().figures
    reason = "RuntimeError: operation not permitted when stream is capturing"
    assert figures["graph"] == f"eager: {reason}"
    assert notes == [f"no CUDA graph: {reason}"]
    trainer(toy, tmp_path / "plain").run()
    assert same(weights(tmp_path / "plain", TRAINING), weights(tmp_path / "a", TRAINING))


@pytest.mark.parametrize("turn", [0, 30])
def test_what_is_chosen_ahead_is_what_each_step_chooses(turn: int, toy: Path, tmp_path: Path) -> None:
    train = trainer(toy, tmp_path / "a", train__steps=AHEAD + 3)
    # The toy's actions are no displacements, which the constructor would say.
    turning = train.config.train.model_copy(update={"turn": turn})
    train.batches._config = train.config.model_copy(update={"train": turning})
    ahead = Ahead(train.batches.choose, train.total, train.device)
    for step in (0, 1, AHEAD - 1, AHEAD, AHEAD + 2, 5):
        expected, found = train.batches.choose(step), ahead(step)
        assert (expected.angles is None) == (turn == 0)
        for a, b in zip(tensors(expected), tensors(found), strict=True):
            assert torch.equal(a, b)


def test_a_graph_that_is_asked_for_where_there_is_none_is_refused(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"train\.graph: on, but a graph needs CUDA"):
        trainer(toy, tmp_path / "a", train__graph="on")


def test_precision_is_set_for_the_run_and_recorded(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for precision in ("tf32", "fp32"):
        train = trainer(toy, tmp_path / precision, train__precision=precision, train__steps=1)
        update = train._update

        def watched(log: bool, update: Any = update) -> Any:
            seen.append((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
            return update(log)

        monkeypatch.setattr(train, "_update", watched)
        with tf32(precision == "fp32"):
            before = torch.backends.cuda.matmul.allow_tf32
            assert train.run().figures["precision"] == precision
            assert torch.backends.cuda.matmul.allow_tf32 == before
    assert seen == [(True, True), (False, False)]
    assert same(weights(tmp_path / "tf32"), weights(tmp_path / "fp32"))  # on a CPU they are one


@pytest.mark.parametrize(
    "preset", ["omp-paper", "mp1-paper", "dp3-paper", "flowpolicy-paper", "dp-paper", "dp-metaworld-paper"]
)
def test_presets_of_256_million_parameters_say_tf32(preset: str) -> None:
    config = validated(PretrainConfig, merge([preset_layer("pretrain", preset), Layer("test", {})])[0])
    assert config.train.precision == "tf32"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("derivative", ["dde", "forward", "jvp"])
def test_on_a_gpu_the_graph_trains_as_eager_does(derivative: str, toy: Path, tmp_path: Path) -> None:
    figures = {}
    for asked in ("off", "on"):
        config = settings(train__graph=asked, method__derivative=derivative, **JITTER)
        train = Trainer(config, read_store(toy), tmp_path / asked, CUDA, World(), Silent())
        figures[asked] = train.run().figures
    assert figures["on"]["graph"] == "CUDA graph"
    assert figures["on"]["loss"] == pytest.approx(figures["off"]["loss"], rel=1e-3)
    for name in (MODEL, EMA):
        off, on = (weights(tmp_path / where, name) for where in ("off", "on"))
        for key, value in off.items():
            torch.testing.assert_close(on[key], value, rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_a_step_that_waits_for_the_device_is_not_recorded(toy: Path, tmp_path: Path) -> None:
    for asked in ("off", "auto"):
        train = Trainer(
            settings(train__graph=asked, **JITTER), read_store(toy), tmp_path / asked, CUDA, World(), Silent()
        )
        if asked == "auto":
            train.module.register_forward_hook(lambda _module, _inputs, report: print(float(report.total)))
        assert train.run().figures["graph"].startswith("eager: ")
    off, on = (weights(tmp_path / where) for where in ("off", "auto"))
    for key, value in off.items():
        torch.testing.assert_close(on[key], value, rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["dp3", "consistency", "onedp", "edm"])
def test_on_a_gpu_the_step_of_other_families_is_recorded(name: str, workshop: Path, tmp_path: Path) -> None:
    teacher = taught(workshop, name).to(CUDA) if METHODS.get(name).distils else None
    config = settings_of(name, train__graph="on", train__steps=WARM_UP + 2)
    train = Trainer(config, read_store(workshop / "toy"), tmp_path, CUDA, World(), Silent(), teacher)
    assert train.run().figures["graph"] == "CUDA graph"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_a_recording_that_failed_leaves_stream_and_numbers_as_they_were() -> None:
    x, stream = torch.ones(3, device=CUDA), torch.cuda.current_stream()
    torch.manual_seed(0)
    expected = torch.rand(3, device=CUDA)
    torch.manual_seed(0)
    with pytest.raises(RuntimeError), recording(torch.cuda.CUDAGraph(), CUDA):
        torch.rand(3, device=CUDA)
        float(x.sum())
    assert torch.cuda.current_stream() == stream
    assert torch.equal(torch.rand(3, device=CUDA), expected)
    again = torch.cuda.CUDAGraph()
    with recording(again, CUDA):
        y = 2 * x
    x.fill_(3)
    again.replay()
    assert y.tolist() == [6, 6, 6]


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_on_two_gpus_each_has_its_recordings() -> None:
    for device in (torch.device("cuda", 0), torch.device("cuda", 1)):
        x, graph_ = torch.ones(3, device=device), torch.cuda.CUDAGraph()
        with recording(graph_, device):
            y = 2 * x
        x.fill_(3)
        graph_.replay()
        torch.cuda.synchronize(device)
        assert y.tolist() == [6, 6, 6]
