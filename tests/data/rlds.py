"""RLDS folders written without TensorFlow and without protobuf: the bytes of TFRecord files, field by field."""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google_crc32c import value as crc32c

Episode = Mapping[str, Any]
"""Arrays (T, ...) by their paths in a step; pictures and texts as lists of bytes."""


def varint(number: int) -> bytes:
    found, number = b"", number & (1 << 64) - 1
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


def field(place: int, content: bytes) -> bytes:
    """A field of a protocol buffer that has a length."""
    return varint(place << 3 | 2) + varint(len(content)) + content


def feature(values: Any) -> bytes:
    """A list of bytes (1), floats (2) or whole numbers (3)."""
    if isinstance(values, list):
        return field(1, b"".join(field(1, value) for value in values))
    flat = np.ravel(values)
    if flat.dtype.kind == "f":
        return field(2, field(1, flat.astype("<f4").tobytes()))
    return field(3, field(1, b"".join(varint(int(number)) for number in flat)))


def example(features: Mapping[str, Any]) -> bytes:
    entries = (field(1, name.encode()) + field(2, feature(values)) for name, values in features.items())
    return field(1, b"".join(field(1, entry) for entry in entries))


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def tfrecord(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def described(values: Any) -> dict[str, Any]:
    """A leaf of features.json."""
    if isinstance(values, list):
        if not values[0].startswith((b"\xff\xd8", b"\x89PNG")):
            return {"text": {}}
        return {"image": {"dtype": "uint8", "shape": {"dimensions": ["8", "8", "3"]}, "encodingFormat": "png"}}
    array = np.asarray(values)
    sizes = {"dimensions": [str(n) for n in array.shape[1:]]} if array.ndim > 1 else {}
    return {"tensor": {"dtype": str(array.dtype), "encoding": "none", "shape": sizes}}


def tree(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves by their paths as nested dictionaries of features."""
    found: dict[str, Any] = {}
    for name, leaf in leaves.items():
        head, _, rest = name.partition("/")
        if rest:
            found.setdefault(head, {})[rest] = leaf
        else:
            found[head] = leaf
    inside = {k: tree(v) if k in {n.partition("/")[0] for n in leaves if "/" in n} else v for k, v in found.items()}
    return {"featuresDict": {"features": inside}}


def write_rlds(
    folder: Path,
    splits: Mapping[str, Sequence[Sequence[Episode]]],
    more: Mapping[str, Any] | None = None,
    name: str = "arm",
    **info: Any,
) -> Path:
    """A folder of TensorFlow Datasets: of each split the episodes of each shard; ``more`` replaces leaves."""
    folder.mkdir(parents=True)
    first = next(iter(splits.values()))[0][0]
    leaves = {key: described(values) for key, values in first.items()} | dict(more or {})
    steps = {"sequence": {"feature": tree(leaves)}}
    (folder / "features.json").write_text(json.dumps({"featuresDict": {"features": {"steps": steps}}}))
    told = []
    for split, shards in splits.items():
        told.append({"name": split, "shardLengths": [str(len(shard)) for shard in shards]})
        for number, shard in enumerate(shards):
            file = folder / f"{name}-{split}.tfrecord-{number:05d}-of-{len(shards):05d}"
            parts = [{f"steps/{key}": values for key, values in episode.items()} for episode in shard]
            file.write_bytes(b"".join(tfrecord(example(part)) for part in parts))
    (folder / "dataset_info.json").write_text(json.dumps({"name": name, "splits": told, **info}))
    return folder


def episode(number: int, frames: int, **more: Any) -> dict[str, Any]:
    """What Open X-Embodiment's have, without pictures."""
    random = np.random.default_rng(number)
    return {
        "observation/state": random.normal(size=(frames, 4)).astype(np.float32),
        "action": random.normal(size=(frames, 3)),
        "reward": (np.arange(frames) == frames - 1).astype(np.float32),
        "is_last": np.arange(frames) == frames - 1,
        "is_terminal": np.arange(frames) == frames - 1,
        "language_instruction": [b"pick the cup" if number % 2 else b"open the drawer"] * frames,
        **more,
    }
