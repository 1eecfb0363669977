"""Files are whole or not there."""

import errno
from pathlib import Path

import pytest

from omp_cli.core import files
from omp_cli.core.errors import DataError, UsageError


def test_a_failed_write_leaves_the_old_file_and_no_leftovers(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(OSError, match="full"), files.atomic(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "disk full")
    assert files.read_json(path, "file") == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["f.json"]


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    for value in ("one", "two"):
        with files.atomic(tmp_path / "d") as temporary:
            temporary.mkdir()
            (temporary / value).write_text(value)
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["two"]


def test_hash_of_a_folder_sees_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("x")
    first = files.sha256_of(tmp_path / "d")
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
    second = files.sha256_of(tmp_path / "d")
    (tmp_path / "d" / "b").write_text("y")
    assert len({first, second, files.sha256_of(tmp_path / "d")}) == 3


def test_a_line_cut_by_a_crash_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert files.read_jsonl(tmp_path / "m.jsonl") == [{"step": 1}, {"step": 2}]


def test_missing_and_unwritable_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        files.read_json(tmp_path / "none", "manifest")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="output folder"):
        files.writable_folder(tmp_path / "file" / "below")
