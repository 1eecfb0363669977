"""Decisions on a policy's own device: by graphs where there can be one; in a lower precision, whose error is told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from omp_cli.core.base.config import validated
from omp_cli.core.base.errors import RunFailed, UsageError
from omp_cli.core.base.presets import preset_document
from omp_cli.core.deploy.base import Inputs, Prepared
from omp_cli.core.deploy.deciding import MOST, Deciding
from omp_cli.core.deploy.graph import example_inputs, fresh_policy
from omp_cli.core.policy import Policy
from omp_cli.core.spec import Spec
from omp_cli.core.train.config import PretrainConfig

SPEC = Spec(
    suite="toy",
    task="reach",
    action_dim=2,
    state_dim=5,
    points=48,
    end_effector=(0, 1, 2),
    max_steps=9,
    control_hz=20.0,
)


def policy(device: str = "cpu") -> Policy:
    settings = {k: v for k, v in preset_document("pretrain", "light").items() if k not in ("bench", "version")}
    return fresh_policy(validated(PretrainConfig, settings).policy(), SPEC).to(device)


def observed(made: Policy, batch: int, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    noise, *arrays = example_inputs(made, batch, seed)
    return dict(zip(made.keys, arrays, strict=True)), noise


class Static(Prepared):
    """What a CUDA graph is to its caller: inputs and output stay where they are, and one batch size is all it knows."""

    made: list[int]
    error = 0.0

    def __init__(self, module: nn.Module, inputs: Inputs) -> None:
        self._module, self._inputs = module, tuple(x.clone() for x in inputs)
        self._output = module(*self._inputs)
        self.made.append(len(inputs[0]))

    def place(self, *inputs: Tensor) -> None:
        for static, new in zip(self._inputs, inputs, strict=True):
            assert static.shape == new.shape
            static.copy_(new)

    def call(self) -> Tensor:
        return self._output.copy_(self._module(*self._inputs) + self.error)


def on_a_gpu(monkeypatch: pytest.MonkeyPatch, capture: Any = Static, **settings: Any) -> tuple[Policy, Deciding]:
    """Let a CPU take the way of a GPU, with ``capture`` in the place of a CUDA graph."""
    Static.made = []
    for name in ("no_graph", "check_graph"):
        monkeypatch.setattr(f"omp_cli.core.deploy.deciding.{name}", lambda *_: None)
    made = policy()
    return made, Deciding(made, 2, capture=capture, **settings)


def test_every_batch_size_has_one_graph_that_answers_as_the_policy_does(monkeypatch: pytest.MonkeyPatch) -> None:
    made, deciding = on_a_gpu(monkeypatch)
    deciding.ready()
    assert Static.made == [1]
    kept = []
    for seed, batch in enumerate((1, 3, 1, 3)):
        obs, noise = observed(made, batch, seed)
        kept.append((deciding(obs, noise), made.act(obs, noise, 2)))
    assert Static.made == [1, 3]
    assert all(torch.equal(found, expected) for found, expected in kept), "the next decision overwrites none before"
    assert deciding.figures() == {"runtime": "CUDA graph"}


def test_batch_sizes_beyond_the_first_few_are_decided_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    made, deciding = on_a_gpu(monkeypatch)
    for batch in range(1, MOST + 3):
        obs, noise = observed(made, batch, 0)
        assert torch.equal(deciding(obs, noise), made.act(obs, noise, 2))
    assert Static.made == list(range(1, MOST + 1))


def test_without_cuda_decisions_are_eager_and_say_why() -> None:
    made = policy()
    deciding = Deciding(made, 1)
    obs, noise = observed(made, 2, 0)
    deciding.ready()
    assert torch.equal(deciding(obs, noise), made.act(obs, noise, 1))
    assert deciding.figures() == {"runtime": "eager: a graph needs CUDA, and this runs on cpu"}
    assert Deciding(made, 1, "off").runtime == "eager: graph is off"
    with pytest.raises(UsageError, match="graph: on, but a graph needs CUDA, and this runs on cpu"):
        Deciding(made, 1, "on")


def refuse(module: nn.Module, inputs: Inputs) -> Prepared:
    raise RuntimeError("operation not permitted when\nstream is capturing")


class Wrong(Static):
    error = 0.1


@pytest.mark.parametrize(
    ("capture", "reason"),
    [
        (refuse, "RuntimeError: operation not permitted when stream is capturing"),
        (Wrong, "the graph differs from eager: max abs 0.1"),
    ],
)
def test_a_graph_that_cannot_be_is_told_and_done_without(
    capture: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, deciding = on_a_gpu(monkeypatch, capture)
    obs, noise = observed(made, 1, 0)
    assert torch.equal(deciding(obs, noise), made.act(obs, noise, 2))
    assert deciding.runtime.startswith(f"eager: {reason}")
    _, asked = on_a_gpu(monkeypatch, capture, graph="on")
    with pytest.raises(RunFailed, match="cannot be captured"):
        asked(obs, noise)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_lower_precision_is_the_networks_alone_and_its_error_is_measured(precision: Any, frozen: bool) -> None:
    made = policy()
    if frozen:
        made.freeze_from(0.5)
    obs, noise = observed(made, 1, 0)
    exact = made.act(obs, noise, 1)
    deciding = Deciding(made, 1, precision=precision)
    error = float((deciding(obs, noise) - exact).abs().max())
    assert 0 < error < 0.1 * float(exact.abs().max())
    assert deciding.against_float32 is not None
    assert deciding.against_float32.max_abs >= error, "this observation is among those that were compared"
    assert deciding.figures()["against_float32"]["max_rel"] == deciding.against_float32.max_rel
    nets = [made.net, *([made.frozen.net] if made.frozen is not None else [])]
    kinds = {x.dtype for x in made.encoder.parameters()}, {x.dtype for net in nets for x in net.parameters()}
    assert kinds == ({torch.float32}, {{"bf16": torch.bfloat16, "fp16": torch.float16}[precision]})


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_products_round_where_tf32_is_asked_for_and_nowhere_else(
    precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What torch's switches say while a decision is computed; on a CPU they change nothing."""
    seen: list[tuple[bool, bool]] = []
    act = Policy.act

    def watched(*args: Any) -> Any:
        seen.append((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
        return act(*args)

    monkeypatch.setattr(Policy, "act", watched)
    made = policy()
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    deciding = Deciding(made, 1, precision=precision)
    deciding(*observed(made, 1, 0))
    assert seen == [(precision == "tf32",) * 2]
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
    if precision == "tf32":
        assert deciding.against_float32 is not None
        assert deciding.against_float32.max_abs == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_on_a_gpu_the_graph_decides_as_eager_does(precision: Any) -> None:
    eager, graphed = (Deciding(policy("cuda"), 5, graph, precision) for graph in ("off", "on"))
    graphed.ready()
    for seed, batch in enumerate((1, 7, 1, 7)):
        obs, noise = observed(policy(), batch, seed)
        torch.testing.assert_close(graphed(obs, noise), eager(obs, noise), rtol=1e-4, atol=1e-5)
    assert graphed.figures()["runtime"] == "CUDA graph"
