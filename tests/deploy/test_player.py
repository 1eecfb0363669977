"""A policy that acts: history, noise, playback, ensembling, batches, and frames that do not fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import omp_cli as api
from omp_cli.core.base.errors import DataError, Diverged, UsageError
from omp_cli.core.checkpoint import Checkpoint, open_run
from omp_cli.core.deploy.decider import Decider
from omp_cli.core.deploy.frames import Array, Arrays, Signature
from omp_cli.core.deploy.player import Player
from omp_cli.core.spec import Rotation


class Counting(Decider):
    """Answers with the number of its decision, the row of the chunk and the oldest state that it was shown."""

    kind, path = "checkpoint", Path("counting")

    def __init__(self, execute: int = 3) -> None:
        arrays = {"state": Array((2,), "float32"), "img": Array((4, 4, 3), "uint8")}
        self.signature = Signature("toy", "reach", arrays, 2, 4, execute, 3, 20.0, 60, 1)
        self.made, self.noise = 0, []

    def decide(self, history: Arrays, noise: Tensor) -> NDArray[np.float32]:
        self.noise.append(noise)
        batch, execute = len(noise), self.signature.execute
        oldest = history["state"][:, 0, 0]
        rows = np.broadcast_to(np.arange(execute, dtype=np.float32), (batch, execute))
        made = np.full((batch, execute), self.made, np.float32)
        self.made += 1
        return np.stack([made, rows, np.repeat(oldest[:, None], execute, 1)], -1)

    def checkpoint(self) -> Checkpoint:
        raise DataError("there is none")

    def sha256(self) -> str:
        return ""


def frame(value: float = 0.0) -> dict[str, Any]:
    return {"state": [value, 0.0], "img": np.zeros((4, 4, 3), np.uint8)}


def test_chunks_are_played_and_the_history_is_that_of_the_steps() -> None:
    player = Player(Counting())
    played = np.stack([player.act(frame(step)) for step in range(7)])
    assert played[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert played[:, 1].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert played[:, 2].tolist() == [0, 0, 0, 2, 2, 2, 5], "the frame before the decision; the first fills the history"
    assert player.decisions == 3
    sooner = Player(Counting(), execute=2)
    assert [int(sooner.act(frame())[0]) for _ in range(4)] == [0, 0, 1, 1]


def test_ensembling_is_the_weighted_mean_of_what_all_chunks_say() -> None:
    player = Player(Counting(), ensemble=0.5)
    played = np.stack([player.act(frame()) for _ in range(4)])
    w = np.exp(-0.5 * np.arange(3))  # from the oldest chunk on
    assert played[0, :2].tolist() == [0, 0]
    assert played[3, 0] == pytest.approx((w @ [1, 2, 3]) / w.sum())
    assert played[3, 1] == pytest.approx((w @ [2, 1, 0]) / w.sum())


class BesideHalfATurn(Counting):
    """Every second decision gives out its angle with the other sign."""

    def __init__(self) -> None:
        super().__init__()
        self.signature = dataclasses.replace(self.signature, action_rotations=(Rotation(first=2, kind="angle"),))

    def decide(self, history: Arrays, noise: Tensor) -> NDArray[np.float32]:
        found = super().decide(history, noise)
        found[..., 2] = 3.1 if self.made % 2 else -3.1
        return found


def test_ensembling_of_angles_beside_half_a_turn_is_no_mean_of_their_numbers() -> None:
    decider = BesideHalfATurn()
    player = Player(decider, ensemble=0.0)
    played = np.stack([player.act(frame()) for _ in range(4)])
    assert decider.noise[0].shape == (1, 4, 4), "an angle has two numbers where it is learned"
    assert np.abs(np.abs(played[:, 2]) - np.pi).max() < 0.05, "and not 0"
    assert played[2, 0] == pytest.approx(1), "other numbers are meant as before"


def test_noise_is_scaled() -> None:
    decider = Counting()
    for scale in (1.0, 0.5, 0.0):
        Player(decider, seed=5, noise_scale=scale).act_chunk(frame())
    whole, half, none = decider.noise
    assert torch.equal(half, whole / 2)
    assert not none.any()
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="noise_scale"):
            Player(decider, noise_scale=wrong)
    decider.generative = False
    assert Player(decider).noise_scale == 1
    with pytest.raises(UsageError, match=r"noise_scale: 0.5, and this policy draws no noise"):
        Player(decider, noise_scale=0.5)


def test_noise_is_that_of_the_seed_and_of_omp_eval() -> None:
    decider = Counting()
    player = Player(decider, seed=5)
    player.act_chunk(frame())
    assert torch.equal(decider.noise[0][0], torch.randn(4, 3, generator=torch.Generator().manual_seed(5)))
    player.reset()
    player.act_chunk(frame())
    player.reset(5)
    player.act_chunk({name: np.stack([x, x]) for name, x in frame().items()})
    first, second, batch = decider.noise
    assert not torch.equal(first, second)
    assert torch.equal(first[0], batch[0])
    assert not torch.equal(batch[0], batch[1])


def test_a_batch_stays_one_until_reset() -> None:
    player = Player(Counting())
    both = {name: np.stack([x, x]) for name, x in frame().items()}
    assert player.act(both).shape == (2, 3)
    assert Player(Counting()).act_chunk(both).shape == (2, 3, 3)
    with pytest.raises(UsageError, match="batch of 1"):
        player.act(frame())
    player.reset()
    assert player.act(frame()).shape == (3,)


def test_a_whole_history_can_be_given() -> None:
    player = Player(Counting())
    history = {"state": [[7.0, 0], [8, 0]], "img": np.zeros((2, 4, 4, 3), np.uint8)}
    assert player.act_chunk(history, history=True)[0, 2] == 7
    with pytest.raises(DataError, match="state"):
        player.act_chunk(frame(), history=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": None}, "'state' is missing"),
        ({"state": [0.0]}, r"'state' has shape \(1,\), expected \(2,\)"),
        ({"state": np.zeros((1, 1, 2))}, "'state' has shape"),
        ({"state": np.zeros((0, 2))}, "'state' has shape"),
        ({"state": [float("nan"), 0]}, "not finite"),
        ({"state": [1e300, 0]}, "not finite"),
        ({"state": [0, float("nan")]}, r"not finite: 1 of 2, the first is nan at \[1\]"),
        ({"state": ["a", "b"]}, "'state' is <U1"),
        ({"state": [[1.0], [2.0, 3.0]]}, "'state' is no array"),
        ({"state": [True, False]}, "'state' is bool"),
        ({"img": np.zeros((4, 4, 3))}, "'img' is float64, expected uint8"),
        ({"img": np.zeros((3, 4, 4), np.uint8)}, "'img' has shape"),
        ({"state": np.zeros((2, 2))}, "batch is 2 of state, 1 of img"),
    ],
)
def test_what_does_not_fit_is_named_and_the_step_has_not_happened(change: dict[str, Any], words: str) -> None:
    player = Player(Counting())
    obs = {name: x for name, x in {**frame(), **change}.items() if x is not None}
    with pytest.raises(DataError, match=words) as found:
        player.act(obs)
    assert "\n" not in found.value.message
    assert player.act({**frame(), "prompt": "what is not read is passed over"})[0] == 0


@pytest.mark.parametrize(
    ("change", "shown", "told", "hint"),
    [
        ({}, {}, "'img' shows 8 x 6 pixels, the policy's pictures have 4 x 4", "resize the picture"),
        ({"cameras": ("top",)}, {}, "'img' (top) shows 8 x 6 pixels", "resize the picture"),
        ({"made_of": {"img": ("top",)}}, {"top": 0}, "'top' shows 8 x 6 pixels", "format.size"),
        ({}, {"img": np.zeros((3, 2, 4, 4, 3))}, "'img' has shape (3, 2, 4, 4, 3)", "its own history (chunk.n_obs)"),
        ({}, {"state": [0.0]}, "'state' has shape (1,)", "what the policy's data have as state"),
    ],
)
def test_what_has_another_shape_is_told_with_what_to_do(
    change: dict[str, Any], shown: dict[str, Any], told: str, hint: str
) -> None:
    """A picture of another size by the name of its camera, with both sizes."""
    signature = dataclasses.replace(Counting().signature, **change)
    with pytest.raises(DataError) as found:
        signature.frame({"state": [0.0, 0.0], "img": np.zeros((8, 6, 3), np.uint8), **shown})
    assert told in found.value.message
    assert hint in found.value.hint


def test_a_misspelled_name_is_told_with_the_nearest() -> None:
    with pytest.raises(DataError) as found:
        Player(Counting()).act({"stat": [0, 0], "img": frame()["img"]})
    assert found.value.hint == "did you mean stat?"
    with pytest.raises(DataError, match="list, expected arrays by name"):
        Player(Counting()).act([0, 0])  # type: ignore[arg-type]


def test_settings_that_do_not_go_together() -> None:
    for settings in ({"execute": 4}, {"execute": 0}, {"ensemble": -1.0}, {"ensemble": 0.1, "execute": 2}):
        with pytest.raises(UsageError):
            Player(Counting(), **settings)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="do not overlap"):
        Player(Counting(execute=1), ensemble=0.01)


def test_an_action_that_is_not_finite_is_not_given(workshop: Path) -> None:
    class Broken(Counting):
        def decide(self, history: Arrays, noise: Tensor) -> NDArray[np.float32]:
            return super().decide(history, noise) * np.nan

    with pytest.raises(Diverged):
        Player(Broken()).act(frame())


def test_a_checkpoint_acts_as_its_policy_does(workshop: Path) -> None:
    player = api.load(workshop / "run", device="cpu", seed=3)
    data = api.read_dataset(workshop / "toy")
    shown = {name: data.arrays[name][0] for name in player.signature.arrays}
    policy = open_run(workshop / "run")[-1].load("ema")
    obs = {name: torch.as_tensor(x)[None, None].expand(1, 2, *x.shape) for name, x in shown.items()}
    noise = torch.randn(policy.chunk.horizon, 2, generator=torch.Generator().manual_seed(3))[None]
    expected = policy.act(obs, noise)[0].numpy()
    np.testing.assert_allclose(player.act_chunk(shown), expected, rtol=0, atol=1e-6)
    player.reset(3)
    np.testing.assert_allclose([player.act(shown) for _ in range(3)], expected, rtol=0, atol=1e-6)
