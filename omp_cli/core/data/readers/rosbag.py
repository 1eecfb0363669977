"""ROS bags: one episode each, of topics that come at rates of their own and are looked at together ``--hz`` times a
second.

At each frame an observation is what a topic has said last, and an action what is said last by the next frame. Arrays
are named by topic and path in its messages (``/joint_states/position``), pictures and clouds by their topic, and poses
of a robot's frames as ``tf:base>tool``.

Legend: T frames of an episode.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from omp_cli.core.base.config import Keys, Names
from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.readers.apart import joined_episodes
from omp_cli.core.data.readers.base import FORMATS, Reader, Recording, Subject
from omp_cli.core.data.readers.cameras import by_name
from omp_cli.core.data.readers.roles import RolesConfig, one_at_most
from omp_cli.core.data.readers.rosbag_clock import TooShort, clock_of, stretches
from omp_cli.core.data.readers.rosbag_episode import (
    BagEpisode,
    ScannedBag,
    camera_of,
    give_one_size,
    names_of_numbers,
    no_rate,
    rotations_in,
    said_of,
)
from omp_cli.core.data.readers.rosbag_file import bags_in, files_of, opened
from omp_cli.core.data.readers.rosbag_messages import METRES, MILLIMETRES
from omp_cli.core.data.readers.rosbag_scan import BagContents, contents_of, frames_of, signals_of
from omp_cli.core.data.readers.rosbag_signals import Large
from omp_cli.core.data.readers.rosbag_topics import topics_of
from omp_cli.core.data.readers.rosbag_transforms import PREFIX
from omp_cli.core.data.readers.stored import Stored

EXPECTED = (
    "bags of ROS 1 (.bag) or ROS 2 (.mcap, .db3, or a folder with metadata.yaml), or a folder of such, one episode each"
)
_MANY = 60
"""Arrays that are listed where none was named."""


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
        progress.start(f"{subject.task}: reading bags", len(bags) if limit is None else min(limit, len(bags)))
        episodes: list[BagEpisode] = []
        for bag in bags:
            if len(episodes) == limit:
                break
            found = self._scanned(path, bag)
            if subject.hz is None:
                raise no_rate(path, found)
            if episodes:
                for name, of in found.signals.items():
                    of.match(episodes[0].found.signals[name], f"{bag}: {name}")
            episodes += self._episodes(bag, found, subject.hz)[: limit and limit - len(episodes)]
            progress.advance()
        if not episodes:
            raise DataError(f"{path}: {config.episode[0]} is 0 all the time, or for less than two frames")
        return self._recorded(path, subject, episodes, bags)

    def _scanned(self, path: Path, bag: Path) -> ScannedBag:
        """What a bag says; UsageError where the settings do not say what is state and what is action."""
        with opened(bag) as content:
            contents = contents_of(content)
            for role in ("state", "action"):
                if not getattr(self.config, role):
                    frames = frames_of(content)
                    what = [f"{name} {part.said}" for name, part in sorted(contents.parts.items())]
                    raise UsageError(
                        f"{path}: a bag does not say what is the {role}; it has: {listed([*what, *frames], _MANY)}",
                        f"--set 'format.{role}=[\"NAME\"]'"
                        + (f"; of tf any two frames: {PREFIX}A>B" if frames else ""),
                    )
            _check_depth(bag, contents, self.config.depth)
            names = tuple(dict.fromkeys((*self._seen, *self._acted, *self._outcomes, *self.config.episode)))
            stamped = self.config.clock == "stamped"
            return ScannedBag(contents, signals_of(content, contents, names, self.config.pose, stamped))

    @property
    def _seen(self) -> tuple[str, ...]:
        """The names of all observations."""
        of = self.config
        return tuple(dict.fromkeys((*of.state, *(of.img or ()), *(of.cloud or ()), *of.depth, *of.pose)))

    @property
    def _acted(self) -> tuple[str, ...]:
        """The names of what makes the action."""
        return self.config.action

    @property
    def _outcomes(self) -> tuple[str, ...]:
        """The names of what came of actions; nothing until it is said."""
        of = self.config
        return tuple(dict.fromkeys((*(of.reward or ()), *(of.success or ()), *(of.terminal or ()))))

    def _episodes(self, bag: Path, found: ScannedBag, hz: float) -> list[BagEpisode]:
        """The episodes of a bag: all of it, or as a topic says."""
        seen, acted = (found.tracks(names) for names in (self._seen, self._acted))
        if not self.config.episode:
            return [BagEpisode(bag, bag.name, found, clock_of(str(bag), seen, acted, hz))]
        episodes = []
        for number, within in enumerate(stretches(str(bag), found.signals[self.config.episode[0]])):
            place = bag / f"episode {number}"
            with suppress(TooShort):  # a button that was pressed by mistake
                name = f"{bag.name}, {place.name}"
                episodes.append(BagEpisode(place, name, found, clock_of(str(place), seen, acted, hz, within)))
        return episodes

    def _recorded(
        self, path: Path, subject: Subject, episodes: Sequence[BagEpisode], bags: Sequence[Path]
    ) -> Recording:
        """The recording of episodes."""
        first, config = episodes[0].found, self._taken_config()
        give_one_size([of for one in episodes for of in one.found.signals.values() if isinstance(of, Large)])
        cameras = [one.found.contents.camera(config.depth[0]) for one in episodes] if config.depth else [{}]
        camera = next((of for of in cameras if "intrinsics" in of), cameras[0])
        told = said_of(path, bags, episodes, cameras, camera)
        heads, known = [self._arrays(one) for one in episodes], len(episodes) if config.episode else len(bags)
        recorded = joined_episodes(path, config, [one.place for one in episodes], heads, subject, known, told)
        names = {key: names_of_numbers(first, getattr(self.config, key)) for key in ("state", "action")}
        turns, of_turns = {}, []
        for key in ("state", "action"):
            turns[f"{key}_rotations"], said = rotations_in(first, getattr(self.config, key), recorded, key)
            of_turns += said
        return replace(
            recorded,
            spec=recorded.spec.model_copy(update=turns),
            hz=subject.hz,
            names=names,
            cameras=tuple(by_name(recorded.notes["cameras"], camera_of)),
            camera=camera,
            said=(*recorded.said, *of_turns),
            topics=topics_of(first, self._seen, self._acted, self.config.episode),
        )

    def _taken_config(self) -> RosbagConfig:
        """The settings of the arrays that ``_arrays`` gives out: nothing is taken that is not named."""
        nothing = {
            role: () for role in ("img", "cloud", "reward", "success", "terminal") if not getattr(self.config, role)
        }
        return self.config.model_copy(update={**nothing, "action": tuple(map(self._of_action, self._acted))})

    def _of_action(self, name: str) -> str:
        """What an array of the action is called: what is observed, too, is another one by the next frame."""
        return f"next {name}" if name in self._seen else name

    def _arrays(self, one: BagEpisode) -> dict[str, Stored]:
        """The arrays of an episode."""
        signals, clock = one.found.signals, one.clock
        arrays = {name: signals[name].stored_at(clock.seen) for name in self._seen}
        arrays |= {self._of_action(name): signals[name].stored_at(clock.acted) for name in self._acted}
        return arrays | {name: signals[name].stored_at(clock.acted) for name in self._outcomes}


def _check_depth(bag: Path, contents: BagContents, names: Sequence[str]) -> None:
    """UsageError where what is named is there and no depth."""
    depths = (*MILLIMETRES, *METRES)
    for name in names:
        part = contents.parts.get(name)
        if part is not None and part.encoding not in depths:
            what = f"{bag}: {name} is no depth but {part.encoding or part.said}"
            raise UsageError(what, f"depth is sensor_msgs/Image of {', '.join(depths)}, or compressedDepth of these")


def _bags(path: Path) -> tuple[Path, ...]:
    """The bags of a path; DataError where there is none."""
    found = bags_in(path)
    if not found:
        raise DataError(f"{path}: no bag of ROS", f"expected: {EXPECTED}")
    return found
