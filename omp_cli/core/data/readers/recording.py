"""What a reader found in a file, and what it was asked about.

Legend: T frames of an episode, S state dimension, A action dimension, H, W, C height, width and channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from omp_cli.core.data.catalogue import TaskFacts
from omp_cli.core.data.store import Arrays
from omp_cli.core.data.topics import RosTopics
from omp_cli.core.spec import Spec


@dataclass(frozen=True)
class Subject:
    """Which task a file is about, and what the file itself does not say.

    Attributes:
        suite: benchmark.
        task: task within it.
        facts: step limit and rate of evaluation.
        end_effector: where its position is in the benchmark's usual state; None when there is none.
        states: names of the arrays that make a state of the simulator, where it can be shown anew.
        hz: frames per second that the user asks for.
        leave_out: numbers of the episodes, counted from 0 in the file, that are not taken, and may be damaged.
    """

    suite: str
    task: str
    facts: TaskFacts
    end_effector: tuple[int, int, int] | None = None
    states: tuple[str, ...] = ()
    hz: float | None = None
    leave_out: frozenset[int] = frozenset()

    def kept(self, episodes: int) -> list[int]:
        """Of so many episodes from the start of a file those that are to be read; all where it would be none."""
        return [number for number in range(episodes) if number not in self.leave_out] or list(range(episodes))


@dataclass(frozen=True)
class PreparedData:
    """What a data set of omp's says beside its arrays that a data set of it, or of several such, has to say as well.

    Attributes:
        suite: how its arrays were made of a robot's, as plain data; None where that holds no more.
        end_effector: see ``Spec``.
        cloud_in_fps_order: see ``Spec``.
    """

    suite: Mapping[str, Any] | None
    end_effector: tuple[int, int, int] | None
    cloud_in_fps_order: bool


@dataclass(frozen=True)
class Recording:
    """What a reader found.

    Attributes:
        episodes: each with "state" (T, S) float32 and "action" (T, A) float32 in physical units; where the file has
            them "img" (T, H, W, C) uint8, "reward" (T,) float32, "success", "terminal", "timeout" (T,) bool.
        spec: what the task lets a policy see and do.
        notes: what the file says about itself; JSON types only.
        starts: a vector per episode that identifies its start state.
        simulator: whether ``starts`` are whole states of the simulator, as its environment knows them.
        scenes: per episode the model (XML) of a raw recording, whose "state" is the simulator's, in float64: it has to
            be shown in the simulator before it is a data set. None for all others.
        states: per episode the simulator's state before each action, (T, n) by the subject's names, where the file has
            it.
        sheet: what a contact sheet shows of the first episodes, where it is not their "img".
        said: whole sentences about what was left out, filled in or understood, which the user has to know.
        held_out: the episodes, by index and ascending, that the file's publisher keeps for validation; a reader names
            all that it read, ``read_inputs`` none where that would be all.
        names: names of the numbers of "state" and "action", where the file says them.
        cameras: names of the cameras of "img", in the order of its channels.
        whites: of each of these cameras what white is in its pictures of floating point numbers, 1 or 255; None of one
            with other pictures, and empty where nothing says it.
        parts: the arrays that make the state one after the other, and how many numbers each has.
        hz: frames per second, where the file says so.
        units: units of the numbers of "state" and "action", where the file says them.
        camera: of what takes its depth pictures, where the file says it: ``intrinsics`` (fx, fy, cx, cy in pixels) and
            ``depth_scale`` (metres of a unit).
        numbers: of the episodes, counted from 0 in the file, where some of it are left out; empty where none are.
        left_out: numbers of the episodes that the reader has passed over, as ``Subject.leave_out`` says; what else is
            left out is read, and ``without`` takes it out.
        files: of several files that are read as one, the name of each and how many episodes are in all before it;
            empty of one file.
        topics: of a robot on ROS, where its arrays come from; None of others.
        prepared: of a data set of omp's; None of all else.
    """

    episodes: list[Arrays]
    spec: Spec
    notes: dict[str, Any]
    starts: list[NDArray[Any]]
    simulator: bool = False
    scenes: list[str] | None = None
    states: list[Arrays] | None = None
    sheet: list[Arrays] | None = None
    said: tuple[str, ...] = ()
    held_out: tuple[int, ...] = ()
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cameras: tuple[str, ...] = ()
    whites: tuple[int | None, ...] = ()
    parts: tuple[tuple[str, int], ...] = ()
    hz: float | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    camera: Mapping[str, Any] = field(default_factory=dict)
    numbers: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()
    files: tuple[tuple[str, int], ...] = ()
    topics: RosTopics | None = None
    prepared: PreparedData | None = None

    @property
    def known(self) -> int:
        """How many episodes were to be read, those among them that the reader has passed over."""
        return len(self.episodes) + len(self.left_out)

    def names_of(self, key: str) -> tuple[str, ...]:
        """Names of the numbers of "state" or "action", the user's before the file's; empty where nobody says them."""
        channels = self.spec.state_channels if key == "state" else self.spec.action_channels
        return channels.names if channels is not None else self.names.get(key, ())

    def number(self, place: int) -> int:
        """Index of an episode in the file, or in all files one after the other, as ``leave_out`` counts."""
        return self.numbers[place] if self.numbers else place

    def name(self, place: int) -> str:
        """What messages call an episode: "episode 7", of several files "episode 7 (episode 2 of tuesday.hdf5)"."""
        return f"episode {self.told(self.number(place))}"

    def told(self, number: int) -> str:
        """A number of an episode, of several files with the one that it is in."""
        of = [(file, before) for file, before in self.files if before <= number]
        return f"{number} (episode {number - of[-1][1]} of {of[-1][0]})" if of else str(number)
