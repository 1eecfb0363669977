"""What zarr may decode an array of someone else's with: codecs that only ever make numbers of bytes.

numcodecs knows "pickle", whose decoding runs whatever code the bytes name; a store names the codec of each array.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omp_cli.core.base.errors import DataError, MissingDependency

PLAIN = {
    "adler32", "astype", "bitround", "blosc", "bytes", "bz2", "crc32", "crc32c", "delta", "fixedscaleoffset",
    "fletcher32", "gzip", "jenkins_lookup3", "lz4", "lzma", "packbits", "pcodec", "quantize", "sharding_indexed",
    "shuffle", "transpose", "zfpy", "zlib", "zstd",
}  # fmt: skip
"""By their names in format 2; in format 3 some of them have "numcodecs." before it."""

PICTURES = {
    f"imagecodecs_{name}" for name in ("avif", "jpeg", "jpeg2k", "jpegls", "jpegxl", "jpegxr", "png", "qoi", "webp")
}
"""Codecs of pictures of the package imagecodecs; UMI's stores have JPEG XL."""
INSTALL = "pip install 'omp-cli[umi]'"


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
    """Make sure that the codecs an array's metadata name, as its store describes it, are here and run no code.

    zarr builds the codecs of an array as soon as it opens it; what is refused here need not be opened.

    Raises:
        DataError: one is in neither ``PLAIN`` nor ``PICTURES``.
        MissingDependency: one is of pictures, and imagecodecs is not installed.
    """
    for key in ("filters", "compressor", "codecs"):
        for name in _names(described.get(key)):
            if key != "codecs" and name in PICTURES:  # in format 3 zarr knows none of them
                _register(where, name)
            elif name.removeprefix("numcodecs.") not in PLAIN:
                raise DataError(
                    f"{where} is packed with {name!r}, which omp does not unpack",
                    "write it anew with blosc, zstd, gzip or no compression",
                )


def _register(where: str, name: str) -> None:
    """Let zarr know a codec of imagecodecs."""
    from numcodecs.registry import codec_registry

    if name in codec_registry:
        return
    try:
        from imagecodecs import numcodecs as known
    except ImportError as error:
        raise MissingDependency(
            f"{where} is packed with {name!r}, which needs imagecodecs ({error})", INSTALL
        ) from None
    known.register_codecs([name], verbose=False)


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
