"""The matrix product that stands in for a convolution over very short inputs."""

import pytest
import torch
from torch import nn

from omp_cli.core.nets.unet1d import ShortConv1d


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_equals_the_convolution_with_its_gradients_and_tangents(length: int, kernel: int) -> None:
    torch.manual_seed(0)
    short = ShortConv1d(3, 4, kernel, padding=kernel // 2).double()
    x, direction = torch.randn(2, 5, 3, length, dtype=torch.float64)

    def plain(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv1d(x, short.weight, short.bias, padding=kernel // 2)

    found, expected = [], []
    for forward, into in ((short, found), (plain, expected)):
        y = forward(x.requires_grad_())
        into += [y, *torch.autograd.grad(y.square().sum(), [x, short.weight, short.bias])]
        into += torch.func.jvp(forward, (x.detach(),), (direction,))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_only_short_inputs_leave_the_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, calls = ShortConv1d(2, 2, 5, padding=2), []
    monkeypatch.setattr(nn.Conv1d, "forward", lambda self, x: calls.append(x.shape[-1]) or x)
    for length in (1, 2, 3, 8):
        conv(torch.zeros(1, 2, length))
    assert calls == [3, 8]
