"""What recorded data say of their actions and cameras, against what a policy learned from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from omp_cli.core.base.errors import UsageError
from omp_cli.core.deploy.frames import Array, Signature
from omp_cli.core.deploy.replay import Replay
from omp_cli.core.spec import Spec

SPEC = Spec(
    suite="own",
    task="pour",
    action_dim=2,
    state_dim=1,
    image=(4, 4, 6),
    max_steps=9,
    control_hz=10,
    cameras=("top", "wrist"),
)


def test_cameras_in_another_order_are_refused_and_other_names_are_told() -> None:
    told: list[str] = []
    for same in ((), ("top", "wrist")):
        SPEC.same_cameras(same, "data set d", told.append)
    assert not told
    with pytest.raises(UsageError, match="pictures are those of top, wrist, the policy's of wrist, top"):
        SPEC.same_cameras(("wrist", "top"), "data set d", told.append)
    SPEC.same_cameras(("front", "hand"), "data set d", told.append)
    assert told == [
        "data set d: its pictures are those of top, wrist, the policy's of front, hand; they are taken in their order"
    ]


def test_a_replay_shows_the_cameras_that_the_policy_knows() -> None:
    arrays = {"img": np.zeros((3, 4, 4, 6), np.uint8), "action": np.zeros((3, 2), np.float32)}
    data = cast(Any, SimpleNamespace(path="d", arrays=arrays, spec=SPEC, episode_ends=np.array([3])))
    of_img = {"img": Array((4, 4, 6), "uint8")}
    for cameras in ((), ("top", "wrist")):
        Replay(data, Signature("own", "pour", of_img, 1, 4, 2, 2, 10.0, 9, 1, cameras=cameras), pytest.fail)
    with pytest.raises(UsageError, match="data set d: its pictures"):
        Replay(data, Signature("own", "pour", of_img, 1, 4, 2, 2, 10.0, 9, 1, cameras=("wrist", "top")), pytest.fail)
