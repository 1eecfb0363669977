"""The controller and the robots that a file names: each thing that decides what an action does is omp's, or refused."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.suites.robomimic.controller import UNUSED, Control

FOUND = find_spec("robosuite")
OSC: dict[str, Any] = {
    "type": "OSC_POSE",
    "input_max": 1,
    "input_min": -1,
    "output_max": [0.05, 0.05, 0.05, 0.5, 0.5, 0.5],
    "output_min": [-0.05, -0.05, -0.05, -0.5, -0.5, -0.5],
    "kp": 150,
    "damping_ratio": 1,
    "impedance_mode": "fixed",
    "kp_limits": [0, 300],
    "damping_ratio_limits": [0, 10],
    "position_limits": None,
    "orientation_limits": None,
    "uncouple_pos_ori": True,
    "control_delta": True,
    "interpolation": None,
    "ramp_ratio": 0.2,
}
"""What ``load_controller_config(default_controller="OSC_POSE")`` of robosuite 1.4 gives, and recordings repeat."""
OTHER: dict[str, Any] = {
    "input_max": 2,
    "input_min": -2,
    "output_min": [-0.1] * 6,
    "impedance_mode": "variable",
    "position_limits": [[-1, -1, 0], [1, 1, 1]],
    "orientation_limits": [[-1, -1, -1], [1, 1, 1]],
    "uncouple_pos_ori": False,
    "interpolation": "linear",
    "input_ref_frame": "tool",
    "input_type": "velocity",
}
"""Values that move an arm otherwise than omp can."""
TAKEN: dict[str, Any] = {"kp": 80, "damping_ratio": 2, "control_delta": False, "output_max": [0.1] * 6}


def of(arms: int = 1, **changed: Any) -> Control:
    return Control.of({"controller_configs": {**OSC, **changed}}, arms)


@pytest.mark.skipif(FOUND is None, reason="robosuite is not installed")
def test_these_are_robosuites_names_and_defaults() -> None:
    assert FOUND is not None
    folder = Path(FOUND.origin or "").parent / "controllers/config"
    assert json.loads((folder / "osc_pose.json").read_text()) == OSC
    assert of() == Control()


@pytest.mark.parametrize("key", [key for key in {**OSC, **OTHER} if key != "type"])
def test_each_field_is_taken_over_or_refused_or_does_not_count(key: str) -> None:
    if key in TAKEN:
        more = {"output_min": [-0.1] * 6} if key == "output_max" else {}
        assert of(**{key: TAKEN[key]}, **more) == Control(**{key: TAKEN[key]})
    elif key in UNUSED:
        assert of(**{key: [0, 1]}) == Control()
    else:
        with pytest.raises(UsageError) as refused:
            of(**{key: OTHER[key]})
        for word in (key, json.dumps(OTHER[key]), "omp can only roll out"):
            assert word in refused.value.message
        assert refused.value.hint


def test_numbers_are_as_robosuite_reads_them() -> None:
    assert of(input_max=[1.0] * 6, output_max=0.1, output_min=-0.1) == Control(output_max=(0.1,) * 6)
    assert of(control_delta=False, input_max=3, output_min=[-9] * 6) == Control(control_delta=False), (
        "nothing is scaled"
    )
    with pytest.raises(UsageError, match="output_min"):
        of(output_max=0.1)


def test_the_frame_of_displacements_counts_where_bases_are_turned() -> None:
    assert of(input_ref_frame="base") == of(2, input_ref_frame="world") == Control()
    for arms, more in ((2, {}), (1, {"control_delta": False})):
        with pytest.raises(UsageError, match='input_ref_frame is "base"'):
            of(arms, input_ref_frame="base", **more)


def test_every_arm_is_looked_at() -> None:
    assert Control.of({"controller_configs": [OSC, OSC]}, 2) == Control()
    with pytest.raises(UsageError, match="a controller for each arm"):
        Control.of({"controller_configs": [OSC, {**OSC, "kp": 80}]}, 2)
    with pytest.raises(UsageError, match="uncouple_pos_ori"):
        Control.of({"controller_configs": [OSC, {**OSC, "uncouple_pos_ori": False}]}, 2)
    with pytest.raises(DataError, match="no right arm"):
        Control.of({"controller_configs": {"body_parts": {"left": OSC}}})


@pytest.mark.parametrize(
    ("given", "arms", "error", "words"),
    [
        ({"robots": ["Panda", "Panda"]}, 1, UsageError, "2 of Panda, and the task has 1"),
        ({"robots": "Panda"}, 2, UsageError, "1 of Panda, and the task has 2"),
        ({"robots": []}, 1, UsageError, "0 of Panda, and the task has 1"),
        ({"robots": 7}, 1, DataError, "robots .* is the number 7, expected a name"),
        ({"robots": ["Panda"] * 2, "env_configuration": "single-arm-parallel"}, 2, UsageError, "single-arm-parallel"),
    ],
)
def test_other_robots_are_refused(given: dict[str, Any], arms: int, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Control.of({**given, "controller_configs": OSC}, arms)


def test_robots_as_robosuite_writes_them() -> None:
    assert Control.of({"robots": "Panda", "env_configuration": "single-arm-parallel"}) == Control(), (
        "one arm stands alone"
    )
    assert Control.of({"robots": ["Panda"] * 2, "env_configuration": "default"}, 2) == Control()
