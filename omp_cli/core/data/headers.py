"""What the heads of HTTP responses say about ranges, identity and waiting."""

from __future__ import annotations

import datetime
import email.utils
import re
from typing import Any


def seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds: a number, or a date."""
    if retry_after is None:
        return None
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        when = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=datetime.UTC)
    return max(0.0, (when - datetime.datetime.now(datetime.UTC)).total_seconds())


def total_of(headers: Any) -> int | None:
    """The full length in Content-Range ("bytes 5-9/10", "bytes */10")."""
    found = re.search(r"/(\d+)$", headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def start_of(headers: Any) -> int | None:
    """The first byte in Content-Range."""
    found = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def validator(headers: Any) -> str | None:
    """What If-Range may carry: a strong ETag, else the date of the last change."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
