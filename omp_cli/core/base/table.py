"""A table of results, as the core makes it for every kind of output alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

NONE = "-"
"""The text of a cell for which there is no figure."""
SHOWN = 4
"""Names in one line."""
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"


@dataclass
class Table:
    """Rows of cells. Text is shown as it is, with its line breaks; numbers are shown with four significant digits.

    Attributes:
        title: what stands above the table.
        columns: the heading of each column.
        rows: one cell for each column.
        grey: the numbers of the rows that hold others' figures and are shown paler.
        grey_columns: the headings of the columns that do.
        note: what stands below the table.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    grey: set[int] = field(default_factory=set)
    grey_columns: set[str] = field(default_factory=set)
    note: str = ""


def table_of(title: str, columns: dict[str, list[str]], always: Iterable[str] = ()) -> Table:
    """A table of columns of text; one in which every cell is ``NONE`` is left out, unless it is among ``always``."""
    shown = {name: cells for name, cells in columns.items() if name in always or set(cells) != {NONE}}
    return Table(title, tuple(shown), list(zip(*shown.values(), strict=True)))


def once(names: Iterable[str]) -> list[str]:
    """The first column of rows that belong together: each name in its first row, nothing in those that follow it."""
    every = list(names)
    return every[:1] + ["" if name == last else name for last, name in pairwise(every)]


def cell_text(value: Any) -> str:
    """A cell as text: four significant digits, none after the point from 1000 on."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def is_figure(text: str) -> bool:
    """Whether the text of a cell is a figure, perhaps with its unit, or says that there is none."""
    return text == NONE or text.lstrip("-+")[:1].isdigit()


def first_few(names: Sequence[str], between: str = "; ") -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return between.join(names[:SHOWN]) + more
