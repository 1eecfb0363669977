"""What an environment shows: what would silently become something else is refused in one line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omp_cli.core.base.errors import DataError
from omp_cli.core.envs.chunking import ChunkEnv
from omp_cli.core.spec import Spec
from omp_cli.core.suites.base import Outcome, TaskEnv
from omp_cli.core.suites.toy import ToyEnv
from tests.conftest import Omp

SPEC = Spec(suite="mine", task="push", action_dim=1, state_dim=2, max_steps=4, control_hz=1.0, image=(4, 4, 3))
STATE, PICTURE = np.zeros(2, np.float64), np.zeros((4, 4, 3), np.uint8)


class Shown(TaskEnv):
    """Shows one frame, whatever is done."""

    spec = SPEC

    def __init__(self, frame: dict[str, Any]) -> None:
        self._frame = frame

    def reset(self, seed: int) -> None:
        """Nothing moves here."""

    def step(self, action: Any) -> Outcome:
        return Outcome(0.0, False)

    def observe(self, keys: Iterable[str]) -> dict[str, Any]:
        return self._frame

    def start_state(self) -> Any:
        return np.zeros(1)

    def picture(self, size: int) -> Any:
        return PICTURE


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        ({"state": STATE[None]}, r"shows 'state' of shape \(1, 2\), and \(2,\) is expected"),
        ({"state": np.zeros(3)}, r"shows 'state' of shape \(3,\), and \(2,\) is expected"),
        ({"img": PICTURE.transpose(2, 0, 1)}, r"shows 'img' of shape \(3, 4, 4\), and \(4, 4, 3\) is expected"),
        ({"img": PICTURE / 255.0}, "shows 'img' of type float64"),
        ({"states": STATE}, "shows no 'state'"),
    ],
    ids=["batch of one", "longer", "channels first", "0 to 1", "another name"],
)
def test_a_frame_that_would_become_another_one_is_refused(frame: dict[str, Any], told: str) -> None:
    whole = {"state": STATE, "img": PICTURE}
    shown = {key: value for key, value in whole.items() if "states" not in frame or key != "state"} | frame
    with pytest.raises(DataError, match=f"the environment of mine push {told}"):
        ChunkEnv(Shown(shown), ("state", "img"), 2, 1).reset(seed=0)


@pytest.mark.parametrize(("state", "told"), [(lambda env: np.zeros(1), True), (ToyEnv.start_state, False)])
def test_episodes_that_all_begin_alike_are_told(
    omp: Omp, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: Any, told: bool
) -> None:
    monkeypatch.setattr(ToyEnv, "start_state", state)
    judged = omp("eval", workshop / "run", "--episodes", 2, "--workers", 1, "--out", tmp_path / "e")
    assert judged.code == 0, judged.err
    assert ("all 2 episodes begin in one start state" in " ".join(judged.err.split())) == told
