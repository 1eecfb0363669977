"""Convolutions over a few time steps, as matrix products of the taps that see more than padding.

Legend: B batch, C channels, L length of the input.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def by_taps(weight: Tensor, trained: bool = True) -> nn.Parameter:
    """The same weight (X, Y, taps) with its memory in the order (X, taps, Y)."""
    return nn.Parameter(weight.detach().transpose(1, 2).contiguous().transpose(1, 2), requires_grad=trained)


class SeenTaps(nn.Module):
    """Part of a convolution that knows the length of its input: taps which see nothing but padding are not trained.

    ``weight`` has the taps that see the input somewhere, ``unseen`` the others, if there are any. No output depends on
    those, so they stay as they were drawn, and cost neither gradient nor moments nor time. A state dict has the whole
    kernel under the name ``weight``, as of any convolution, put together on the CPU: it is for files and for
    ``load_state_dict``, and ``functional_call`` takes ``named_parameters``.
    """

    weight: Tensor
    unseen: nn.Parameter | None
    kernel_size: tuple[int, ...]
    _first: int

    def divide(self, first: int, count: int) -> None:
        """Keep ``count`` taps from ``first`` on in ``weight``, whose memory is then ordered (X, taps, Y)."""
        whole = self.weight.detach()
        self._first = first
        self.weight = by_taps(whole[..., first : first + count])
        others = torch.cat([whole[..., :first], whole[..., first + count :]], dim=-1)
        self.register_parameter("unseen", by_taps(others, trained=False) if others.shape[-1] else None)

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        others = destination.pop(f"{prefix}unseen", None)
        if others is not None:
            # Where a checkpoint goes anyway: a card that is just large enough has no room for a copy.
            weight, others = destination[f"{prefix}weight"].cpu(), others.cpu()
            destination[f"{prefix}weight"] = torch.cat(
                [others[..., : self._first], weight, others[..., self._first :]], dim=-1
            )

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        whole = state_dict.get(f"{prefix}weight")
        if self.unseen is not None and whole is not None:
            parts = whole.tensor_split([self._first, self._first + self.weight.shape[-1]], dim=-1)
            state_dict[f"{prefix}weight"], state_dict[f"{prefix}unseen"] = parts[1], torch.cat(parts[::2], dim=-1)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def of_weight(self, moment: Tensor) -> Tensor:
        """What of an optimiser's moment belongs to ``weight``, where it is one of the whole kernel; else all of it."""
        whole = moment.ndim == self.weight.ndim and moment.shape[-1] == self.kernel_size[0]
        return moment[..., self._first :][..., : self.weight.shape[-1]] if whole else moment


class ShortConv1d(SeenTaps, nn.Conv1d):
    """Conv1d (odd kernel, padding kernel // 2) that is one matrix product where the input is short.

    The papers' net works at lengths 4, 2 and 1. There a convolution's kernels are several times slower than a product,
    and most taps see only the padding: at length 1 one of five sees anything. The weight's memory is ordered
    (C', taps, C), in which it is a matrix without being copied.

    Args:
        inputs: C.
        outputs: C'.
        kernel: taps.
        length: L of the input.
        stride: of the outputs.
    """

    longest = 4
    """Longest input that becomes a product; a convolution over a longer one stores less for backward."""

    def __init__(self, inputs: int, outputs: int, kernel: int, length: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2)
        self.length, self._outputs, reach = length, (length - 1) // stride + 1, kernel // 2
        first, count = 0, kernel
        if length <= self.longest:
            first = max(0, reach - (self._outputs - 1) * stride)
            count = min(kernel, reach + length) - first
        self.divide(first, count)
        left = reach - first
        self._padding = left, (self._outputs - 1) * stride + count - left - length

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, L) -> (B, C', L / stride), rounded up."""
        if self.length > self.longest:
            return super().forward(x)
        rows, count = x.transpose(1, 2), self.weight.shape[-1]  # (B, L, C)
        if any(self._padding):  # without padding torch would copy all the same
            rows = nn.functional.pad(rows, (0, 0, *self._padding))
        if count > 1 or self._outputs < self.length:
            rows = rows.unfold(1, count, self.stride[0]).transpose(2, 3).flatten(2)  # (B, L', count C)
        # Of two matrices: for three dimensions torch may multiply row by row, with a copy of the weight for each.
        product = nn.functional.linear(rows.flatten(0, 1), self.weight.transpose(1, 2).flatten(1), self.bias)
        return product.unflatten(0, (len(x), self._outputs)).transpose(1, 2)


class ShortConvTranspose1d(SeenTaps, nn.ConvTranspose1d):
    """ConvTranspose1d that doubles the length (kernel 4, stride 2, padding 1), as one product where it is short.

    Output 2 j sees input j by tap 1 and j - 1 by tap 3, output 2 j + 1 sees j by tap 2 and j + 1 by tap 0: where the
    input has the length 1, two of four see nothing.
    """

    def __init__(self, channels: int, length: int) -> None:
        super().__init__(channels, channels, 4, stride=2, padding=1)
        self.length = length
        self.divide(*((1, 2) if length == 1 else (0, 4)))

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, C, L) -> (B, C, 2 L)."""
        if self.length > ShortConv1d.longest:
            return super().forward(x, output_size)
        assert self.bias is not None
        product = x.transpose(1, 2).flatten(0, 1) @ self.weight.transpose(1, 2).flatten(1)  # (B L, taps C')
        tap = product.view(len(x), self.length, self.weight.shape[-1], -1).unbind(2)  # each (B, L, C')
        if self.length == 1:
            even, odd = tap
        else:
            even = tap[1] + nn.functional.pad(tap[3][:, :-1], (0, 0, 1, 0))
            odd = tap[2] + nn.functional.pad(tap[0][:, 1:], (0, 0, 0, 1))
        return (torch.stack([even, odd], 2).flatten(1, 2) + self.bias).transpose(1, 2)
