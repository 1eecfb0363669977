"""What the heads of HTTP responses say about ranges, identity and waiting."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress

from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

NUMBER = re.compile(r"[0-9]{1,15}")
"""A number in a head. Python's isdigit takes superscripts too, and its int() gives up at 4300 digits."""


def natural(text: str | None) -> int | None:
    """A whole number below 10^15; None for anything else."""
    return int(text) if text is not None and NUMBER.fullmatch(text.strip()) else None


def seconds(headers: Mapping[str, str]) -> float | None:
    """The seconds to wait that Retry-After asks for, by a number or a date; None where it is absent or odd."""
    with suppress(KeyError, InvalidHeader, ValueError, OverflowError):
        return Retry().parse_retry_after(headers["Retry-After"])
    return None


def total_of(headers: Mapping[str, str]) -> int | None:
    """The full length in Content-Range ("bytes 5-9/10", "bytes */10")."""
    return natural(headers.get("Content-Range", "").rpartition("/")[2])


def start_of(headers: Mapping[str, str]) -> int | None:
    """The first byte in Content-Range."""
    unit, _, rest = headers.get("Content-Range", "").partition(" ")
    return natural(rest.partition("-")[0]) if unit.lower() == "bytes" else None


def validator(headers: Mapping[str, str]) -> str | None:
    """What If-Range may carry: a strong ETag, else the date of the last change."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def continues(headers: Mapping[str, str], offset: int, same: str | None) -> bool:
    """Whether a part begins at ``offset`` of the file whose validator is ``same``: not every server heeds If-Range."""
    return start_of(headers) == offset and (not same or validator(headers) in (None, same))
