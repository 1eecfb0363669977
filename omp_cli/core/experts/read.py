"""Which kind of expert a file or folder holds."""

from __future__ import annotations

import functools
from pathlib import Path

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.foreign import whole
from omp_cli.core.experts.base import Expert
from omp_cli.core.experts.dapg import read_dapg
from omp_cli.core.experts.mlp import is_npz, read_npz
from omp_cli.core.experts.sb3 import is_sb3, read_sb3

OF_OMP = (".onnx", ".pt2")
DESCRIBING = ("policy.json", "manifest.json")
"""Files that stand for the folder of a policy of omp."""


def read_expert(path: Path) -> Expert:
    """The expert of a file, or of a folder that holds a policy of omp.

    Nothing in a file is run, with one exception: a ``.pt2`` that is named itself (``deploy.exported.OfExport``).

    Raises:
        DataError: there is no such file, it is damaged, or of no known kind.
        MissingDependency: an exported policy needs a package that is not installed.
    """
    return _read(path, path.stat().st_mtime_ns if path.exists() else None)


@functools.lru_cache(1)
def _read(path: Path, changed: int | None) -> Expert:
    """``changed`` is of the file, which another one of the same name has not."""
    if path.is_dir() or path.suffix in OF_OMP or path.name in DESCRIBING:
        from omp_cli.core.experts.policy import read_policy  # brings torch

        return read_policy(path)
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
        "expected: an npz of a perceptron, a policy of hand_dapg (.pickle), one of Stable-Baselines3 (.zip), or of omp",
    )
