"""What moves the arms, as the metadata of a data set say it, and whether omp's environment can do the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from omp_cli.core.base.config import Above0, AtLeast0, Settings, checked
from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.data.foreign import refuse, short

CONTROLLER, ROBOT = "OSC_POSE", "Panda"
ARRANGEMENT = "single-arm-opposed"
CONFIGS = "controller_configs in the data's metadata"
UNUSED = ("kp_limits", "damping_ratio_limits", "ramp_ratio")
"""What robosuite reads of a controller with a variable impedance or an interpolation alone, which omp does not roll
out."""
_SCALING = ("input_max", "input_min", "output_min")
"""What robosuite scales displacements by; absolute actions are taken as they are."""
_TYPES = {"delta": True, "absolute": False}
"""``control_delta`` as robosuite 1.5 says it, in ``input_type``."""
_NUMBERS = 6


class Control(Settings):
    """The operational-space controller of the arms; the defaults are those of robomimic's data sets."""

    control_freq: Above0 = 20.0
    """Actions per second."""
    kp: Above0 = 150.0
    """Stiffness."""
    damping_ratio: AtLeast0 = 1.0
    """1 is critical."""
    control_delta: bool = True
    """Whether actions are displacements."""
    output_max: tuple[AtLeast0, AtLeast0, AtLeast0, AtLeast0, AtLeast0, AtLeast0] = (0.05, 0.05, 0.05, 0.5, 0.5, 0.5)
    """Displacement that action 1 asks for: 3 of position (m), 3 of rotation (rad)."""

    @classmethod
    def of(cls, env_kwargs: Mapping[str, Any], arms: int = 1, poses: bool = False) -> Control:
        """From the metadata of a data set, robosuite 1.4's or 1.5's; what these do not say is as in robomimic's.

        Args:
            env_kwargs: arguments of robosuite's environment.
            arms: how many the task has.
            poses: whether actions are poses, whatever the metadata say.

        Raises:
            DataError: the metadata are not what robosuite writes.
            UsageError: they ask for another kind of controller, or for other robots.
        """
        _check_robots(env_kwargs, arms)
        rate = env_kwargs.get("control_freq")
        found = [_control(arm, rate, arms) for arm in _arms(env_kwargs.get("controller_configs"))]
        if any(other != found[0] for other in found):
            raise UsageError(
                f"{CONFIGS} has a controller for each arm, and omp can only roll out one for all",
                "take a set whose arms have the same controller",
            )
        return found[0].model_copy(update={"control_delta": False}) if poses else found[0]

    def as_robosuite(self) -> dict[str, Any]:
        """``controller_configs`` of robosuite 1.4."""
        return {
            "type": CONTROLLER,
            "input_max": 1,
            "input_min": -1,
            "output_max": list(self.output_max),
            "output_min": [-limit for limit in self.output_max],
            "kp": self.kp,
            "damping_ratio": self.damping_ratio,
            "impedance_mode": "fixed",
            "kp_limits": [0, 300],
            "damping_ratio_limits": [0, 10],
            "position_limits": None,
            "orientation_limits": None,
            "uncouple_pos_ori": True,
            "control_delta": self.control_delta,
            "interpolation": None,
            "ramp_ratio": 0.2,
        }


def _check_robots(env_kwargs: Mapping[str, Any], arms: int) -> None:
    """UsageError where other robots than ours are named, more or fewer of them, or as they do not stand here."""
    robots = env_kwargs.get("robots")
    if robots is None:
        return
    if not isinstance(robots, str | list):
        refuse("robots in the data's metadata", robots, "a name or a list of names")
    named = robots if isinstance(robots, list) else [robots]
    for robot in named:
        if robot != ROBOT:
            raise UsageError(
                f"the data were recorded with robot {short(str(robot))!r}, of which omp can only roll out {ROBOT}",
                "take a set of that robot",
            )
    if len(named) != arms:
        raise UsageError(
            f"robots in the data's metadata: {len(named)} of {ROBOT}, and the task has {arms}", "check --task"
        )
    standing = env_kwargs.get("env_configuration")
    if arms > 1 and standing not in (None, "default", ARRANGEMENT):
        raise _unlike("env_configuration in the data's metadata", standing, ARRANGEMENT, "take a set of such arms")


