"""ROS bags: one episode each, of topics that come at rates of their own and are looked at together ``--hz`` times a
second.

At each frame an observation is what a topic has said last, and an action what is said last by the next frame. Arrays
are named by topic and path in its messages (``/joint_states/position``), pictures and clouds by their topic, and poses
of a robot's frames as ``tf:base>tool``.

Legend: T frames of an episode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import Keys, Names
from omp_cli.core.base.errors import DataError, UsageError, did_you_mean
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.readers.apart import joined_episodes
from omp_cli.core.data.readers.base import FORMATS, Reader, Recording, Subject, names_of_parts
from omp_cli.core.data.readers.cameras import by_name
from omp_cli.core.data.readers.roles import RolesConfig, one_at_most
from omp_cli.core.data.readers.rosbag_clock import BagClock, TooShort, clock_of, rate_of, stretches
from omp_cli.core.data.readers.rosbag_file import bags_in, files_of, opened
from omp_cli.core.data.readers.rosbag_messages import MessagePart
from omp_cli.core.data.readers.rosbag_scan import Scanned, scanned
from omp_cli.core.data.readers.rosbag_signals import FramePose, Joints, Signal
from omp_cli.core.data.readers.rosbag_transforms import PREFIX
from omp_cli.core.data.readers.stored import Stored
from omp_cli.core.spec import Rotation

EXPECTED = (
    "bags of ROS 1 (.bag) or ROS 2 (.mcap, .db3, or a folder with metadata.yaml), or a folder of such, one episode each"
)
_MANY = 60
"""Arrays that are listed where none was named."""
_UNIT = 0.01
"""What the length of a quaternion may miss 1 by."""
_NO_CAMERA = frozenset(("image", "img", "color", "rgb", "compressed", "raw", "rect", "mono"))


class RosbagConfig(RolesConfig):
    """What is taken from bags: topics and paths in them (/joint_states/position), or poses of frames (tf:base>tool)."""

    name: Literal["rosbag"] = "rosbag"
    state: Keys = ()
    """What makes the state, one after the other: numbers by topic and path (/joint_states/position,
    /hand/pose/orientation), or the pose of a frame in another one, x, y, z and a quaternion (tf:base>tool).
    """
    action: Keys = ()
    """What makes the action, named likewise, as it was said last by the next frame."""
    img: Keys | None = None
    """Topics of pictures (sensor_msgs/Image, CompressedImage), which lie one after the other in the channels; None
    takes none.
    """
    cloud: Names | None = None
    """The topic of point clouds (sensor_msgs/PointCloud2); None takes none."""
    depth: Names = ()
    """The topic of depth pictures (sensor_msgs/Image) of which clouds are to be made. Their unit follows from their
    encoding, and the camera's intrinsics from camera_info beside them, where the line does not say them.
    """
    pose: Names = ()
    """Where the camera of depth pictures is, if it moves: tf:base>camera."""
    reward: Names | None = None
    """The rewards of actions, from which FQL learns, as they were said last by the next frame; None takes none."""
    success: Names | None = None
    """Whether the task was done, 0 or not; None takes none."""
    terminal: Names | None = None
    """Whether the task was over, 0 or not; None takes none."""
    episode: Names = ()
    """The topic that says when an episode is recorded, of a bag that holds several: each stretch of one value that is
    not 0 or false. Empty takes each bag as one episode.
    """
    clock: Literal["received", "stamped"] = "received"
    """Which time counts for a message: when the recorder received it, or what its own head says."""


@FORMATS.register("rosbag")
class RosbagReader(Reader):
    """One episode for each bag."""

    Config = RosbagConfig
    config: RosbagConfig
    expected = EXPECTED
    simulated = False
    folders = True

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """See the base class."""
        return bool(bags_in(path))

    @classmethod
    def label(cls, path: Path) -> str:
        """See the base class."""
        return path.absolute().name if path.is_dir() else path.stem

    def files(self, path: Path, limit: int | None) -> tuple[Path, ...]:
        """See the base class; all bags where some of them may hold no episode."""
        bags = _bags(path)[: None if self.config.episode else limit]
        return tuple(file for bag in bags for file in files_of(bag))

    def read(self, path: Path, subject: Subject, limit: int | None, progress: Progress) -> Recording:
        """See the base class."""
        bags, config = _bags(path), self.config
        one_at_most(episode=config.episode)
        known = len(bags) if limit is None else min(limit, len(bags))
        progress.start(f"{subject.task}: reading bags", known)
        episodes: list[_Episode] = []
        for bag in bags:
            if len(episodes) == limit:
                break
            with opened(bag) as content:
                found = scanned(content, self._named, config.pose, config.clock == "stamped")
            first = episodes[0].found if episodes else found
            for name, of in found.signals.items():
                of.match(first.signals.get(name), f"{bag}: {name}")
            episodes += self._episodes(bag, found, self._rate(path, subject, first))[: limit and limit - len(episodes)]
            progress.advance()
        if not episodes:
            raise DataError(f"{path}: {config.episode[0]} is 0 all the time, or for less than two frames")
        return self._recorded(path, subject, episodes, bags)

    def _recorded(self, path: Path, subject: Subject, episodes: Sequence[_Episode], bags: Sequence[Path]) -> Recording:
        """The recording of episodes."""
        config, first = self.config, episodes[0].found
        _of_one_size([of for one in episodes for name, of in one.found.signals.items() if first.kind(name) == "cloud"])
        said = dict[str, list[str]]()
        for one in episodes:
            for about, sentence in one.clock.said.items():
                where = one.place.relative_to(path.parent) if path in one.place.parents else one.place.name
                said.setdefault(about, []).append(f"{where}: {sentence}")
        cameras = [one.found.camera(config.depth[0]) for one in episodes] if config.depth else [{}]
        told = [
            _order(bags, bool(config.episode)),
            *map(_of_bags, said.values()),
            *_not_read(first),
            *_of_cameras(episodes, cameras),
        ]
        heads, known = [self._arrays(one) for one in episodes], len(episodes) if config.episode else len(bags)
        recorded = joined_episodes(path, config, [one.place for one in episodes], heads, subject, known, told)
        return replace(
            recorded,
            spec=recorded.spec.model_copy(
                update={f"{key}_rotations": _rotations(first, recorded, key) for key in ("state", "action")}
            ),
            hz=subject.hz,
            names={key: _names(first, recorded.notes[key]) for key in ("state", "action")},
            cameras=tuple(by_name(recorded.notes["cameras"], _camera)),
            camera=cameras[0],
        )

    @property
    def _seen(self) -> tuple[str, ...]:
        """The names of all observations."""
        of = self.config
        return tuple(dict.fromkeys((*of.state, *(of.img or ()), *(of.cloud or ()), *of.depth, *of.pose)))

    @property
    def _done(self) -> tuple[str, ...]:
        """The names of actions and of what came of them that are not observed, too."""
        of = self.config
        named = (*of.action, *(of.reward or ()), *(of.success or ()), *(of.terminal or ()))
        return tuple(name for name in dict.fromkeys(named) if name not in self._seen)

    @property
    def _named(self) -> tuple[str, ...]:
        """The names of all that is taken."""
        return (*dict.fromkeys((*self._seen, *self._done, *self.config.episode)),)

    def _episodes(self, bag: Path, found: Scanned, hz: float) -> list[_Episode]:
        """The episodes of a bag: all of it, or as a topic says."""
        seen, acted = ({n: of for n, of in found.signals.items() if n in names} for names in (self._seen, self._done))
        if not self.config.episode:
            return [_Episode(bag, found, clock_of(str(bag), seen, acted, hz))]
        episodes = []
        (name,) = self.config.episode
        if name not in found.signals:
            raise UsageError(f"{bag}: no {name!r} to be format.episode", did_you_mean(name, found.parts))
        for number, within in enumerate(stretches(str(bag), found.signals[name])):
            place = bag / f"episode {number}"
            try:
                episodes.append(_Episode(place, found, clock_of(str(place), seen, acted, hz, within)))
            except TooShort:
                continue  # a button that was pressed by mistake; the episodes that are there are counted and said
        return episodes

    def _arrays(self, one: _Episode) -> dict[str, Stored]:
        """The arrays of an episode."""
        signals, clock = one.found.signals, one.clock
        arrays = {name: _like(part, len(clock.seen)) for name, part in one.found.parts.items() if name not in signals}
        arrays |= {name: of.stored_at(clock.seen) for name, of in signals.items() if name in self._seen}
        return arrays | {name: of.stored_at(clock.acted) for name, of in signals.items() if name in self._done}

    def _rate(self, path: Path, subject: Subject, first: Scanned) -> float:
        """Frames per second; UsageError where nobody says them, or what state and action are."""
        for role in ("state", "action"):
            if not getattr(self.config, role):
                what = [f"{name} {part.said}" for name, part in sorted(first.parts.items())] + [*first.frames]
                raise UsageError(
                    f"{path}: a bag does not say what is the {role}; it has: {listed(what, _MANY)}",
                    f"--set 'format.{role}=[\"NAME\"]'"
                    + (f"; of tf any two frames: {PREFIX}A>B" if first.frames else ""),
                )
        if subject.hz is None:
            rates = [f"{name} {rate_of(of.times)}" for name, of in first.signals.items()]
            raise UsageError(
                f"{path}: topics come at rates of their own: {listed(rates)}",
                "say how often they are looked at together: --hz 20, for 20 frames a second",
            )
        return subject.hz


@dataclass(frozen=True)
class _Episode:
    """An episode: what messages call it, the bag that it is in, and its frames."""

    place: Path
    found: Scanned
    clock: BagClock


def _bags(path: Path) -> tuple[Path, ...]:
    """The bags of a path; DataError where there is none."""
    found = bags_in(path)
    if not found:
        raise DataError(f"{path}: no bag of ROS", f"expected: {EXPECTED}")
    return found


def _like(part: MessagePart, frames: int) -> Stored:
    """An array that is not taken, for messages."""

    def read(_: int) -> NDArray[Any]:
        raise AssertionError("nothing takes it")

    return Stored((frames, *part.shape), part.dtype, None, read)


def _of_one_size(clouds: Sequence[Signal]) -> None:
    """Give clouds as many points as the largest has; what is missing is not a number."""
    for of in clouds:
        of.shape = (max(other.shape[0] for other in clouds), 3)


def _order(bags: Sequence[Path], several: bool) -> str:
    """What to say of bags, of which each may hold several episodes, and of frames."""
    named = bags[0].name
    if len(bags) > 1:
        named = f"{len(bags)} bags, by the numbers in their names: {named} to {bags[-1].name}"
    return (
        f"{named}, {'several episodes' if several else 'an episode'} each: observations are what each topic has said "
        "last at a frame, actions what it says last by the next one"
    )


def _of_bags(said: Sequence[str]) -> str:
    """A sentence on a bag, and of how many others the like is true."""
    return said[0] + (f" (the like in {len(said) - 1} more)" if said[1:] else "")


def _not_read(first: Scanned) -> list[str]:
    """The sentence on topics that omp does not read."""
    named = [f"{name} ({kind})" for name, kind in first.other.items()]
    return [f"topics that omp does not read: {listed(named)}"] if named else []


def _of_cameras(episodes: Sequence[_Episode], cameras: Sequence[object]) -> list[str]:
    """The sentence on episodes whose depth is another camera's."""
    other = [one.place.name for one, camera in zip(episodes, cameras, strict=False) if camera != cameras[0]]
    return [f"{listed(other)}: of another depth camera than {episodes[0].place.name}'s, which counts"] if other else []


