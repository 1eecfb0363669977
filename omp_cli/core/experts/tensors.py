"""Tensors in files of PyTorch, read without it, and without running anything of them.

A pickle says what a tensor is: a piece of a storage, whose numbers lie elsewhere. In pickles of PyTorch 1.0 each
storage is a file of torch's old format; in torch's zip format it is an entry, and the pickle has its name. Tensors may
lie in one storage, as those of ARS do, but together they have no more numbers than it.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.foreign import AGAIN, short
from omp_cli.core.experts.mlp import Array
from omp_cli.core.experts.pickled import Constructed, called, taken_apart

_TENSOR = "torch._utils _rebuild_tensor_v2"
_PARAMETER = "torch._utils _rebuild_parameter"
_BYTES = "torch.storage _load_from_bytes"
_ORDERED = "collections OrderedDict"
_TYPES = {"torch HalfStorage": "<f2", "torch FloatStorage": "<f4", "torch DoubleStorage": "<f8"}
_OTHERS = ("Byte", "Char", "Short", "Int", "Long", "Bool", "BFloat16", "ComplexFloat", "ComplexDouble")
KNOWN = {_TENSOR, _PARAMETER, _BYTES, _ORDERED, *_TYPES, *(f"torch {kind}Storage" for kind in _OTHERS)}
"""The constructors of tensors, none of which is called; those of other types may stand where nobody reads them."""
_MAGIC = 0x1950A86A20F9469CFC6C
_DIMENSIONS = 8
"""Of a tensor; those of a perceptron have two at most."""
_LARGEST = 1 << 40
"""Of a size, a step or an offset."""
_PLAIN = "save the weights as dense float32, each tensor with its own numbers"


class Storages(ABC):
    """Where a file's tensors have their numbers."""

    def __init__(self) -> None:
        self._read: dict[Hashable, NDArray[np.floating[Any]]] = {}
        self._taken: Counter[int] = Counter()

    def tensor(self, value: Any, where: str) -> Array:
        """A tensor or parameter that lies in one piece, in the shape that it declares.

        Raises:
            DataError: it is something else, its type is not one of float16, 32 and 64, or others have its numbers.
        """
        if isinstance(value, Constructed) and value.name == _PARAMETER:
            value = called(value, _PARAMETER, 1, where)[0]
        stored, offset, shape, stride, *_ = called(value, _TENSOR, 4, where)
        if not (_counts(shape) and _counts(stride) and _counts((offset,)) and len(shape) == len(stride)):
            raise DataError(f"{where}: a tensor of no shape", _PLAIN)
        if len(shape) > _DIMENSIONS:
            raise DataError(f"{where}: a tensor of {len(shape):,} dimensions, expected at most {_DIMENSIONS}", _PLAIN)
        numbers = self._numbers(stored, where)
        size = math.prod(shape)
        dense = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
        in_steps = all(n == 1 or s == d for n, s, d in zip(shape, stride, dense, strict=True))
        if not in_steps or not 0 < size <= len(numbers) - offset:
            lies = f"in steps of {stride} from {offset} on of {len(numbers)} numbers"
            raise DataError(f"{where}: a tensor {shape} {lies}", _PLAIN)
        self._taken[id(numbers)] += size
        if self._taken[id(numbers)] > len(numbers):
            raise DataError(f"{where}: a tensor whose numbers are those of another one", _PLAIN)
        return numbers[offset : offset + size].reshape(shape).astype(np.float64)

    @abstractmethod
    def _numbers(self, stored: Any, where: str) -> NDArray[np.floating[Any]]:
        """All numbers (N,) of what a tensor names as its storage, the same array whenever it is named."""


class InPickle(Storages):
    """Storages in a pickle of PyTorch 1.0, each as the bytes of a file of torch's old format."""

    def _numbers(self, stored: Any, where: str) -> NDArray[np.floating[Any]]:
        content = called(stored, _BYTES, 1, where)[0]
        if not isinstance(content, bytes):
            raise DataError(f"{where}: no bytes in the place of a tensor's")
        if id(content) not in self._read:
            self._read[id(content)] = _old(content, where)
        return self._read[id(content)]


class InZip(Storages):
    """Storages in a file of torch's zip format, which ``torch.save`` has written since PyTorch 1.6.

    Args:
        content: the file.
        where: what messages begin with.

    Raises:
        DataError: it is of another format.
    """

    def __init__(self, content: bytes, where: str) -> None:
        super().__init__()
        self._archive, self._where = zipfile.ZipFile(io.BytesIO(content)), where
        names = self._archive.namelist()
        roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise DataError(f"{where} is no file that torch.save writes")
        self._root = roots[0]
        if self._root + "byteorder" in names and self._entry("byteorder") != b"little":
            raise DataError(f"{where} is of a machine with another order of bytes", "save it again on a usual one")

    def by_name(self) -> dict[str, Any]:
        """What the file has by name, not read yet: values for ``tensor``; DataError where it has none by name."""
        made = taken_apart(io.BytesIO(self._entry("data.pkl")), KNOWN, self._where)
        found = made.items if isinstance(made, Constructed) and made.name == _ORDERED else made
        if not isinstance(found, dict):
            raise DataError(f"{self._where} holds no weights by name")
        return found

    def _numbers(self, stored: Any, where: str) -> NDArray[np.floating[Any]]:
        number, key = _persistent(stored, where)
        if not isinstance(key, str):
            raise DataError(f"{where}: a tensor without numbers")
        if (number, key) not in self._read:
            content = self._entry(f"data/{key}")
            if len(content) % number.itemsize:
                raise DataError(f"{where}: {len(content)} bytes are no whole numbers of {number}", AGAIN)
            self._read[number, key] = np.frombuffer(content, number)
        return self._read[number, key]

    def _entry(self, name: str) -> bytes:
        """An entry of the file; none is longer than the file, since torch compresses none."""
        try:
            info = self._archive.getinfo(self._root + name)
        except KeyError:
            raise DataError(f"{self._where}: no {short(name)} in it", AGAIN) from None
        if info.compress_type != zipfile.ZIP_STORED:
            raise DataError(f"{self._where}: {short(name)} is compressed, which torch.save does not do", AGAIN)
        return self._archive.read(info)


def _old(content: bytes, where: str) -> NDArray[np.floating[Any]]:
    """The numbers of a file of torch's old format: magic number, version, machine, object, keys, numbers."""
    stream = io.BytesIO(content)
    magic, _, _, named, _ = (taken_apart(stream, _TYPES, where) for _ in range(5))
    if magic != _MAGIC:
        raise DataError(f"{where}: a tensor that is not in torch's format")
    number, _ = _persistent(named, where)
    rest = content[stream.tell() :]
    if len(rest) < 8 or struct.unpack("<q", rest[:8])[0] * number.itemsize != len(rest) - 8:
        raise DataError(f"{where}: a tensor that is longer or shorter than it declares")
    return np.frombuffer(rest, number, offset=8)


def _counts(values: Any) -> bool:
    """Whether it is a tuple of whole numbers of a size that files hold."""
    return isinstance(values, tuple) and all(type(v) is int and 0 <= v < _LARGEST for v in values)


def _persistent(stored: Any, where: str) -> tuple[np.dtype[np.floating[Any]], Any]:
    """Type of the numbers and key of a storage, of which a pickle has ("storage", type, key, device, count)."""
    named = stored.arguments[0] if isinstance(stored, Constructed) and not stored.name and stored.arguments else None
    if not isinstance(named, tuple) or len(named) < 3 or not isinstance(named[1], Constructed):
        raise DataError(f"{where}: a tensor without numbers")
    if named[1].name not in _TYPES:
        kind = named[1].name.replace(" ", ".")
        raise DataError(f"{where}: a tensor of {kind}, expected float16, float32 or float64", _PLAIN)
    return np.dtype(_TYPES[named[1].name]), named[2]
