"""Errors of the machine are told apart from errors of the data, whoever raises them and however it is put."""

import errno
import pickle
import re
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch

from omp_cli.app import as_omp_error
from omp_cli.core.base import errors
from omp_cli.core.base.errors import (
    DataError,
    MissingDependency,
    OmpError,
    RunFailed,
    UsageError,
    data_error,
    machine_error,
    one_line,
)


def wrapped(inner: BaseException, outer: BaseException) -> BaseException:
    """``outer`` as it is when it was raised while ``inner`` was being handled."""
    try:
        try:
            raise inner
        except BaseException as error:
            raise outer from error
    except BaseException as error:
        return error


REFUSALS: list[tuple[BaseException, str]] = [
    (MemoryError(), "out of memory"),
    (np._core._exceptions._ArrayMemoryError((10**9,), np.dtype("f4")), "out of memory"),  # type: ignore[attr-defined]
    (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"), "out of memory"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out of memory"),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory"),
    (OSError("Cannot allocate memory (os error 12)"), "out of memory"),
    (OSError(errno.EMFILE, "Too many open files", "chunk"), "too many open files"),
    (OSError("Unable to open file (errno = 24, error message = 'Too many open files')"), "too many open files"),
    (RuntimeError("can't start new thread"), "threads"),
    (
        BlockingIOError("Unable to synchronously open file (unable to lock file, errno = 11, error message = '...')"),
        "another process",
    ),
    (PermissionError(errno.EACCES, "Permission denied", "file"), "permission denied"),
    (OSError("Unable to open file (unable to open file: errno = 13, error message = '...')"), "permission denied"),
    (OSError(errno.EIO, "Input/output error"), "input/output error"),
    (OSError(errno.ENOSPC, "No space left on device"), "no space"),
    (wrapped(OSError(errno.EMFILE, "Too many open files"), RuntimeError("the store is broken")), "too many open files"),
    (ExceptionGroup("tasks", [ValueError("x"), MemoryError()]), "out of memory"),
]


@pytest.mark.parametrize(("error", "words"), REFUSALS, ids=lambda x: repr(x)[:60])
def test_what_the_machine_refuses_is_no_damage(error: BaseException, words: str) -> None:
    found = data_error(error, "data set x", "damaged", "delete its folder")
    assert type(found) is RunFailed
    assert found.exit_code == 1
    assert found.message.startswith("data set x: ")
    assert words in found.message
    assert found.hint
    assert "damaged" not in found.message
    assert "delete" not in found.hint


DAMAGES: list[BaseException] = [
    OSError("Unable to synchronously open file (truncated file: eof = 96, sblock->base_addr = 0, stored_eof = 2048)"),
    OSError("Can't synchronously read data (file read failed: errno = 22, error message = 'Invalid argument')"),
    RuntimeError("error during blosc decompression: -1"),
    ValueError("task 'out of memory' is not known"),
    KeyError("too many open files"),
]


@pytest.mark.parametrize("error", DAMAGES, ids=repr)
def test_what_libraries_say_of_broken_files_is_damage(error: BaseException) -> None:
    assert machine_error(error) is None
    found = data_error(error, "data set x", "damaged", "delete its folder")
    assert type(found) is DataError
    assert found.message.startswith("data set x: damaged (")
    assert found.hint == "delete its folder"


@pytest.mark.parametrize("number", [errno.EISDIR, errno.ENOENT, errno.ENOTDIR])
def test_a_path_that_is_no_file_is_not_damaged(number: int) -> None:
    found = data_error(OSError(number, "as the system says"), "x.hdf5", "damaged", "delete it")
    assert type(found) is DataError
    assert "damaged" not in found.message
    assert "delete" not in found.hint


def test_a_filter_that_is_not_installed_is_a_missing_dependency() -> None:
    error = OSError("Can't synchronously read data (required filter 'lz4' is not registered)")
    found = data_error(error, "x.hdf5", "damaged")
    assert type(found) is MissingDependency
    assert "hdf5plugin" in found.hint


def reported(number: int, path: Path) -> OmpError:
    return as_omp_error(OSError(number, "Permission denied", str(path)))[0]


def test_only_what_cannot_be_written_is_answered_with_another_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    written = reported(errno.EACCES, tmp_path / "file")
    assert isinstance(written, UsageError)
    assert "--out" in written.hint
    monkeypatch.setattr("os.access", lambda *_: False)  # root may read everything
    for path in (tmp_path / "file", tmp_path / "folder" / "below"):
        read = reported(errno.EACCES, path)
        assert isinstance(read, RunFailed)
        assert "--out" not in read.hint
        assert "read" in read.hint


def test_an_error_is_told_in_one_line() -> None:
    assert one_line(ValueError("two\n  lines")) == "two lines"
    assert one_line(ValueError("two\n  lines"), typed=True) == "ValueError: two lines"
    assert one_line(NotImplementedError()) == one_line(NotImplementedError(), typed=True) == "NotImplementedError"
    assert one_line(ValueError("long"), 2) == "lo"
    assert one_line(ValueError("long"), 12, typed=True) == "ValueError: "


def test_the_hint_stands_below_a_traceback_and_survives_a_process() -> None:
    error = DataError("it is damaged", "make it again")
    for told in (error, pickle.loads(pickle.dumps(error))):
        assert (told.message, told.hint) == ("it is damaged", "make it again")
        assert "".join(traceback.format_exception(told)).endswith("it is damaged\nhint: make it again\n")
    assert not hasattr(DataError("no hint"), "__notes__")


def test_nothing_else_makes_one_line_of_an_error() -> None:
    own = re.compile(r"str\((error|exception|exc|err)\)\.(split|splitlines)\(|\{error\}\"\.split\(")
    files = Path(errors.__file__).parent.parent.rglob("*.py")
    assert [path.name for path in files if own.search(path.read_text(encoding="utf-8"))] == ["errors.py"]
