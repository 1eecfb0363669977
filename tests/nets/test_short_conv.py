"""The matrix products that stand in for convolutions over very short inputs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from omp_cli.core.nets import NETS
from omp_cli.core.nets.short_conv import SeenTaps, ShortConv1d, ShortConvTranspose1d


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (7, 1), (3, 2), (5, 2)])
def test_equals_the_convolution_with_its_gradients_and_tangents(
    length: int, kernel: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(ShortConv1d, "longest", 7)
    monkeypatch.setattr(nn.Conv1d, "forward", None)
    short = ShortConv1d(3, 4, kernel, length, stride).double()

    def plain(x: Tensor) -> Tensor:
        return nn.functional.conv1d(x, whole_kernel(short), short.bias, stride, kernel // 2)

    assert_same(short, plain, torch.randn(2, 5, 3, length, dtype=torch.float64))


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_equals_the_transposed_convolution(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(nn.ConvTranspose1d, "forward", None)
    short = ShortConvTranspose1d(3, length).double()

    def plain(x: Tensor) -> Tensor:
        return nn.functional.conv_transpose1d(x, whole_kernel(short), short.bias, 2, 1)

    assert_same(short, plain, torch.randn(2, 5, 3, length, dtype=torch.float64))


def whole_kernel(short: SeenTaps) -> Tensor:
    """The kernel as of any convolution, with the gradient of its taps."""
    return short.state_dict(keep_vars=True)["weight"]


def assert_same(short: nn.Module, plain: Callable[[Tensor], Tensor], values: Tensor) -> None:
    """Values, gradients and tangents of both at the first of two inputs, in the direction of the second."""
    x, direction = values
    found: list[Tensor] = []
    expected: list[Tensor] = []
    for forward, into in ((short, found), (plain, expected)):
        y = forward(x.requires_grad_())
        trained = [p for p in short.parameters() if p.requires_grad]
        into += [y, *torch.autograd.grad(y.square().sum(), [x, *trained])]
        into += torch.func.jvp(forward, (x.detach(),), (direction,))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["5 taps", "3 taps, halved", "doubled"])
def test_just_the_taps_that_see_the_input_are_trained(kind: str, length: int) -> None:
    torch.manual_seed(0)
    short, plain = {
        "5 taps": lambda: (ShortConv1d(3, 3, 5, length), nn.Conv1d(3, 3, 5, padding=2)),
        "3 taps, halved": lambda: (ShortConv1d(3, 3, 3, length, stride=2), nn.Conv1d(3, 3, 3, 2, padding=1)),
        "doubled": lambda: (ShortConvTranspose1d(3, length), nn.ConvTranspose1d(3, 3, 4, stride=2, padding=1)),
    }[kind]()
    plain(torch.randn(2, 3, length)).square().sum().backward()
    learns = plain.weight.grad.abs().amax((0, 1)) > 0
    assert short.weight.shape[-1] == learns.sum()
    assert (short.unseen is None) == learns.all()
    short.load_state_dict(plain.state_dict())
    assert torch.equal(short.weight, plain.weight[..., learns])
    assert short.unseen is None or torch.equal(short.unseen, plain.weight[..., ~learns])
    assert all(torch.equal(a, b) for a, b in zip(short.state_dict().values(), plain.state_dict().values(), strict=True))


@pytest.mark.parametrize(("kernel", "length"), [(11, 5), (13, 6), (5, 5)])
def test_a_longer_input_has_the_whole_kernel_however_wide(kernel: int, length: int) -> None:
    torch.manual_seed(0)
    short, plain = ShortConv1d(3, 4, kernel, length), nn.Conv1d(3, 4, kernel, padding=kernel // 2)
    short.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, length)
    assert torch.equal(short(x), plain(x))


@pytest.mark.parametrize(("horizon", "trained"), [(4, 85_861_124), (8, 177_611_524), (16, 255_206_148)])
def test_what_the_papers_net_trains(horizon: int, trained: int) -> None:
    with torch.device("meta"):
        net = NETS.build(NETS.parse({"name": "unet1d"}), horizon, 4, 256)
    for _ in range(2):
        assert sum(p.numel() for p in net.parameters() if p.requires_grad) == trained
        assert sum(p.numel() for p in net.parameters()) == 255_206_148
        net.requires_grad_(False).requires_grad_(True)


def test_only_short_inputs_leave_the_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(nn.Conv1d, "forward", lambda self, x: calls.append(x.shape[-1]) or x)
    for length in (1, 2, 4, 5, 8):
        ShortConv1d(2, 2, 5, length)(torch.zeros(1, 2, length))
    assert calls == [5, 8]


@pytest.mark.parametrize("module", [ShortConv1d(2, 3, 5, 1), ShortConv1d(2, 3, 5, 4), ShortConvTranspose1d(2, 1)])
def test_taps_are_matrices_in_memory_and_gradients_lie_as_they_do(module: nn.Conv1d) -> None:
    assert module.weight.transpose(1, 2).is_contiguous()
    module(torch.ones(1, 2, module.length)).sum().backward()
    assert module.weight.grad is not None
    assert module.weight.grad.stride() == module.weight.stride()


@pytest.mark.parametrize("module", [ShortConv1d(2, 3, 1, 4), ShortConv1d(2, 3, 5, 4), ShortConvTranspose1d(2, 4)])
def test_a_tangent_costs_products_of_two_matrices_and_no_copies_of_the_weight(module: nn.Module) -> None:
    called: list[str] = []

    class Calls(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            called.append(str(function))
            return function(*args, **(kwargs or {}))

    x, direction = torch.randn(2, 5, 4, 2).transpose(2, 3)  # as a product leaves it
    with torch.no_grad(), Calls():
        torch.func.jvp(module, (x,), (direction,))
    assert any(name.startswith(("aten.mm", "aten.addmm")) for name in called)
    assert not [name for name in called if "bmm" in name]
