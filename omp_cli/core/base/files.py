"""Files that are either whole or not there: write to a temporary name, fsync, rename."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from omp_cli.core.base.errors import DataError, RunFailed, UsageError, machine_error

LEFTOVER = re.compile(r"\.(.+\.\d+\.tmp(\..+)?|probe\.\d+)")
"""The names that ``atomic`` and ``writable_folder`` give to files that are not finished."""
NAME_LIMIT = 120
"""The most characters of a name that comes from data: file systems allow 255 bytes, and more is put around it."""


def fsync_tree(path: Path) -> None:
    """Flush a file, or a folder with everything in it, to the disk."""
    for target in (path, *sorted(path.rglob("*"))):
        _fsync(target)


def _open_to_umask(path: Path) -> None:
    """Give a file, or a folder with everything in it, the permissions of what is made in the usual way beside it.

    Permissions are only added, so that what can be executed stays so.
    """
    probe = path.with_name(f"{path.name}.probe")  # asks the umask, which can only be read by setting it
    probe.touch()
    readable = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    enterable = readable | (readable & 0o444) >> 2
    for target in (path, *path.rglob("*")):
        if target.is_symlink():
            continue
        mode = stat.S_IMODE(target.stat().st_mode)
        wanted = mode | (enterable if target.is_dir() else readable)
        if wanted != mode:
            target.chmod(wanted)


def _fsync(path: Path) -> None:
    """Flush one file, or a folder's own list of names, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` for a file or a folder; on success it takes ``path``'s place.

    On an exception the temporary is removed and what was at ``path`` before is untouched. Files and folders get the
    permissions that the umask leaves: libraries that write to a temporary file of their own leave it to its owner
    alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: writers such as ffmpeg and matplotlib choose the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    remove(temporary)
    try:
        yield temporary
        _open_to_umask(temporary)
        fsync_tree(temporary)
        if path.is_dir():
            remove(path)
        temporary.replace(path)
        _fsync(path.parent)
    finally:
        remove(temporary)


def remove(path: Path) -> None:
    """Delete a file or a folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document atomically; RunFailed when a number in it is not finite."""
    write_text(path, to_json(document, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8) atomically.

    A file's name may hold bytes that are no UTF-8, which Python keeps as lone surrogates. They are written as
    ``\\udcXX``, XX being the byte; in a JSON string that is what stands for them, so that they are read as they were.
    """
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def to_json(document: Any, indent: int | None = None, ascii_only: bool = False) -> str:
    """A document as strict JSON (RFC 8259), which has no NaN and no infinity.

    Raises:
        RunFailed: a number in it is not finite. Figures that may be undefined go through ``defined`` first.
    """
    try:
        return json.dumps(document, indent=indent, ensure_ascii=ascii_only, allow_nan=False)
    except ValueError as error:
        raise RunFailed(f"{_undefined(document) or 'a document'}: cannot be written as JSON ({error})") from error


def defined(figures: Any) -> Any:
    """Plain data with null in the place of every number that is not finite: a figure that is not defined."""
    if isinstance(figures, float):
        return figures if math.isfinite(figures) else None
    if isinstance(figures, dict):
        return {key: defined(value) for key, value in figures.items()}
    if isinstance(figures, list | tuple):
        return [defined(value) for value in figures]
    return figures


def _undefined(document: Any) -> str:
    """Dotted name of the first number that is not finite; "" when there is none."""
    if isinstance(document, float):
        return "" if math.isfinite(document) else str(document)
    rows = document.items() if isinstance(document, dict) else enumerate(document)
    found = ((key, _undefined(value)) for key, value in rows if isinstance(value, dict | list | tuple | float))
    return next((f"{key}.{name}" for key, name in found if name), "")


def seal_of(document: dict[str, Any], name: str = "seal") -> str:
    """SHA-256 of the canonical JSON of all fields but ``name``, which is where it is kept."""
    content = {key: value for key, value in document.items() if key != name}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()  # names of files that are not UTF-8


def _refuse(literal: str) -> None:
    raise ValueError(f"{literal} is no JSON")


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file.

    Raises:
        DataError: missing, or not strict JSON, which has no NaN and no Infinity; in one line.
        RunFailed: the machine does not let it be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_refuse)
    except (OSError, MemoryError) as error:
        if (refused := machine_error(error, f"{what} {path}")) is not None:
            raise refused from None
        reason = getattr(error, "strerror", None) or "cannot be read"
        raise DataError(f"{what} {path}: {reason.lower()}") from None
    except RecursionError:
        raise DataError(f"{what} {path}: nested too deeply") from None
    except ValueError as error:
        raise DataError(f"{what} {path}: not a JSON file ({error})") from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file; a last line cut by a crash is dropped.

    NaN, which omp 0.1 wrote for a figure that is not defined, is read as null, which is what it writes now.
    """
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line, parse_constant=lambda _: None))
        except ValueError:
            break
    return rows


