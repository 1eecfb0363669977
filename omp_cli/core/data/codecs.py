"""What zarr may decode an array of someone else's with: codecs that only ever make numbers of bytes.

numcodecs knows "pickle", whose decoding runs whatever code the bytes name; a store names the codec of each array.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omp_cli.core.base.errors import DataError

PLAIN = {
    "adler32", "astype", "bitround", "blosc", "bytes", "bz2", "crc32", "crc32c", "delta", "fixedscaleoffset",
    "fletcher32", "gzip", "jenkins_lookup3", "lz4", "lzma", "packbits", "pcodec", "quantize", "sharding_indexed",
    "shuffle", "transpose", "zfpy", "zlib", "zstd",
}  # fmt: skip
"""By their names in format 2; in format 3 some of them have "numcodecs." before it."""


def refuse_code(where: str, array: Any) -> None:
    """DataError for a zarr array that is no array of numbers, or has a codec that is not in ``PLAIN``.

    Args:
        where: the store and the array.
        array: ``zarr.Array``, of which nothing was read yet.
    """
    if array.dtype.kind not in "fiub":
        raise DataError(f"{where} is {array.shape} {array.dtype}, expected numbers")
    refuse_codecs(where, array.metadata.to_dict())


def refuse_codecs(where: str, described: Mapping[str, Any]) -> None:
    """DataError for an array whose metadata, as its store describes it, name a codec that is not in ``PLAIN``.

    zarr builds the codecs of an array as soon as it opens it; what is refused here need not be opened.
    """
    for key in ("filters", "compressor", "codecs"):
        for name in _names(described.get(key)):
            if name.removeprefix("numcodecs.") not in PLAIN:
                raise DataError(
                    f"{where} is packed with {name!r}, which omp does not unpack",
                    "write it anew with blosc, zstd, gzip or no compression",
                )


def _names(described: Any) -> Iterator[str]:
    """The names of all codecs in a description, also of those inside another's configuration."""
    if isinstance(described, list | tuple):
        for part in described:
            yield from _names(part)
    elif isinstance(described, dict):
        yield from (str(described[key]) for key in ("id", "name") if key in described)
        yield from _names(described.get("configuration"))
        yield from _names(described.get("codecs"))
        yield from _names(described.get("index_codecs"))
    elif hasattr(described, "get_config"):
        yield from _names(described.get_config())
    elif hasattr(described, "to_dict"):
        yield from _names(described.to_dict())
