"""What the heads of HTTP responses say about ranges, identity and waiting."""

from __future__ import annotations

import datetime
import email.utils
import re
from typing import Any

NUMBER = re.compile(r"[0-9]{1,15}")
"""A number in a head. Python's isdigit takes superscripts too, and its int() gives up at 4300 digits."""


def number(text: str | None) -> int | None:
    """A whole number below 10^15; None for anything else."""
    return int(text) if text is not None and NUMBER.fullmatch(text.strip()) else None


def seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds: a number, or a date."""
    if retry_after is None:
        return None
    if (told := number(retry_after)) is not None:
        return float(told)
    try:
        when = email.utils.parsedate_to_datetime(retry_after)
        when = when if when.tzinfo else when.replace(tzinfo=datetime.UTC)
        return max(0.0, (when - datetime.datetime.now(datetime.UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def total_of(headers: Any) -> int | None:
    """The full length in Content-Range ("bytes 5-9/10", "bytes */10")."""
    return number(headers.get("Content-Range", "").rpartition("/")[2])


def start_of(headers: Any) -> int | None:
    """The first byte in Content-Range."""
    unit, _, rest = headers.get("Content-Range", "").partition(" ")
    return number(rest.partition("-")[0]) if unit.lower() == "bytes" else None


def validator(headers: Any) -> str | None:
    """What If-Range may carry: a strong ETag, else the date of the last change."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
