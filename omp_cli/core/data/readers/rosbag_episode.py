"""The episodes of bags: their arrays' names, rotations and cameras, and what a user has to know of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omp_cli.core.base.errors import UsageError
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.readers.base import Recording, left_out, names_of_parts
from omp_cli.core.data.readers.rosbag_clock import BagClock, rate_of
from omp_cli.core.data.readers.rosbag_file import no_bags_in
from omp_cli.core.data.readers.rosbag_scan import BagContents
from omp_cli.core.data.readers.rosbag_signals import FramePose, Joints, Large, Moments, Signal
from omp_cli.core.spec import Rotation

_UNIT = 0.01
"""What the length of a quaternion may miss 1 by."""
_NO_CAMERA = frozenset(("image", "img", "color", "rgb", "compressed", "raw", "rect", "mono"))


@dataclass(frozen=True)
class ScannedBag:
    """What a bag has, and what is taken of it, by name."""

    contents: BagContents
    signals: Mapping[str, Signal]

    def tracks(self, names: Sequence[str]) -> dict[str, Moments]:
        """When the sources of names said something."""
        return {track: times for name in names for track, times in self.signals[name].tracks.items()}


@dataclass(frozen=True)
class BagEpisode:
    """An episode.

    Attributes:
        place: the bag that it is in, with its number where the bag holds several.
        name: the same in short.
        found: what the bag has.
        clock: its frames.
    """

    place: Path
    name: str
    found: ScannedBag
    clock: BagClock


def no_rate(path: Path, found: ScannedBag) -> UsageError:
    """The error where nobody says how often frames are taken."""
    rates = [f"{name} {rate_of(times)}" for name, times in found.tracks(tuple(found.signals)).items()]
    return UsageError(
        f"{path}: topics come at rates of their own: {listed(rates)}",
        "say how often they are looked at together: --hz 20, for 20 frames a second",
    )


def give_one_size(large: Sequence[Large]) -> None:
    """Give clouds as many points as the largest has."""
    clouds = [of for of in large if of.is_cloud]
    most = max((of.shape[0] for of in clouds), default=0)
    for of in clouds:
        of.with_points(most)


def said_of(
    path: Path, bags: Sequence[Path], episodes: Sequence[BagEpisode], cameras: Sequence[object], camera: object
) -> list[str]:
    """What a user has to know.

    Args:
        path: what was named.
        bags: all bags of it.
        episodes: those that are taken.
        cameras: what the bag of each says of the depth camera.
        camera: what of these counts.
    """
    first = episodes[0].found
    return [
        _order(bags, episodes[0].place not in bags),
        *_not_taken(path),
        *_of_clocks(episodes),
        *_not_read(first.contents),
        *left_out({name: part.said for name, part in first.contents.parts.items() if name not in first.signals}),
        *_of_cameras(episodes, cameras, camera),
    ]


def _order(bags: Sequence[Path], several: bool) -> str:
    """What to say of bags, of which each may hold several episodes, and of frames."""
    named = bags[0].name
    if len(bags) > 1:
        named = f"{len(bags)} bags, by the numbers in their names: {named} to {bags[-1].name}"
    return (
        f"{named}, {'several episodes' if several else 'an episode'} each: observations are what each topic has said "
        "last at a frame, actions what it says last by the next one"
    )


def _not_taken(path: Path) -> list[str]:
    """The sentence on what of a folder is no bag, as recordings are that were cut short."""
    names = no_bags_in(path)
    return (
        [f"not taken, for they are no bags: {listed(names)} (ros2 bag reindex mends one without metadata)"]
        if names
        else []
    )


def _of_clocks(episodes: Sequence[BagEpisode]) -> list[str]:
    """What to say of times, each once with the first episode of which it is true, and of how many others it is."""
    said = dict[str, list[str]]()
    for one in episodes:
        for about, sentence in one.clock.said.items():
            said.setdefault(about, []).append(f"{one.name}: {sentence}")
    return [of[0] + (f" (the like in {len(of) - 1} more)" if of[1:] else "") for of in said.values()]


def _not_read(first: BagContents) -> list[str]:
    """The sentence on topics that omp does not read."""
    named = [f"{name} ({why})" for name, why in first.other.items()]
    return [f"topics that omp does not read: {listed(named)}"] if named else []


def _of_cameras(episodes: Sequence[BagEpisode], cameras: Sequence[object], taken: object) -> list[str]:
    """The sentence on episodes whose depth camera says something else than the one that counts."""
    other = [one.name for one, camera in zip(episodes, cameras, strict=False) if camera != taken]
    return [f"{listed(other)}: says other or no intrinsics of the depth camera than those that count"] if other else []


def names_of_numbers(first: ScannedBag, arrays: Sequence[str]) -> tuple[str, ...]:
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


def rotations_in(
    first: ScannedBag, arrays: Sequence[str], recorded: Recording, key: str
) -> tuple[tuple[Rotation, ...], list[str]]:
    """The quaternions of a vector by the types of its messages; of those that are none in some frames a sentence."""
    found, said, place = [], [], 0
    for name in arrays:
        signal, parts = first.signals[name], first.contents.parts
        width = signal.shape[0] if signal.shape else 1
        if isinstance(signal, FramePose) or (name in parts and parts[name].quaternion):
            begin = place + width - 4
            turns = np.concatenate([episode[key][:, begin : begin + 4] for episode in recorded.episodes])
            odd = int((np.abs(np.linalg.norm(turns, axis=1) - 1.0) > _UNIT).sum())
            if not odd:
                found.append(Rotation(first=begin, kind="quaternion"))
            else:
                said.append(f"{key}: {name} is no rotation in {odd} of {len(turns)} frames, and taken as numbers")
        place += width
    return tuple(found), said


def camera_of(topic: str) -> str:
    """The camera of a topic: the last part of its name that says more than that these are pictures."""
    parts = topic.strip("/").split("/")
    named = [part for part in parts if not set(part.lower().split("_")) <= _NO_CAMERA]
    return named[-1] if named else topic