def _files_in(path: Path) -> list[Path]:
    """A file alone, or all files in a folder at any depth, sorted."""
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, or of a folder's relative names and contents in sorted order."""
    digest = hashlib.sha256()
    for file in _files_in(path):
        if file != path:
            digest.update(f"{file.relative_to(path).as_posix()}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


_KNOWN: dict[tuple[Any, ...], str] = {}
"""Hashes that ``sha256_kept`` has computed, by the name, size, time and inode of every file in them."""


def sha256_kept(path: Path) -> str:
    """``sha256_of``, computed once in a process for files of the same names, sizes, times and inodes."""
    states = [(str(file), file.stat()) for file in _files_in(path)]
    key = (path.absolute(), *((name, s.st_mtime_ns, s.st_size, s.st_ino) for name, s in states))
    if key not in _KNOWN:
        _KNOWN[key] = sha256_of(path)
    return _KNOWN[key]


def size_of(path: Path) -> int:
    """Bytes of a file or of all files in a folder; what goes meanwhile, for somebody works there, has none."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for place, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):  # a link that leads nowhere has none either
                total += Path(place, name).stat().st_size
    return total


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """A folder and those below it, each once, with the names of its folders and files, as of ``os.walk``.

    Links are followed, after all that is there without them, so that a folder has its own name and not a link's. What
    goes meanwhile, for somebody works there, is left out.
    """
    seen, left = set(), [folder]
    while left:
        for place, below, names in os.walk(left.pop(0)):
            if (real := os.path.realpath(place)) in seen:
                below.clear()
                continue
            seen.add(real)
            yield Path(place), below, names
            left += [path for name in below if (path := Path(place, name)).is_symlink()]


def writable_folder(path: Path, what: str = "output folder", hint: str = "choose another with --out DIR") -> Path:
    """Make the folder and prove that it can be written.

    Args:
        path: the folder.
        what: it is, for the message.
        hint: how to choose another one.

    Raises:
        UsageError: it cannot be written.
        RunFailed: the machine refuses for another reason than permission: no space, no more open files.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink(missing_ok=True)  # a process of another machine may have the same number
    except OSError as error:
        refused = None if isinstance(error, PermissionError) else machine_error(error, f"{what} {path}")
        if refused is not None:
            raise refused from None
        raise UsageError(f"{what} {path}: {(error.strerror or 'cannot be written').lower()}", hint) from None
    return path


def name_part(name: str) -> str:
    """A name out of data or settings (a task, a suite) as a part of a file's name, which leads nowhere else.

    Separators, control characters and what shells and file systems treat specially become "-".
    """
    plain = re.sub(r"[^\w.+=@,-]+", "-", name).strip("-.")
    return plain[:NAME_LIMIT] or "unnamed"


def quoted(path: Path) -> str:
    """A path as a word of a line that can be pasted into a shell."""
    return shlex.quote(str(path))


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1"


def is_lfs_pointer(path: Path) -> bool:
    """Whether the file only says where Git LFS keeps its content, as files of a clone without git-lfs do."""
    with path.open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER
