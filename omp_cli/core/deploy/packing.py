"""Messages of the policy server: msgpack with NumPy arrays as the package ``openpi-client`` packs them.

An array is a map of the byte strings ``__ndarray__`` (true), ``data``, ``dtype`` and ``shape``, a NumPy number one of
``__npgeneric__``, ``data`` and ``dtype``. Only booleans, whole numbers and floats are read: nothing is unpickled, and
no array is larger than the bytes that came.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from omp_cli.core.base.errors import DataError, one_line

KINDS = "biuf"
MAX_DIMENSIONS = 8


def packed(message: Any) -> bytes:
    """A message as bytes."""
    import msgpack

    data: bytes = msgpack.packb(message, default=_plain)
    return data


def unpacked(data: bytes) -> dict[Any, Any]:
    """The map that a client sent.

    Raises:
        DataError: not msgpack, not a map, or with an array that is none.
    """
    import msgpack

    try:
        message = msgpack.unpackb(data, object_hook=_array)
    except DataError:
        raise
    except Exception as error:  # msgpack's own, ValueError, RecursionError: all say that it is no such message
        raise DataError(f"message: not msgpack ({one_line(error)})") from None
    if not isinstance(message, dict):
        raise DataError(f"message: {type(message).__name__}, expected a map of arrays by name")
    return message


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be packed")


def _array(found: dict[Any, Any]) -> Any:
    """The array or number that a map stands for, else the map itself."""
    if b"__ndarray__" in found:
        dtype = _dtype(found.get(b"dtype"))
        data, shape = found.get(b"data"), found.get(b"shape")
        if not isinstance(data, bytes) or not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
            raise DataError("message: an array without data or shape")
        sizes = [size for size in shape if type(size) is int and 0 <= size < 2**40]
        if len(sizes) != len(shape) or math.prod(sizes) * dtype.itemsize != len(data):
            raise DataError(f"message: an array of {len(data)} bytes has not the shape {str(shape)[:60]} of {dtype}")
        return np.frombuffer(data, dtype).reshape(sizes)
    if b"__npgeneric__" in found:
        value = found.get(b"data")
        if not isinstance(value, bool | int | float):
            raise DataError("message: a number that is none")
        return np.asarray(value).astype(_dtype(found.get(b"dtype")))
    return found


def _dtype(name: Any) -> np.dtype[Any]:
    try:
        dtype = np.dtype(name) if isinstance(name, str) else None
    except (TypeError, ValueError, SyntaxError):
        dtype = None
    if dtype is None or dtype.kind not in KINDS:
        raise DataError(f"message: an array of type {str(name)[:40]!r}, expected numbers")
    return dtype
