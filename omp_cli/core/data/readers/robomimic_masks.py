"""The masks of a robomimic file: lists of demonstrations by a filter key, ``mask/<filter>``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omp_cli.core.base.errors import DataError, UsageError, did_you_mean
from omp_cli.core.data.foreign import AGAIN, short
from omp_cli.core.data.readers.hdf5 import texts

if TYPE_CHECKING:
    import h5py

TRAIN, VALID = "train", "valid"
"""Filter keys that robomimic's ``split_train_val`` writes."""
_EXPECTED = "a list of demonstrations"


def masks_of(file: h5py.File) -> list[str]:
    """Names of the filter keys; none where the file has no such group."""
    import h5py

    found = file.get("mask")
    return sorted(found) if isinstance(found, h5py.Group) else []


def chosen(file: h5py.File, names: list[str], mask: str | None) -> list[str]:
    """The demonstrations of a filter key, in the order of ``names``, all that the file has; without a key all.

    Raises:
        UsageError: the file has no such filter key.
        DataError: the mask names no demonstrations, or some that are not there.
    """
    if mask is None:
        return names
    masks = masks_of(file)
    if mask not in masks:
        raise UsageError(f"{file.filename}: no filter key {mask!r}", did_you_mean(mask, masks))
    wanted = set(texts(file["mask"], mask, _EXPECTED))
    if not wanted or not wanted <= set(names):
        raise DataError(f"{file.filename}: mask/{mask} names no demonstrations, or some that are not there")
    return [name for name in names if name in wanted]


def held_out_by_masks(file: h5py.File, names: list[str]) -> tuple[int, ...]:
    """Which of the demonstrations ``names`` the file keeps for validation, by index.

    Those of mask/valid; in a file that has mask/train alone, those that are not in it.

    Raises:
        DataError: a mask names a demonstration that is not there, or both masks name the same one.
    """
    masks = masks_of(file)
    found = {mask: set(texts(file["mask"], mask, _EXPECTED)) for mask in (TRAIN, VALID) if mask in masks}
    if not found:
        return ()
    for mask, of_mask in found.items():
        if unknown := sorted(of_mask - set(file["data"])):
            raise DataError(f"{file.filename}: mask/{mask} names {short(unknown[0])}, which is not there", AGAIN)
    if both := sorted(found.get(VALID, set()) & found.get(TRAIN, set())):
        raise DataError(
            f"{file.filename}: {short(both[0])} is in mask/{TRAIN} and in mask/{VALID}",
            f"repair the file, or read one of the two: --set format.filter={TRAIN}",
        )
    out = found[VALID] if VALID in found else set(names) - found[TRAIN]
    return tuple(index for index, name in enumerate(names) if name in out)
