"""How much memory this process may have: the machine's, or what a container or a batch system leaves it of that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
_V2 = ("memory.max", "memory.current", ("inactive_file", "active_file"))
"""Files of a group: its limit, what it has, and which lines of its statistics count what files are cached in."""


@dataclass(frozen=True)
class Memory:
    """Bytes.

    Attributes:
        total: that there is.
        available: that can be taken without taking it from others.
    """

    total: int
    available: int


def memory() -> Memory:
    """Of the machine, or less where a control group of Linux, in which this process is, may have less."""
    machine = psutil.virtual_memory()
    total, available = machine.total, machine.available
    for group in _groups():
        for limit, used, cached in (_V1, _V2):
            if (most := _number(group / limit)) is None:
                continue
            files = sum(_number(group / "memory.stat", name) or 0 for name in cached)  # which can be taken
            held = max((_number(group / used) or 0) - files, 0)
            total, available = min(total, most), min(available, max(most - held, 0))
    return Memory(total, available)


def _groups() -> Iterator[Path]:
    """Folders of the groups that this process is in and of those above; a container sees its own as the root."""
    lines = _OWN.read_text().splitlines() if _OWN.is_file() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            root = _GROUPS / controllers
            own = root / path.lstrip("/")
            yield from (group for group in (own, *own.parents) if group.is_relative_to(root))


def _number(file: Path, name: str = "") -> int | None:
    """The number in a file, or in its line that begins with a name; None where there is none ("max")."""
    try:
        words = file.read_text().split()
    except OSError:  # no such file, or the group has gone meanwhile
        return None
    found = words[words.index(name) + 1 :] if name in words else [] if name else words
    return int(found[0]) if found and found[0].isdecimal() else None
