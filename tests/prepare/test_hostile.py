"""Policies of others that would cost far more than their file is long are refused in one line, and at once."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omp_cli.core.base.errors import DataError
from omp_cli.core.experts.dapg import read_dapg
from tests.prepare import test_experts as experts

mjrl = experts.mjrl


def text(value: str) -> bytes:
    """As protocol 3 pickles it."""
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


ACTIVATIONS = {
    "shared": text("a") + b"r\x00\x00\x01\x00" + b"j\x00\x00\x01\x00\x86r\x00\x00\x01\x00" * 60,
    "nested": b"N" + b"\x85" * 10_000,
    "long": text("a" * (8 << 20)),
}
"""What stands for the name of the function between the layers."""


def read_in_time(content: bytes, tmp_path: Path) -> str:
    """The line that refuses a file, which has to come within five seconds."""
    (tmp_path / "x.pickle").write_bytes(content)

    def late(*_: Any) -> None:
        raise AssertionError("reading takes too long")

    before = signal.signal(signal.SIGALRM, late)
    rest = signal.setitimer(signal.ITIMER_REAL, 5.0)  # the whole test's limit may be there
    try:
        with pytest.raises(DataError) as error:
            read_dapg(tmp_path / "x.pickle")
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *rest)
    assert "\n" not in error.value.message
    assert len(error.value.message) < 600
    return error.value.message


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_stands_for_text_is_not_walked_through(name: str, tmp_path: Path, mjrl: dict[str, type]) -> None:
    content = experts.published(mjrl, experts.arrays(4, 2))
    assert content.count(text("tanh")) == 1
    told = read_in_time(content.replace(text("tanh"), ACTIVATIONS[name]), tmp_path)
    assert ("activation" if name == "long" else "nonlinearity: no text") in told


@pytest.mark.parametrize("dimensions", [70, 500, 400_000])
def test_a_tensor_of_many_dimensions(
    dimensions: int, tmp_path: Path, mjrl: dict[str, type], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = experts.tensor

    def odd(values: np.ndarray) -> experts.Calls:
        made = plain(values)
        function, (stored, offset, *_, gradient, hooks) = made.call
        shape, stride = (len(values), *[1] * (dimensions - 1)), (1,) * dimensions
        return experts.Calls(function, stored, offset, shape, stride, gradient, hooks) if values.ndim == 1 else made

    monkeypatch.setattr(experts, "tensor", odd)
    words = "dimensions" if dimensions < 10_000 else "20,000 instructions"
    assert words in read_in_time(experts.published(mjrl, experts.arrays(4, 2)), tmp_path)


def test_tensors_that_share_their_numbers(tmp_path: Path, mjrl: dict[str, type]) -> None:
    found = experts.arrays(5, 5)
    layers = 400
    shared = {f"w{i}": found["w1"] for i in range(layers)} | {f"b{i}": found["b1"] for i in range(layers)}
    kept: dict[int, experts.Calls] = {}
    plain = experts.tensor

    def once(values: np.ndarray) -> experts.Calls:
        return kept.setdefault(id(values), plain(values))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experts, "tensor", once)
        content = experts.published(mjrl, {**found, **shared})
    assert "numbers are those of another" in read_in_time(content, tmp_path)
