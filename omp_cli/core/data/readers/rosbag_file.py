"""ROS bags of ROS 1 and 2 (``.bag``, ``.db3``, ``.mcap``, or a folder of these with its metadata), without ROS.

The package rosbags reads them; what it raises becomes a DataError here.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from omp_cli.core.base.errors import MissingDependency, data_error
from omp_cli.core.data.foreign import by_numbers, whole

INSTALL = "pip install 'omp-cli[rosbag]'"
METADATA = "metadata.yaml"
_MAGIC = {".bag": b"#ROSBAG V2.0", ".db3": b"SQLite format 3\0", ".mcap": b"\x89MCAP0\r\n"}
ENDINGS = tuple(_MAGIC)
_DAMAGED = "damaged, or no bag that the package rosbags can read"
_REINDEX = "a recording that was cut short is mended by: ros2 bag reindex, rosbag reindex or mcap recover"


def is_bag(path: Path) -> bool:
    """Whether a file is a bag, or a folder one of ROS 2."""
    if path.is_dir():
        about = path / METADATA
        return about.is_file() and b"rosbag2_bagfile_information" in about.read_bytes()[:4096]
    if not path.is_file() or (magic := _MAGIC.get(path.suffix)) is None:
        return False
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def bags_in(path: Path) -> tuple[Path, ...]:
    """The bag itself, or those that lie in a folder, in the order of the numbers in their names; none where none do."""
    if is_bag(path):
        return (path,)
    return tuple(sorted(filter(is_bag, path.iterdir()), key=by_numbers)) if path.is_dir() else ()


def no_bags_in(path: Path) -> tuple[str, ...]:
    """What of a folder looks like recordings and is no bag: folders, and files that end as bags do."""
    if not path.is_dir() or is_bag(path):
        return ()
    like = (of for of in path.iterdir() if of.is_dir() or any(end in of.suffixes for end in ENDINGS))
    return tuple(of.name for of in sorted(like, key=by_numbers) if not is_bag(of))


def files_of(bag: Path) -> tuple[Path, ...]:
    """The files of a bag."""
    if not bag.is_dir():
        return (bag,)
    inside = (part for part in bag.iterdir() if part.is_file() and any(end in part.suffixes for end in ENDINGS))
    return (bag / METADATA, *sorted(inside, key=by_numbers))


class Bag:
    """An open bag.

    Attributes:
        path: the file or folder.
        topics: the type of each topic that has messages, as ``sensor_msgs/msg/Image``; of several types all.
        version: of ROS, 1 or 2.
    """

    def __init__(self, path: Path, reader: Any) -> None:
        self.path, self._reader, self._store = path, reader, reader.typestore
        self.version: Literal[1, 2] = 2 if reader.is2 else 1
        self._read = self._store.deserialize_cdr if reader.is2 else self._store.deserialize_ros1
        kinds: dict[str, set[str]] = {}
        for of in reader.connections:
            kinds.setdefault(of.topic, set()).update({of.msgtype} if of.msgcount else ())
        self.topics = {topic: " and ".join(sorted(of)) for topic, of in kinds.items() if of}

    def messages(self, topics: Collection[str], begin: int | None = None) -> Iterator[tuple[str, int, bytes]]:
        """Topic, time in nanoseconds at which it was received, and bytes of each message of topics, in that order.

        Args:
            topics: their names.
            begin: the first time; None begins with the bag.
        """
        wanted = [of for of in self._reader.connections if of.topic in topics]
        if not wanted:
            return
        found: Generator[tuple[Any, int, bytes]] = self._reader.messages(wanted, start=begin)
        while True:
            with _asked(self.path):
                if (of := next(found, None)) is None:
                    return
            yield of[0].topic, of[1], of[2]

    def known(self, topic: str) -> bool:
        """Whether the type of a topic is one that the bag or ROS 2 itself defines."""
        return self.topics[topic] in self._store.types

    def definition(self, topic: str) -> str | None:
        """How the type of a topic is defined, with those that it is made of; None of one that comes with ROS."""
        kind = self.topics[topic]
        return None if kind in _names_with_ros(self.version) else str(self._store.generate_msgdef(kind, 2)[0])

    def message(self, topic: str, data: bytes) -> Any:
        """What a message says, also after the bag was closed."""
        with _asked(self.path, f": {topic}"):
            return self._read(data, self.topics[topic])


@contextmanager
def opened(path: Path) -> Iterator[Bag]:
    """A bag to read; DataError where it is damaged.

    Raises:
        MissingDependency: the package rosbags is not installed.
    """
    types = types_of(2)
    from rosbags.highlevel import AnyReader

    for file in files_of(path):
        whole(file)
    with _asked(path):
        reader = AnyReader([path], default_typestore=types)
        reader.open()
    try:
        yield Bag(path, reader)
    finally:
        reader.close()


def types_of(version: Literal[1, 2]) -> Any:
    """The types of messages that come with a version of ROS, as rosbags knows them.

    Raises:
        MissingDependency: the package rosbags is not installed.
    """
    try:
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise MissingDependency("rosbags is not installed, which reads the messages of ROS", INSTALL) from None
    return get_typestore(Stores.LATEST if version == 2 else Stores.ROS1_NOETIC)


@functools.cache
def _names_with_ros(version: Literal[1, 2]) -> frozenset[str]:
    """The names of these types, which every bag is asked about and which take long to collect."""
    return frozenset(types_of(version).types)


@contextmanager
def _asked(path: Path, what: str = "") -> Iterator[None]:
    """Around what is asked of rosbags, whose readers have errors of their own, of their codecs and of Python."""
    try:
        yield
    except Exception as error:
        raise data_error(error, f"{path}{what}", _DAMAGED, _REINDEX) from error
