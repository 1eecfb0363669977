"""The matrix products that stand in for convolutions over very short inputs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from omp_cli.core.nets.unet1d import ShortConv1d, ShortConvTranspose1d


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (7, 1), (3, 2), (5, 2)])
def test_equals_the_convolution_with_its_gradients_and_tangents(
    length: int, kernel: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(ShortConv1d, "longest", 7)
    monkeypatch.setattr(nn.Conv1d, "forward", None)
    short = ShortConv1d(3, 4, kernel, stride).double()

    def plain(x: Tensor) -> Tensor:
        return nn.functional.conv1d(x, short.weight, short.bias, stride, kernel // 2)

    assert_same(short, plain, torch.randn(2, 5, 3, length, dtype=torch.float64))


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_equals_the_transposed_convolution(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(nn.ConvTranspose1d, "forward", None)
    short = ShortConvTranspose1d(3).double()

    def plain(x: Tensor) -> Tensor:
        return nn.functional.conv_transpose1d(x, short.weight, short.bias, 2, 1)

    assert_same(short, plain, torch.randn(2, 5, 3, length, dtype=torch.float64))


def assert_same(short: nn.Module, plain: Callable[[Tensor], Tensor], values: Tensor) -> None:
    """Values, gradients and tangents of both at the first of two inputs, in the direction of the second."""
    x, direction = values
    found: list[Tensor] = []
    expected: list[Tensor] = []
    for forward, into in ((short, found), (plain, expected)):
        y = forward(x.requires_grad_())
        into += [y, *torch.autograd.grad(y.square().sum(), [x, *short.parameters()])]
        into += torch.func.jvp(forward, (x.detach(),), (direction,))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_only_short_inputs_leave_the_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, calls = ShortConv1d(2, 2, 5), []
    monkeypatch.setattr(nn.Conv1d, "forward", lambda self, x: calls.append(x.shape[-1]) or x)
    for length in (1, 2, 4, 5, 8):
        conv(torch.zeros(1, 2, length))
    assert calls == [5, 8]


@pytest.mark.parametrize("module", [ShortConv1d(2, 3, 5), ShortConvTranspose1d(2)])
def test_taps_are_matrices_in_memory_and_gradients_lie_as_they_do(module: nn.Conv1d) -> None:
    assert module.weight.transpose(1, 2).is_contiguous()
    module(torch.ones(1, 2, 1)).sum().backward()
    assert module.weight.grad is not None
    assert module.weight.grad.stride() == module.weight.stride()


@pytest.mark.parametrize("module", [ShortConv1d(2, 3, 1), ShortConv1d(2, 3, 5), ShortConvTranspose1d(2)])
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
