"""A decision without what does not depend on its inputs: the same numbers, to the bit, from fewer operators."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx

from omp_cli.core.deploy.base import Inputs
from omp_cli.core.deploy.folding import folded
from omp_cli.core.deploy.graph import Decision, example_inputs, fresh_policy
from omp_cli.core.encoders import ENCODERS
from omp_cli.core.methods import METHODS
from omp_cli.core.nets import NETS
from omp_cli.core.policy import PolicyConfig, usual_nfe
from tests.deploy.everything import EVERYTHING

SMALL = {
    "film-mlp": {"hidden": 16, "depth": 1},
    "residual-mlp": {"hidden": 16},
    "unet1d": {"dims": (8, 16), "groups": 4},
}


def decision(method: str = "omp", net: str = "film-mlp", encoder: str = "state", nfe: int | None = None) -> Decision:
    parts = {"method": {"name": method}, "net": {"name": net, **SMALL[net]}, "encoder": {"name": encoder}}
    policy = fresh_policy(PolicyConfig.model_validate(parts), EVERYTHING)
    return Decision(policy, nfe or min(usual_nfe(policy.config), 3))


def names(module: fx.GraphModule) -> list[str]:
    return [str(node.target) for node in module.graph.nodes if node.op == "call_function"]


def answers_the_same(module: Decision, batch: int = 1) -> fx.GraphModule:
    """The graph made of one example, compared on others."""
    made = folded(module, example_inputs(module.policy, batch))
    with torch.no_grad():
        for seed in range(1, 4):
            inputs = example_inputs(module.policy, batch, seed)
            assert torch.equal(made(*inputs), module(*inputs))
    return made


@pytest.mark.parametrize("method", METHODS.names())
def test_every_method_decides_the_same_without_the_embeddings_of_its_times(method: str) -> None:
    made = answers_the_same(decision(method))
    assert not {"aten.sin.default", "aten.cos.default"} & set(names(made))


@pytest.mark.parametrize("net", NETS.names())
def test_every_net(net: str) -> None:
    answers_the_same(decision(net=net, nfe=2), batch=2)


@pytest.mark.parametrize("encoder", ENCODERS.names())
def test_every_encoder(encoder: str) -> None:
    answers_the_same(decision(encoder=encoder))


def test_a_further_evaluation_costs_what_depends_on_the_chunk() -> None:
    """Inlet, two layers with their Mish and the sum around them, outlet, one join of the inputs, and the jump's two."""
    one, two = (names(answers_the_same(decision("dmpo", "residual-mlp", nfe=nfe))) for nfe in (1, 2))
    views = ("aten.t.", "aten.view.", "aten._unsafe_view.", "aten.flatten.")
    more = [name for name in two if not name.startswith(views)]
    for name in (name for name in one if not name.startswith(views)):
        more.remove(name)
    assert sorted(more) == sorted(
        ["aten.cat.default", "aten.add.Tensor", "aten.mul.Tensor", "aten.sub.Tensor"]
        + 4 * ["aten.addmm.default"]
        + 2 * ["aten.mish.default"]
    )


def test_random_numbers_are_drawn_every_time_and_what_follows_from_them_too() -> None:
    made = folded(lambda x: x + 2 * torch.rand(3), (torch.zeros(3),))
    first, second = made(torch.zeros(3)), made(torch.zeros(3))
    assert not torch.equal(first, second)


def test_shapes_alone_are_no_input() -> None:
    made = folded(lambda x: x * x.new_full((3,), 2.0).exp(), (torch.ones(3),))
    assert names(made) == ["aten.mul.Tensor"]
    torch.testing.assert_close(made(torch.full((3,), 5.0)), 5 * torch.full((3,), 2.0).exp())


def count_up(x: Tensor, seen: Tensor) -> Tensor:
    return x * seen.add_(1)


def test_a_tensor_that_is_changed_in_place_is_no_constant() -> None:
    seen, inputs = torch.zeros(1), (torch.ones(1),)
    with pytest.raises(RuntimeError, match=r"aten\.add_\.Tensor changes a tensor in place"):
        folded(lambda x: count_up(x, seen), inputs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_net_of_lower_precision(dtype: torch.dtype) -> None:
    module = decision(nfe=2)
    module.policy.lower(dtype)
    answers_the_same(module)


def test_a_number_in_the_inputs_that_decides_is_refused() -> None:
    inputs: Inputs = (torch.ones(1),)
    with pytest.raises(RuntimeError):
        folded(lambda x: x if bool(x > 0) else -x, inputs)
