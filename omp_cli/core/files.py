"""Files that are either whole or not there: write to a temporary name, fsync, rename."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omp_cli.core.errors import DataError, UsageError

LEFTOVER = re.compile(r"\.(.+\.\d+\.tmp(\..+)?|probe\.\d+)")
"""Names that ``atomic`` and ``writable_folder`` give to what is not finished."""


def fsync_tree(path: Path) -> None:
    """Flush a file, or a folder with everything in it, to the disk."""
    targets = [path]
    if path.is_dir():
        targets += sorted(path.rglob("*"))
    for target in targets:
        _fsync(target)


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

    On an exception the temporary is removed and what was at ``path`` before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: writers such as ffmpeg and matplotlib choose the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    remove(temporary)
    try:
        yield temporary
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
    """Write a JSON document atomically."""
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8) atomically.

    A file's name may hold bytes that are no UTF-8, which Python keeps as lone surrogates. They are written as
    ``\\udcXX``, XX being the byte; in a JSON string that is what stands for them, so that they are read as they were.
    """
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file; DataError in one line when it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{what} {path}: {(error.strerror or 'cannot be read').lower()}") from None
    except RecursionError:
        raise DataError(f"{what} {path}: nested too deeply") from None
    except ValueError as error:
        raise DataError(f"{what} {path}: not a JSON file ({error})") from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file; a last line cut by a crash is dropped."""
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, or of a folder's relative names and contents in sorted order."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        if file != path:
            digest.update(f"{file.relative_to(path).as_posix()}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file or of all files in a folder."""
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def writable_folder(path: Path) -> Path:
    """Make the folder and prove that it can be written; UsageError in one line when it cannot."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = (error.strerror or "cannot be written").lower()
        raise UsageError(f"output folder {path}: {reason}", "choose another with --out DIR") from None
    return path


def newest(folder: Path, accept: Callable[[Path], float | None]) -> Path | None:
    """The folder below ``folder`` (at any depth) holding a manifest for which ``accept`` returns the largest time."""
    best: tuple[float, Path] | None = None
    for manifest in folder.rglob("manifest.json") if folder.is_dir() else ():
        when = accept(manifest)
        if when is not None and (best is None or when > best[0]):
            best = (when, manifest.parent)
    return best[1] if best else None


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1"


def is_lfs_pointer(path: Path) -> bool:
    """Whether the file only says where Git LFS keeps its content, as files of a clone without git-lfs do."""
    with path.open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER
