"""The contract of a suite: a benchmark of tasks that all share one kind of environment."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import MissingDependency, UsageError, did_you_mean, machine_error
from omp_cli.core.base.layers import flatten, unflatten
from omp_cli.core.data.topics import RosTopics
from omp_cli.core.families import SUITES as SUITES
from omp_cli.core.spec import Spec

Metric = Literal["success", "return"]
REAL = {"name": "own"}
"""The suite, as plain data, of all data that no simulator shows."""


@dataclass(frozen=True)
class Outcome:
    """What one environment step returned: the suite's own reward and success flag, and whether the task is over.

    ``terminated`` is the task's own end (the robot has fallen, everything is done), after which no reward can follow;
    never the step limit. ``mode`` names the way in which the episode does the task, where there are several and as soon
    as it has taken one: an evaluation counts them beside the demonstrations'. ``ends`` says how near the state after
    the step is to success, by names of the suite's own: a distance as a number, a bool for what has happened.
    """

    reward: float
    success: bool
    terminated: bool = False
    mode: str | None = None
    ends: Mapping[str, float | bool] = field(default_factory=dict)


Views = dict[str, Callable[[], NDArray[Any]]]
"""How an environment makes the arrays of an observation, by their names."""


@contextmanager
def loading(name: str, install: str, *also: type[Exception]) -> Iterator[None]:
    """MissingDependency when a simulator does not load within; ``also`` are errors of its own that mean so."""
    # an AttributeError: MUJOCO_GL names what is not here
    kinds: tuple[type[Exception], ...] = (ImportError, AttributeError, OSError, *also)
    try:
        yield
    except kinds as error:
        hint = "unset MUJOCO_GL" if "MUJOCO_GL" in os.environ else install
        if (refused := machine_error(error, name)) is not None:
            raise refused from error
        raise MissingDependency(f"{name} does not load: {error}", hint) from None


class TaskEnv(ABC):
    """One task, one process. Observations are made on request, so frames that nobody reads cost no rendering."""

    spec: Spec

    @abstractmethod
    def reset(self, seed: int) -> None:
        """Go to the start state that ``seed`` determines, bit for bit, in any process."""

    @abstractmethod
    def step(self, action: NDArray[np.floating[Any]]) -> Outcome:
        """Execute one action (A,), clipped to [-1, 1]."""

    @abstractmethod
    def observe(self, keys: Iterable[str]) -> dict[str, NDArray[Any]]:
        """The present frame's arrays of these names.

        "state" (S,) float32, "point_cloud" (N, 3) float32, "full_state" float32, "img" (H, W, C) uint8. "full_state" is
        all that the simulator knows; where that is no more than the state, it is left out, or is a KeyError.
        """

    def expert(self) -> NDArray[np.float32]:
        """Action (A,) of the suite's scripted expert in the present state, as the expert wants it: not clipped.

        UsageError where the suite has none.
        """
        suite = self.spec.suite
        files = f"omp prepare {suite} {'PATH' if is_users_own(suite) else '--list'}"
        raise UsageError(f"suite {suite} has no scripted expert", f"its data come from files: {files}")

    @abstractmethod
    def start_state(self) -> NDArray[np.float64]:
        """Vector that identifies the start state of the present episode (object and goal poses included)."""

    @abstractmethod
    def picture(self, size: int) -> NDArray[np.uint8]:
        """RGB picture (size, size, 3) of the scene for people, upright; needs no OpenGL."""

    def read_points(self, count: int | None) -> None:  # noqa: B027 - most tasks make all points at once
        """Only the first ``count`` points of a cloud will be read: an environment may leave the others out."""

    def img_in(self, state: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The policy's picture in a state of the simulator; the episode in progress is lost."""
        raise UsageError(f"suite {self.spec.suite} cannot be put into a state")

    @property
    def filled(self) -> int:
        """Points that the last cloud lacked and that were filled by repetition."""
        return 0

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time of observations since the environment was made, by part ("rays", "crop", "fps" ...)."""
        return {}

    @property
    def points_on(self) -> dict[str, int]:
        """Points of all clouds since the environment was made, before sampling, by what they lay on."""
        return {}

    def provenance(self) -> dict[str, Any]:
        """What a reader of the data must know: camera, crop, versions; JSON types only."""
        return {}

    def close(self) -> None:  # noqa: B027 - most tasks hold nothing
        """Free what the simulator holds."""


class Suite(ABC):
    """A benchmark. Its ``Config`` holds what changes the observations (camera, crop, points ...).

    ``metric`` is what counts in an evaluation; ``scripted`` says whether there is an expert to record, and
    ``keeps_failures`` whether its failures are recorded as well. Where a return counts parts of the task, ``counts``
    names them ("finished sub-tasks"); then success is all of them. ``from_files``: without an expert, files are what is
    meant where no source of data is named. ``judged_at_end``: success is that of the last step, so an evaluation goes
    on after success. ``needs``: the package that simulates, what people call it, and the line that installs it. A suite
    that is not ``simulated`` has no environments and no tasks but those that its data name.
    """

    Config: ClassVar[type[Settings]]
    default_task: ClassVar[str]
    metric: ClassVar[Metric] = "success"
    counts: ClassVar[str | None] = None
    scripted: ClassVar[bool] = True
    from_files: ClassVar[bool] = True
    keeps_failures: ClassVar[bool] = False
    judged_at_end: ClassVar[bool] = False
    simulated: ClassVar[bool] = True
    needs: ClassVar[tuple[str, str, str] | None] = None

    def __init__(self, config: Settings) -> None:
        self.config = config

    @property
    def judged(self) -> bool:
        """Whether its episodes can succeed."""
        return self.metric == "success" or self.counts is not None

    @abstractmethod
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Named groups of tasks ("easy", "mw34", ...)."""

    @abstractmethod
    def tasks(self) -> tuple[str, ...]:
        """Every task name."""

    def recommended(self) -> Mapping[str, Any]:
        """Settings of this kind, by dotted names, with which new data are made unless a line says otherwise.

        They may follow from the other settings. The defaults of ``Config`` are what old data mean where they say
        nothing; these are what is best by now.
        """
        return {}

    @abstractmethod
    def spec(self, task: str) -> Spec:
        """Observation and action of a task; must not need the simulator."""

    @abstractmethod
    def make(self, task: str) -> TaskEnv:
        """A fresh environment; MissingDependency when the simulator is not installed."""

    def for_data(self, spec: Spec, notes: Mapping[str, Any], environment: str | None) -> Settings | None:
        """Configuration with which data from files are rolled out; None when no environment shows such data.

        Args:
            spec: what the files hold.
            notes: what they say about themselves (``Recording.notes``): "env_id", cameras ...; and "constant_state",
                the numbers of the state that never change, by index.
            environment: the suite's name of the one to take; UsageError when it does not fit.
        """
        if environment is not None:
            raise UsageError(f"suite {spec.suite} has no environments to choose between")
        return self.config

    def as_read(self, obs: Mapping[str, Any], reads: Collection[str]) -> Mapping[str, Any]:
        """What a policy reads, of what a robot shows; the observation itself, unless data say how they were made.

        Args:
            obs: arrays by name, of one frame or with an axis of frames or of a batch before.
            reads: the arrays that the policy reads.

        Raises:
            DataError: one of them cannot be made of what is there.
        """
        return obs

    def made_of(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the arrays of which ``as_read`` makes those that a policy reads, where they are others."""
        return {}

    def topics(self) -> RosTopics | None:
        """Where a robot on ROS says the arrays of the data; None where the data are no recordings of one."""
        return None

    def file_states(self, task: str) -> tuple[str, ...]:
        """Names of the arrays in files that together are a state of the simulator, where it can be shown anew."""
        return ()

    def require(self) -> None:
        """MissingDependency when the simulator is plainly not installed; does not load it."""
        if self.needs is not None and find_spec(self.needs[0]) is None:
            raise MissingDependency(f"{self.needs[1]} is not installed", self.needs[2])

    def select(self, tasks: Iterable[str], groups: Iterable[str]) -> tuple[str, ...]:
        """Tasks named one by one and by group, each once, in order; the default task when nothing is named."""
        chosen: list[str] = []
        for name in tasks:
            if name not in self.tasks():
                raise UsageError(f"unknown task {name!r}", did_you_mean(name, self.tasks()))
            chosen.append(name)
        for group in groups:
            if group not in self.groups():
                raise UsageError(f"unknown group of tasks {group!r}", did_you_mean(group, self.groups()))
            chosen.extend(self.groups()[group])
        return tuple(dict.fromkeys(chosen)) or (self.default_task,)


def as_recommended(config: Mapping[str, Any]) -> Settings:
    """A suite's settings for new data, of which a line says these alone, as plain data with "name"."""
    told = flatten(config)
    return SUITES.parse(unflatten({**SUITES.build(SUITES.parse(config)).recommended(), **told}))


def with_displacements(spec: Spec, config: Mapping[str, Any]) -> Spec:
    """The spec of data made before specs had displacements, with those that the data's suite names today.

    Args:
        spec: the spec of the data.
        config: the suite that recorded them, as plain data.

    Returns:
        ``spec`` itself where it names some, and where that suite is not here or shows another state or action by now.
    """
    if spec.displacements or config.get("name") not in SUITES.names():
        return spec
    suite = SUITES.build(SUITES.parse(config))
    if spec.task not in suite.tasks():
        return spec
    today = suite.spec(spec.task)
    layout = ("state_dim", "action_dim", "end_effector", "positions")
    if any(getattr(spec, name) != getattr(today, name) for name in layout):
        return spec
    return spec.model_copy(update={"displacements": today.displacements})


def is_users_own(name: str) -> bool:
    """Whether a suite of that name is a plugin's, with environments: what its user records is its own, not lent."""
    return name in SUITES.names() and not SUITES.ships(name) and SUITES.get(name).simulated


def recorded_suite(config: Mapping[str, Any]) -> Suite:
    """The suite that a data set or checkpoint names; MissingDependency when only its data can be had here."""
    if config.get("name") not in SUITES.names():
        raise MissingDependency(
            f"suite {config.get('name')}: there is data but no environment in this omp, so nothing to roll out in",
            f"with an environment: {', '.join(SUITES.names())}; one of your own: --plugin FILE",
        )
    return SUITES.build(SUITES.parse(config))