def _arms(configs: Any) -> list[Mapping[str, Any]]:
    """The controller of each arm; one without entries where the metadata do not say any."""
    if not configs and isinstance(configs, list | None):
        return [{}]
    return [_osc(config) for config in (configs if isinstance(configs, list) else [configs])]


def _osc(configs: Any) -> Mapping[str, Any]:
    """The controller of one arm, robosuite 1.5's out of its parts."""
    if isinstance(configs, Mapping) and "body_parts" in configs:
        parts = configs["body_parts"]
        if not isinstance(parts, Mapping):
            raise DataError(f"{CONFIGS}: body_parts is a {type(parts).__name__}")
        if not (right := [part for name, part in parts.items() if "right" in name]):
            raise DataError(f"{CONFIGS}: body_parts has no right arm")
        configs = right[0]
    if not isinstance(configs, Mapping):
        raise DataError(f"{CONFIGS} is a {type(configs).__name__}, expected an object")
    if configs.get("type") != CONTROLLER:
        kind = str(configs.get("type"))[:60]
        raise UsageError(
            f"the data were recorded with controller {kind!r}, of which omp can only roll out {CONTROLLER}",
            "take a set of that controller",
        )
    return configs


def _control(found: Mapping[str, Any], rate: Any, arms: int) -> Control:
    """The controller of an arm; UsageError where what omp cannot set is otherwise than it has it."""
    given = {"control_freq": rate, **{key: found.get(key) for key in ("kp", "damping_ratio", "control_delta")}}
    if "damping_ratio" not in found:  # as robosuite before 1.4 calls it
        given["damping_ratio"] = found.get("damping")
    if "input_type" in found:
        if found["input_type"] not in list(_TYPES):  # a list, since the value may be of any kind
            raise _unlike(f"{CONFIGS}: input_type", found["input_type"], "delta")
        given["control_delta"] = _TYPES[found["input_type"]]
    given["output_max"] = None if found.get("output_max") is None else _spread(found["output_max"])
    values = {key: value for key, value in given.items() if value is not None}
    control = checked(Control, values, "the controller in the data's metadata")
    for key, ours in _needed(control, found.get("input_ref_frame"), arms).items():
        if key in found and _spread(found[key]) != _spread(ours):
            raise _unlike(f"{CONFIGS}: {key}", found[key], ours)
    return control


def _needed(control: Control, frame: Any, arms: int) -> dict[str, Any]:
    """What a file must not say otherwise: what decides what an action does, and is no setting of ``Control``."""
    delta = control.control_delta
    passed = {*Control.model_fields, *UNUSED, *(() if delta else _SCALING)}
    needed = {key: value for key, value in control.as_robosuite().items() if key not in passed}
    # robosuite 1.5's; the base of a single arm is not turned, so a displacement is the same in its frame
    return needed if delta and arms == 1 and frame == "base" else {**needed, "input_ref_frame": "world"}


def _unlike(place: str, found: Any, ours: Any, hint: str = "") -> UsageError:
    """What is said of a value that decides what an action does, and that omp cannot take over."""
    shown, needed = short(json.dumps(found)), json.dumps(ours)
    hint = hint or f"take a set of robosuite's own {CONTROLLER}: load_controller_config(default_controller=...)"
    return UsageError(f"{place} is {shown}, and omp can only roll out {needed}", hint)


def _spread(value: Any) -> Any:
    """A number as the list that robosuite makes of it, one for each direction; anything else as it is."""
    return [value] * _NUMBERS if isinstance(value, int | float) and not isinstance(value, bool) else value
