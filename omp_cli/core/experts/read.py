"""Which kind of expert a file holds; by its content, nothing in it is run."""

from __future__ import annotations

import functools
from pathlib import Path

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.foreign import whole
from omp_cli.core.experts.base import Expert
from omp_cli.core.experts.dapg import read_dapg
from omp_cli.core.experts.mlp import is_npz, read_npz
from omp_cli.core.experts.sb3 import is_sb3, read_sb3


@functools.lru_cache(1)
def read_expert(path: Path) -> Expert:
    """The expert of a file.

    Raises:
        DataError: there is no such file, it is damaged, or of no known kind.
    """
    with whole(path).open("rb") as file:
        first = file.read(1)
    if first == b"\x80":
        return read_dapg(path)
    if is_npz(path):
        return read_npz(path)
    if is_sb3(path):
        return read_sb3(path)
    raise DataError(
        f"{path}: no expert that omp knows",
        "expected: an npz of a perceptron, a policy of hand_dapg (.pickle) or one of Stable-Baselines3 (.zip)",
    )
