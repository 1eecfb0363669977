"""Files are whole or not there."""

import errno
import json
from pathlib import Path

import pytest

from omp_cli.core.base import files
from omp_cli.core.base.errors import DataError, RunFailed, UsageError
from omp_cli.core.train.trackers import JsonLines


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


UNDEFINED = [float("nan"), float("inf"), -float("inf")]


@pytest.mark.parametrize("value", UNDEFINED)
def test_json_is_strict_both_ways(tmp_path: Path, value: float) -> None:
    document = {"rows": [{"success": value, "n": 3}], "nothing": (1.5, None)}
    with pytest.raises(RunFailed, match=r"rows\.0\.success"):
        files.write_json(tmp_path / "f.json", document)
    files.write_json(tmp_path / "f.json", files.defined(document))
    assert files.read_json(tmp_path / "f.json", "file") == {"rows": [{"success": None, "n": 3}], "nothing": [1.5, None]}
    (tmp_path / "f.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"not a JSON file \(-?(NaN|Infinity) is no JSON\)"):
        files.read_json(tmp_path / "f.json", "file")


def test_rows_that_an_earlier_omp_wrote_with_nan_are_read_with_null(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"step": 1, "kl": NaN}\n{"step": 2, "kl": 0.5}\n')
    assert files.read_jsonl(tmp_path / "m.jsonl") == [{"step": 1, "kl": None}, {"step": 2, "kl": 0.5}]
    rows = JsonLines(tmp_path / "m.jsonl", 2)
    rows.log(3, {"kl": float("nan")})
    rows.close()
    assert "NaN" not in (tmp_path / "m.jsonl").read_text()
    assert [row["kl"] for row in files.read_jsonl(tmp_path / "m.jsonl")] == [None, 0.5, None]


def test_a_hash_is_computed_again_when_a_file_has_changed(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("one")
    first = files.sha256_kept(tmp_path / "f")
    assert first == files.sha256_kept(tmp_path / "f") == files.sha256_of(tmp_path / "f")
    (tmp_path / "f").write_text("two!")
    assert files.sha256_kept(tmp_path / "f") == files.sha256_of(tmp_path / "f") != first


def test_a_file_that_the_machine_does_not_let_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(RunFailed, match="too many open files"):
        files.read_json(tmp_path / "f.json", "file")


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "/etc/passwd", "..", "a\\b", "a\0b", "a\nb", ".hidden", "", "x" * 400]
)
def test_a_name_out_of_data_is_one_part_of_a_path(tmp_path: Path, name: str) -> None:
    part = files.name_part(name)
    assert (tmp_path / part).parent == tmp_path
    assert part not in ("", ".", "..")
    assert not part.startswith(".")
    (tmp_path / part).mkdir()


def test_names_of_tasks_stay_as_they_are() -> None:
    for name in ("hopper-medium", "pick-place-p512-d10-s0", "kitchen_mixed.v1", "omp-push", "20 %"):
        assert files.name_part(name) == name.replace(" %", "")
