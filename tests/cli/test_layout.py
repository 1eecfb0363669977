"""Tables at any width: words of a cell stay whole, and what does not fit is a line for each cell."""

import io
from pathlib import Path

import pytest
from rich.console import Console as RichConsole

from omp_cli.core.base.table import Table, once
from omp_cli.layout import laid_out
from tests.conftest import Omp

PATH = "runs/pretrain/20260101-101010-omp-assembly-p512-d10-s0"
TABLE = Table(
    "Success",
    ("task", "weights", "NFE", "success (any step)", "95 % Wilson", "where", "note"),
    [
        (task, "ema", 1, "50/50 = 1.00", "0.93 .. 1.00", PATH, note)
        for task, note in zip(once(["assembly", "assembly"]), ("first\nsecond", ""), strict=True)
    ],
    note="[any] step",
)


def shown(width: int, table: Table = TABLE) -> list[str]:
    console = RichConsole(file=io.StringIO(), width=width)
    console.print(laid_out(table, width), crop=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [1, 40, 60, 80, 110, 200])
def test_no_short_word_breaks_and_no_table_is_wider_than_its_terminal(width: int) -> None:
    lines = shown(width)
    text = "\n".join(lines)
    words = " ".join([*TABLE.columns, *(str(cell) for row in TABLE.rows for cell in row if cell != PATH)]).split()
    assert [word for word in words if word not in text] == []
    is_table = "┃" in text
    assert not is_table or max(map(len, lines)) <= width
    assert is_table == (width >= 80)


def test_a_block_has_whole_paths_and_the_name_of_its_group() -> None:
    lines = shown(40)
    assert lines[0] == "Success"
    assert lines.count("task: assembly") == 2
    assert lines.count(f"where: {PATH}") == 2
    assert lines.count("success (any step): 50/50 = 1.00") == 2
    assert [line for line in lines if line.startswith("note:")] == ["note: first; second"]
    assert lines[-1] == "[any] step"


@pytest.mark.parametrize("path", ["runs/sweep/gym/hopper/dmpo/seed0/eval", PATH, "x" * 50])
def test_a_long_path_folds_between_its_parts(path: str) -> None:
    lines = shown(40, Table("", ("what", "where"), [("eval", path)]))
    cells = [line.split("│")[2].strip() for line in lines if line.startswith("│")]
    assert "".join(cells) == path
    assert all(cell[-1] in "/-" for cell in cells[:-1]) or path == "x" * 50
    assert len(cells) > 1


def test_a_word_beside_sentences_keeps_its_column() -> None:
    text = "\n".join(shown(60, Table("", ("setting", "why"), [("method.alignment", "many words " * 40)])))
    assert "method.alignment" in text


def test_commands_at_forty_columns(omp: Omp, workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = omp("runs", workshop / "toy", workshop / "run").out.splitlines()
    assert f"where: {workshop / 'run'}" in lines
    assert lines.count("status: succeeded") == 2
