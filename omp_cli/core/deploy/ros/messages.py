"""Messages of ROS 1 and 2 as bytes, and as what they say: those of a live robot are read as those of its bags were."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, one_line
from omp_cli.core.data.readers.rosbag_file import types_of
from omp_cli.core.data.readers.rosbag_messages import TIME
from omp_cli.core.data.topics import CommandTopic, RosTopics

Now = tuple[int, int]
"""Seconds and nanoseconds since 1970."""


class RosMessages:
    """The types of a robot's topics.

    Args:
        topics: of the recording; its definitions add those that do not come with ROS.
        version: of ROS.

    Raises:
        MissingDependency: the package rosbags is not installed.
    """

    def __init__(self, topics: RosTopics, version: Literal[1, 2]) -> None:
        self.version = version
        self._store = types_of(self.version)
        definitions = dict(topics.definitions)
        if version != topics.version:  # what comes with the one need not come with the other, as tf2_msgs
            theirs = types_of(topics.version)
            used = [of.type for of in topics.observed.values()] + [of.type for of in topics.commands]
            used += topics.transforms.values()
            definitions |= {kind: theirs.generate_msgdef(kind, 2)[0] for kind in used if kind in theirs.types}
        from rosbags.typesys import get_types_from_msg

        for kind, text in definitions.items():
            found = get_types_from_msg(text, kind)
            self._store.register({name: of for name, of in found.items() if name not in self._store.types})

    def read(self, topic: str, kind: str, data: bytes) -> Any:
        """What a message says, as rosbags says it; DataError where its bytes are not of this type."""
        read = self._store.deserialize_cdr if self.version == 2 else self._store.deserialize_ros1
        if kind not in self._store.types:
            raise DataError(f"{topic} is of {kind}, which nothing defines here")
        try:
            return read(data, kind)
        except Exception as error:  # rosbags has errors of its own, of NumPy and of Python
            raise DataError(f"{topic}: a message is no {kind}: {one_line(error, typed=True)}") from error

    def packed(self, kind: str, values: Mapping[str, Any], now: Now) -> bytes:
        """The bytes of a message.

        Args:
            kind: its type.
            values: by field, of messages inside again by field; what is missing is 0 or empty.
            now: what the stamp of its head says.
        """
        pack = self._store.serialize_cdr if self.version == 2 else self._store.serialize_ros1
        return bytes(pack(self._made(kind, values, now), kind))

    def definition(self, kind: str) -> tuple[str, str]:
        """The text of a type's definition, and its MD5 sum, by which ROS 1 knows it."""
        text, md5 = self._store.generate_msgdef(kind, 1)
        return text, md5

    def _made(self, kind: str, values: Mapping[str, Any], now: Now) -> Any:
        """A message of rosbags."""
        if kind == TIME:
            return self._store.types[kind](*(values.values() or now))
        fields = self._store.fielddefs[kind][1]
        return self._store.types[kind](**{name: self._value(of, values.get(name), now) for name, of in fields})

    def _value(self, of: Any, value: Any, now: Now) -> Any:
        """The value of a field: a number, text, a message, or many of one of these."""
        from rosbags.interfaces import Nodetype

        what, about = of
        if what == Nodetype.BASE:
            return self._plain(about[0], value if value is not None else 0)
        if what == Nodetype.NAME:
            return self._made(about, value or {}, now)
        inner, count = about
        many = [] if value is None else value
        many = [None] * count if what == Nodetype.ARRAY and not len(many) else many
        found = [self._value(inner, one, now) for one in many]
        numbers = inner[0] == Nodetype.BASE and inner[1][0] not in ("string", "wstring")
        return np.array(found, self._dtype(inner[1][0])) if numbers else found

    def _dtype(self, base: str) -> str:
        """NumPy's name of a type; a byte is signed in ROS 1."""
        return {"octet": "uint8", "byte": "int8" if self.version == 1 else "uint8", "char": "uint8"}.get(base, base)

    def _plain(self, base: str, value: Any) -> Any:
        """The number or text of a field, of a policy's number or of what the recording said."""
        if base in ("string", "wstring"):
            return "" if value == 0 else str(value)
        if base == "bool":
            return float(value) >= 0.5
        if base.startswith("float"):
            return float(value)  # also of "nan"
        bounds = np.iinfo(self._dtype(base))
        return min(max(value if isinstance(value, int) else round(float(value)), bounds.min), bounds.max)


class CommandMaker:
    """How actions become the messages of one topic.

    Args:
        of: the topic, as the recording has it.
        messages: types of messages.
    """

    def __init__(self, of: CommandTopic, messages: RosMessages) -> None:
        self.of, self._messages = of, messages

    def __call__(self, action: NDArray[np.floating[Any]], now: Now) -> bytes:
        """The message of an action (A,)."""
        values = copy.deepcopy(self.of.message)
        for part in self.of.parts:
            numbers = action[part.begin : part.begin + part.width].astype(np.float64).tolist()
            _put(values, part.path, numbers)
        return self._messages.packed(self.of.type, values, now)

    @property
    def repeated(self) -> dict[str, float]:
        """The real numbers that each message says as the first of the recording did, but for those that are 0."""
        values = copy.deepcopy(self.of.message)
        for part in self.of.parts:
            _put(values, part.path, [0.0] * part.width)
        return dict(_reals("", values))


def _reals(path: str, value: Any) -> Iterator[tuple[str, float]]:
    """The real numbers in plain data that are not 0, by their paths."""
    if isinstance(value, dict):
        for name, of in value.items():
            yield from _reals(f"{path}/{name}", of)
    elif isinstance(value, list):
        for place, of in enumerate(value):
            yield from _reals(f"{path}/{place}", of)
    elif isinstance(value, float) and value:
        yield path.removeprefix("/"), value


def _put(values: dict[str, Any], path: Sequence[str], numbers: Sequence[float]) -> None:
    """Numbers into plain data of a message: into a vector's axes, a field of many, or one of one."""
    if not path:  # the message is the vector
        values.update(zip("xyzw", numbers, strict=False))
        return
    *outer, last = path
    inside: Any = values
    for name in outer:
        inside = _only(inside[name])
    there = _only(inside[last])
    if isinstance(there, dict):
        there.update(zip("xyzw", numbers, strict=False))
    else:
        inside[last] = list(numbers) if isinstance(inside[last], list) else numbers[0]


def _only(value: Any) -> Any:
    """The message of a list of one; anything else itself."""
    return value[0] if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) else value
