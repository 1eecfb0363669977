"""A report's tables for a paper: LaTeX that needs the packages booktabs and graphicx alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omp_cli.core.base.table import PLUS_MINUS, Table, cell_text, is_figure
from omp_cli.core.report.tables import MINUS, all_tables

HEAD = r"""% Made by omp report. In the preamble: \usepackage{booktabs,graphicx}
% Letters of other scripts need LuaLaTeX or XeLaTeX.
"""
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    MINUS: "$-$",
    PLUS_MINUS: r"$\pm$",
    "\N{GREEK SMALL LETTER LAMDA}": r"$\lambda$",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}
"""What LaTeX would take for its own, or does not know in every font."""


def latex(document: Mapping[str, Any], pictures: Mapping[str, Path]) -> str:
    """The tables of a report, one ``table`` each, and a ``figure`` for each picture (PDF), by what it shows."""
    parts = [HEAD, *map(_table, all_tables(document))]
    for title, path in pictures.items():
        shown = rf"\includegraphics[width=\linewidth]{{{path.name}}}"
        parts.append(f"\\begin{{figure}}\n\\centering\n{shown}\n\\caption{{{_text(title)}}}\n\\end{{figure}}\n")
    return "\n".join(parts)


def _table(table: Table) -> str:
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    letters = "".join("r" if cells and all(map(_is_number, cells)) else "l" for cells in columns)
    rows = [" & ".join(_cell(cell, n in table.grey) for cell in row) for n, row in enumerate(table.rows)]
    body = [r"\toprule", " & ".join(map(_text, table.columns)) + r" \\", r"\midrule", *(f"{row} \\\\" for row in rows)]
    note = [rf"\par\smallskip\footnotesize {_text(' '.join(table.note.split()))}"] if table.note else []
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_text(table.title)}}}",
            rf"\begin{{tabular}}{{{letters}}}",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *note,
            r"\end{table}",
            "",
        ]
    )


def _is_number(cell: Any) -> bool:
    """Whether a cell stands to the right: a figure, also behind the sign that reports write, or nothing."""
    text = cell_text(cell).replace(MINUS, "-")
    return not text or is_figure(text)


def _cell(cell: Any, grey: bool) -> str:
    text = _text(cell)
    return rf"\textit{{{text}}}" if grey and text else text


def _text(cell: Any) -> str:
    """A cell as LaTeX shows it; several lines stand one above the other."""
    lines = ["".join(SPECIAL.get(letter, letter) for letter in line) for line in cell_text(cell).split("\n")]
    # behind the end of a line [ and * mean something
    lines = [f"{{}}{line}" if line[:1] in ("[", "*") else line for line in lines]
    return lines[0] if len(lines) == 1 else r"\shortstack[l]{" + r" \\ ".join(lines) + "}"
