"""Tensors in files: safetensors alone, so that nothing is unpickled."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from omp_cli.core.base.errors import DataError, data_error, machine_error

if TYPE_CHECKING:
    from torch import Tensor


def read_tensors(path: Path, what: str, kind: Callable[[Path], str], hint: str) -> dict[str, Tensor]:
    """Tensors of a safetensors file, all of them finite.

    Args:
        path: the file.
        what: it is, for messages.
        kind: says what a file looks like that does not open.
        hint: what to do then.

    Raises:
        DataError: missing, damaged, or with numbers that are not finite.
        RunFailed: the machine does not let it be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load, load_file

    try:
        tensors = load_file(path) if _is_utf8(path) else load(path.read_bytes())
    except (SafetensorError, OSError, MemoryError, RuntimeError) as error:
        if (refused := machine_error(error, f"{what} {path}")) is not None:
            raise refused from None
        raise data_error(error, f"{what} {path}", kind(path), hint) from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise DataError(f"{what} {path}: {name} holds numbers that are not finite", hint)
    return tensors


def _is_utf8(path: Path) -> bool:
    """Whether safetensors opens a file of this name."""
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return False
    return True
