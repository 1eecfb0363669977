"""ROS bags of ROS 1 and 2 (``.bag``, ``.db3``, ``.mcap``, or a folder of these with its metadata), without ROS.

The package rosbags reads them; what it raises becomes a DataError here.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    """

    def __init__(self, path: Path, reader: Any) -> None:
        self.path, self._reader, types = path, reader, reader.typestore
        self._types, self._read = types.types, types.deserialize_cdr if reader.is2 else types.deserialize_ros1
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
        return self.topics[topic] in self._types

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
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise MissingDependency("rosbags is not installed, by which ROS bags are read", INSTALL) from None
    for file in files_of(path):
        whole(file)
    with _asked(path):
        reader = AnyReader([path], default_typestore=get_typestore(Stores.LATEST))
        reader.open()
    try:
        yield Bag(path, reader)
    finally:
        reader.close()


@contextmanager
def _asked(path: Path, what: str = "") -> Iterator[None]:
    """Around what is asked of rosbags, whose readers have errors of their own, of their codecs and of Python."""
    try:
        yield
    except Exception as error:
        raise data_error(error, f"{path}{what}", _DAMAGED, _REINDEX) from error
