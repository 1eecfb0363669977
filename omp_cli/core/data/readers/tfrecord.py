"""Records of TFRecord files, and the examples in them, without TensorFlow.

A record is its length (8 bytes, little-endian), a masked CRC-32C of the length, the bytes, and a masked CRC-32C of
these (tensorflow.org/tutorials/load_data/tfrecord). An example is a protocol buffer of named lists of bytes, floats or
whole numbers (tensorflow/core/example/example.proto).
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omp_cli.core.base.errors import DataError, MissingDependency
from omp_cli.core.data.foreign import AGAIN, affordable, whole

INSTALL = "pip install 'omp-cli[rlds]'"
_HEAD, _CRC = struct.Struct("<QI"), struct.Struct("<I")
_KINDS = ("bytes_list", "float_list", "int64_list")


@dataclass(frozen=True)
class Record:
    """Where a record lies.

    Attributes:
        file: the file.
        start: place of its first byte.
        length: how many bytes it has.
    """

    file: Path
    start: int
    length: int

    def example(self) -> Example:
        """What it says; DataError where it is damaged."""
        where = f"{self.file}: the record at byte {self.start}"
        affordable(where, self.length)
        with self.file.open("rb") as file:
            file.seek(self.start)
            data, check = file.read(self.length), file.read(_CRC.size)
        if len(check) < _CRC.size or _CRC.unpack(check)[0] != _masked_crc(data):
            raise DataError(f"{where} is damaged", AGAIN)
        return Example(where, data)


class Example:
    """Named lists of bytes, floats or whole numbers.

    Args:
        where: its record, for messages.
        data: the protocol buffer.
    """

    def __init__(self, where: str, data: bytes) -> None:
        self._where, message = where, _message()
        from google.protobuf.message import DecodeError

        try:
            self._features = message.FromString(data).features.feature
        except DecodeError:
            raise DataError(f"{where} is no example of TensorFlow's") from None

    def packed(self, name: str) -> Any:
        """The texts or packed pictures of a name, a sequence of bytes; DataError where there are none."""
        return self._values(name, _KINDS[:1], "bytes")

    def numbers(self, name: str) -> Any:
        """The floats or whole numbers of a name, a sequence; DataError where there are none."""
        return self._values(name, _KINDS[1:], "numbers")

    def _values(self, name: str, kinds: tuple[str, ...], expected: str) -> Any:
        if name not in self._features:
            raise DataError(f"{self._where}: it has no {name}")
        found = self._features[name]
        kind = found.WhichOneof("kind")
        if kind is not None and kind not in kinds:
            raise DataError(f"{self._where}: its {name} is a {kind}, expected {expected}")
        return () if kind is None else getattr(found, kind).value


def records(path: Path) -> Iterator[Record]:
    """Where the records of a file are, in their order; DataError where it is cut short, or no such file."""
    size, place = whole(path).stat().st_size, 0
    with path.open("rb") as file:
        while place < size:
            file.seek(place)
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                raise DataError(f"{path}: cut short at byte {place}", AGAIN)
            length, check = _HEAD.unpack(head)
            if check != _masked_crc(head[:8]):
                raise DataError(f"{path}: no TFRecord file, or damaged at byte {place}", AGAIN)
            start = place + _HEAD.size
            place = start + length + _CRC.size
            if place > size:
                raise DataError(f"{path}: cut short in the record at byte {start}", AGAIN)
            yield Record(path, start, length)


def _masked_crc(data: bytes) -> int:
    try:
        from google_crc32c import value
    except ImportError:
        raise MissingDependency(
            "google-crc32c is not installed, by which TFRecord files are checked", INSTALL
        ) from None
    crc = value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@functools.cache
def _message() -> Any:
    """The class of ``tensorflow.Example``."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError:
        raise MissingDependency("protobuf is not installed, by which TFRecord files are read", INSTALL) from None
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="omp_example.proto", package="omp_example", syntax="proto3")

    def message(name: str, inside: Any = file.message_type) -> Any:
        found = inside.add()
        found.name = name
        return found

    def add(owner: Any, name: str, number: int, kind: int, repeated: bool = False, of: str | None = None) -> Any:
        label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
        of = None if of is None else f".omp_example.{of}"
        return owner.field.add(name=name, number=number, type=kind, label=label, type_name=of)

    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    kinds = (field.TYPE_BYTES, field.TYPE_FLOAT, field.TYPE_INT64)
    for number, (name, kind) in enumerate(zip(_KINDS, kinds, strict=True), 1):
        values = message(name)
        add(values, "value", 1, kind, repeated=True)
        add(feature, name, number, field.TYPE_MESSAGE, of=name).oneof_index = 0
    features = message("Features")
    entry = message("FeatureEntry", features.nested_type)
    entry.options.map_entry = True
    add(entry, "key", 1, field.TYPE_STRING)
    add(entry, "value", 2, field.TYPE_MESSAGE, of="Feature")
    add(features, "feature", 1, field.TYPE_MESSAGE, repeated=True, of="Features.FeatureEntry")
    add(message("Example"), "features", 1, field.TYPE_MESSAGE, of="Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("omp_example.Example"))
