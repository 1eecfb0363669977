"""How a table is laid out for a width: as a table while its words fit, else as one line for each cell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len
from rich.console import Group
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from omp_cli.core.base.table import Table, cell_text, is_figure

WORD = 12
"""Letters up to which a word of a cell is never broken; a longer one, such as a path, has at least these in a line."""


def laid_out(table: Table, width: int) -> RichTable | Group:
    """The table for a terminal of ``width`` letters; where words of its cells would break, its rows are blocks of
    lines "heading: cell".
    """
    rows = [[cell_text(cell) for cell in row] for row in table.rows]
    widths = _widths(list(zip(table.columns, *rows, strict=True)), width)
    return Group(*_blocks(table, rows)) if widths is None else _as_table(table, rows, widths)


def _widths(columns: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """Letters of each column, given by its cells, so that a table fits; None where a word would have to break."""
    found = [max(min(WORD, _longest(cell.split())) for cell in cells) for cells in columns]
    wanted = [max(_longest(cell.splitlines()) for cell in cells) for cells in columns]
    left = width - sum(found) - 3 * len(columns) - 1
    if left < 0:
        return None
    while left > 0 and found != wanted:
        narrow = min((i for i in range(len(found)) if found[i] < wanted[i]), key=lambda i: found[i])
        found[narrow], left = found[narrow] + 1, left - 1
    return found


def _longest(texts: Iterable[str]) -> int:
    return max(map(cell_len, texts), default=0)


def _as_table(table: Table, rows: Sequence[Sequence[str]], widths: Sequence[int]) -> RichTable:
    """Columns of numbers stand to the right."""
    shown = RichTable(title=table.title, title_justify="left", caption=table.note or None)
    for index, (column, width) in enumerate(zip(table.columns, widths, strict=True)):
        numeric = bool(rows) and all(is_figure(row[index]) for row in rows)
        style = "dim" if column in table.grey_columns else None
        shown.add_column(column, justify="right" if numeric else "left", overflow="fold", style=style, width=width)
    for number, row in enumerate(rows):
        cells = [escape(_folded(cell, width)) for cell, width in zip(row, widths, strict=True)]
        shown.add_row(*cells, style="dim" if number in table.grey else None)
    return shown


def _folded(cell: str, width: int) -> str:
    """The cell with each word that is wider than its column in several lines, which end where a part of its path or
    name does.
    """
    return re.sub(r"\S+", lambda word: "\n".join(_parts(word[0], width)), cell)


def _parts(word: str, width: int) -> Iterator[str]:
    while cell_len(word) > width:
        within = re.match(r".*/", word[:width]) or re.match(r".*[-_,=:]", word[:width])
        end = within.end() if within else width
        yield word[:end]
        word = word[end:]
    yield word


def _blocks(table: Table, rows: Sequence[Sequence[str]]) -> Iterator[Text]:
    """A block for each row. Lines are as long as they are, so that a path can be copied whole.

    The first cell of rows that belong together stands in the first of them alone (``once``); each block has it.
    """
    yield _line(table.title, "italic")
    first = ""
    for number, row in enumerate(rows):
        first = row[0] or first
        for column, cell in zip(table.columns, (first, *row[1:]), strict=True):
            if cell:
                grey = number in table.grey or column in table.grey_columns
                yield _line(f"{column}: {'; '.join(cell.splitlines())}", "dim" if grey else "")
        yield _line("")
    if table.note:
        yield _line(table.note, "dim italic")


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ignore")