def _names(first: Scanned, arrays: Sequence[str]) -> tuple[str, ...]:
    """Names of the numbers of a vector: joints by their own names, where these are of one array."""
    of = {name: first.signals[name] for name in arrays}
    joints = [name for signal in of.values() for name in signal.names]
    found: list[str] = []
    for name, signal in of.items():
        width = signal.shape[0] if signal.shape else 1
        if not signal.names:
            found += names_of_parts([name], [width])
        elif len(of) == 1 or (isinstance(signal, Joints) and len(set(joints)) == len(joints)):
            found += signal.names
        else:
            found += [f"{name}.{number}" for number in signal.names]
    return tuple(found)


def _rotations(first: Scanned, recorded: Recording, key: str) -> tuple[Rotation, ...]:
    """The quaternions of a vector by the types of its messages, but for those that nobody has filled in."""
    found, place = [], 0
    for name in recorded.notes[key]:
        signal = first.signals[name]
        width = signal.shape[0] if signal.shape else 1
        if isinstance(signal, FramePose) or (name in first.parts and first.parts[name].quaternion):
            begin = place + width - 4
            turns = np.concatenate([episode[key][:, begin : begin + 4] for episode in recorded.episodes])
            if np.allclose(np.linalg.norm(turns, axis=1), 1.0, atol=_UNIT):
                found.append(Rotation(first=begin, kind="quaternion"))
        place += width
    return tuple(found)


def _camera(topic: str) -> str:
    """The camera of a topic: the last part of its name that says more than that these are pictures."""
    parts = topic.strip("/").split("/")
    named = [part for part in parts if not set(part.lower().split("_")) <= _NO_CAMERA]
    return named[-1] if named else topic
