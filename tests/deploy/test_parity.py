"""The comparison that decides whether a runtime counts."""

import json

import pytest
import torch

from omp_cli.core.deploy.parity import TOLERANCE, difference
from omp_cli.core.spec import Rotation


def test_error_is_relative_to_the_largest_reference_of_all_inputs() -> None:
    references = [torch.tensor([1.0, -4.0]), torch.tensor([0.0, 2.0])]
    outputs = [torch.tensor([1.0, -4.0]), torch.tensor([0.001, 2.0])]
    found = difference(references, outputs, torch.float32)
    assert found.max_abs == pytest.approx(0.001)
    assert found.max_rel == pytest.approx(0.00025)
    assert found.inputs == 2
    assert not found.accepted
    assert difference(references, references, torch.float32).accepted


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_one_rounding_of_the_dtype_is_accepted_and_a_fifth_is_not(dtype: torch.dtype) -> None:
    one = torch.ones(3, dtype=dtype)
    assert difference([one], [one * (1 + torch.finfo(dtype).eps)], dtype).accepted
    assert not difference([one], [one * 1.2], dtype).accepted


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    x, y = torch.ones(2), torch.tensor([1.0, bad])
    for pair in ((x, y), (y, x), (y, y)):
        found = difference([pair[0]], [pair[1]], torch.float32)
        assert not found.accepted
        assert json.loads(json.dumps(found.as_json(), allow_nan=False))["max_abs"] is None


def test_zero_is_only_equal_to_zero() -> None:
    zero = torch.zeros(2)
    assert difference([zero], [zero], torch.float32).accepted
    assert not difference([zero], [zero + 1e-30], torch.float32).accepted


def test_shapes_and_numbers_must_match() -> None:
    with pytest.raises(ValueError, match="shape"):
        difference([torch.ones(2)], [torch.ones(1, 2)], torch.float32)
    with pytest.raises(ValueError, match="zip"):
        difference([torch.ones(2)], [], torch.float32)
    with pytest.raises(ValueError, match="nothing"):
        difference([], [], torch.float32)


def test_half_a_turn_is_the_same_on_either_side() -> None:
    one, other = torch.tensor([[0.5, 3.1415926]]), torch.tensor([[0.5, -3.1415926]])
    assert not difference([one], [other], torch.float32).accepted
    assert difference([one], [other], torch.float32, [Rotation(first=1, kind="angle")]).accepted
    assert not difference([one], [other + 0.1], torch.float32, [Rotation(first=1, kind="angle")]).accepted
