"""What omp asks of every file that someone else wrote, before it believes a word of it.

A file has to be there, and to be the file itself and not a Git LFS pointer to it; JSON has to be JSON of the kind that
is expected; and what a header declares has to be of a size that the file can hold and the memory can take.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from omp_cli.core.base.errors import DataError
from omp_cli.core.base.files import is_lfs_pointer
from omp_cli.core.base.memory import memory
from omp_cli.core.data.large import spare_folder

AGAIN = "fetch the file again"
_SMALL = 64 << 20
_DENSEST = 2000
"""How many times its stored size something may take that is not small: deflate, which files of numbers are compressed
with, reaches 1032 at most."""
_KINDS = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
_SHOWN, _LISTED = 60, 12
"""Letters of a text, and names of a list."""
_MOST = 2**53
"""Above it a float no longer tells whole numbers apart; no file has as many frames or episodes."""


def whole(path: Path, where: str = "") -> Path:
    """The path of a file that is there and is the file itself.

    Args:
        path: the file.
        where: what the message begins with, such as the episode that needs the file.

    Raises:
        DataError: there is no such file, or a Git LFS pointer lies in its place.
    """
    place = f"{where}: {path}" if where else str(path)
    if not path.is_file():
        raise DataError(f"{place}: no such file")
    if is_lfs_pointer(path):
        raise DataError(f"{place}: a Git LFS pointer, not the file itself", "git lfs pull, in the clone it is in")
    return path


def affordable(
    where: str, size: int, stored: int | None = None, kept: int | None = None, on_disk: bool = False
) -> None:
    """Refuse to take memory for what a file only declares.

    Args:
        where: the file, and what in it.
        size: bytes that it would take in memory as a whole.
        stored: bytes that the file holds of it; None where that is not known.
        kept: bytes of it that are to be kept together; None where that is all of it.
        on_disk: whether what memory has no place for is kept on a disk (``large.room``).

    Raises:
        DataError: the file holds far too little for it, or the memory that is free is less, and the disk.
    """
    if stored is not None and size > max(_SMALL, _DENSEST * stored):
        raise DataError(f"{where} declares {_bytes(size)}, of which the file holds {_bytes(stored)}", AGAIN)
    free, taken = memory().available, size if kept is None else kept
    if taken <= free:
        return
    cure = "take fewer episodes or cameras where the format lets you choose, or a machine with more memory"
    also = ""
    if on_disk:
        folder = spare_folder()
        if taken <= free + (disk := shutil.disk_usage(folder).free):
            return
        also, cure = (
            f" and {_bytes(disk)} of the disk of {folder}",
            f"{cure} or disk; format.size makes pictures smaller",
        )
    raise DataError(f"{where} takes {_bytes(taken)}, and {_bytes(free)} of memory{also} are free", cure)


def parsed(text: str | bytes, where: str, what: str = "JSON") -> Any:
    """A JSON value; DataError that begins with ``where`` when the text is not UTF-8, not JSON or nested too deeply."""
    try:
        return json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise DataError(f"{where}: nested too deeply") from None
    except ValueError as error:
        raise DataError(f"{where}: not {what} ({str(error)[:120]})") from None


def json_object(text: str | bytes, where: str) -> dict[str, Any]:
    """A JSON object; DataError that begins with ``where`` when it is none."""
    found = parsed(text, where)
    if not isinstance(found, dict):
        raise DataError(f"{where}: {kind(found)}, expected a JSON object")
    return found


def json_file(path: Path, what: str) -> dict[str, Any]:
    """The object of a JSON file; DataError that begins with ``what`` and the path when it is missing or none."""
    where = f"{what} {path}"
    found = parsed(whole(path, what).read_bytes(), where, "a JSON file")
    return found if isinstance(found, dict) else refuse(where, found, "a JSON object")


def json_lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a JSON-lines file with their places, "<file>, line <number>"; empty lines are passed over.

    ``files.read_jsonl`` reads our own logs up to a line that a crash has cut. A list that someone else wrote is whole
    or it is not taken: what follows a bad line would be lost without a word.

    Raises:
        DataError: the file is missing, or one of its lines is not a JSON object.
    """
    rows = []
    for number, line in enumerate(whole(path).read_bytes().split(b"\n"), 1):  # text may hold other ends of lines
        where = f"{path}, line {number}"
        if line.strip(b" \t\r\xef\xbb\xbf"):
            rows.append((where, json_object(line, where)))
    return rows


def member(owner: dict[str, Any], name: str, kinds: type | tuple[type, ...], where: str) -> Any:
    """A value of a JSON object, None where the name is not there; DataError when it is of another kind."""
    if name not in owner:
        return None
    found = owner[name]
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(found, wanted) or (isinstance(found, bool) and bool not in wanted):
        refuse(f"{where}: {name}", found, " or ".join(_KINDS.get(k, "a number") for k in wanted))
    return found


def count(value: Any, where: str, least: int = 0) -> int:
    """A whole number from ``least`` on; DataError that begins with ``where`` when it is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < _MOST:
        refuse(where, value, f"a whole number from {least} on")
    return int(value)


def number(value: Any, where: str, least: float = 0.0) -> float:
    """A finite number from ``least`` on; DataError that begins with ``where`` when it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < _MOST:
        refuse(where, value, f"a number from {least:g} on")
    return float(value)


def refuse(where: str, value: Any, expected: str) -> NoReturn:
    """DataError that says what was found and what was expected."""
    raise DataError(f"{where} is {kind(value)}, expected {expected}")


def kind(value: Any) -> str:
    """What a value is, for messages: its kind, and the value itself where that is short."""
    name = _KINDS.get(type(value))
    if isinstance(value, str):
        return f"the text {short(value)!r}" if value else "an empty text"
    if name is not None:
        return name
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"the number {value!r}" if -_MOST < value < _MOST else "a number out of all bounds"
    return f"of kind {type(value).__name__}"


def short(text: str) -> str:
    """A text of someone else's in one line that is not longer than a message can bear."""
    plain = re.sub(r"\s+", " ", text[: 4 * _SHOWN]).encode("ascii", "backslashreplace").decode()
    return plain if len(plain) <= _SHOWN else plain[:_SHOWN] + "..."


def listed(names: Iterable[str], most: int = _LISTED) -> str:
    """The first of someone else's names, for messages."""
    found = list(names)
    return ", ".join(map(short, found[:most])) + (" ..." if len(found) > most else "") or "nothing"


def by_numbers(path: Path) -> list[Any]:
    """What to sort paths by: their names, in which whole numbers count as such, so that 2 comes before 10."""
    return [int(part) if part.isdecimal() else part for part in re.split("([0-9]+)", path.name)]


def _bytes(size: int) -> str:
    if size > 10**15:
        return "more than a million GB"
    return f"{size:,} bytes" if size < 10**6 else f"{size / 1e9:,.3g} GB" if size >= 10**9 else f"{size / 1e6:,.0f} MB"
