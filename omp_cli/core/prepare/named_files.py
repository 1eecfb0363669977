"""What is read of the user's disk, and what messages and data sets call it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from omp_cli.core.base.errors import DataError, UsageError


@dataclass(frozen=True)
class NamedFile:
    """A file, or a folder that is read as one.

    Attributes:
        path: what its reader is told.
        files: all files that belong to it, as far as these are known.
    """

    path: Path
    files: tuple[Path, ...] = ()

    @property
    def folder(self) -> str:
        """The folder that holds all of its files, at whatever depth."""
        return os.path.commonpath([file.parent for file in (self.path, *self.files)]) or "."


def together(paths: Sequence[Path]) -> str:
    """What messages call several files at once."""
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def names_of(paths: Sequence[Path]) -> list[str]:
    """Names of files or folders below the folder that holds them all."""
    whole = [Path(os.path.normpath(path.absolute())) for path in paths]
    folder = os.path.commonpath([path.parent for path in whole])
    return [path.relative_to(folder).as_posix() for path in whole]


def refuse_twice(paths: Sequence[Path]) -> None:
    """UsageError where a file is named twice, in whatever way."""
    seen: dict[Path, Path] = {}
    for path in paths:
        if (before := seen.setdefault(path.resolve(), path)) is not path:
            also = "" if str(before) == str(path) else f", also as {before}"
            raise UsageError(f"{path}: named twice{also}", "name each file once: its episodes would count twice")


def refuse_inside(paths: Sequence[Path]) -> None:
    """UsageError where what is named lies in a folder that is named too."""
    whole = {path.resolve(): path for path in paths}
    for path in paths:
        if folder := next((whole[parent] for parent in path.resolve().parents if parent in whole), None):
            raise UsageError(
                f"{path}: lies in {folder}, which is named too", "name one of them: episodes would count twice"
            )


def refuse_shared(inputs: Sequence[NamedFile], keys: Mapping[Path, object]) -> None:
    """UsageError where two inputs, whose files are an episode each, have one of the episodes both.

    Args:
        inputs: what is read.
        keys: what tells each of their files from all others, such as its hash.
    """
    seen: dict[object, tuple[NamedFile, Path]] = {}
    for one in inputs:
        for file in one.files:
            before, same = seen.setdefault(keys[file], (one, file))
            if before is not one:
                files = " and ".join(dict.fromkeys(map(str, (same, file))))
                raise UsageError(
                    f"{before.path} and {one.path} share an episode: {files}", "name it once: it would count twice"
                )


def refuse_copies(inputs: Sequence[NamedFile], hashes: Mapping[Path, str]) -> None:
    """UsageError where two inputs hold the same; ``hashes`` are those of all of their files."""
    seen: dict[tuple[str, ...], Path] = {}
    for one in inputs:
        held = tuple(hashes[file] for file in one.files)
        if (before := seen.setdefault(held, one.path)) is not one.path:
            raise UsageError(f"{one.path}: a copy of {before}", "name one of them: its episodes would count twice")


@contextmanager
def about_files(inputs: Sequence[NamedFile]) -> Iterator[None]:
    """A DataError of what is made of inputs names them, where it names no file of theirs, nor the folder of one."""
    try:
        yield
    except DataError as error:
        files = [file for one in inputs for file in (one.path, *one.files)]
        named = "|".join(re.escape(str(file)) for file in files)
        folders = tuple(f"{one.folder}: " for one in inputs)
        if error.message.startswith(folders) or re.search(rf"(^|\s)({named})([:,\s]|$)", error.message):
            raise
        raise DataError(f"{together([one.path for one in inputs])}: {error.message}", error.hint) from error
