"""A report as Markdown and as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from omp_cli.core.base.table import Table
from omp_cli.core.report.tables import all_tables, header_rows

TITLE = "Success of policies on held-out episodes"

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --page: #fff; --line: #d5d5d5; --head: #f1f3f5; --grey: #6b6b6b;
        --warn: #8a4b00; --warn-page: #fff6e5; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --page: #16181b; --line: #3a3d42; --head: #22262b; --grey: #9a9fa6;
          --warn: #ffc266; --warn-page: #2c2415; }
}
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: var(--ink); background: var(--page);
       font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .7rem; text-align: left; vertical-align: top; }
th { background: var(--head); white-space: nowrap; }
td { overflow-wrap: anywhere; }
td:first-child { min-width: 7.5rem; }
table.figures td:not(:first-child) { white-space: nowrap; }
.grey td { color: var(--grey); }
.note { color: var(--grey); font-size: .9rem; }
.warnings { border-left: 4px solid var(--warn); background: var(--warn-page); padding: .5rem 1rem; margin-top: 1rem;
            overflow-wrap: anywhere; }
img { max-width: 100%; background: #fff; border-radius: 6px; padding: .4rem; box-sizing: border-box; }
"""

Pictures = Mapping[str, Path]
"""What a plot shows, and its file."""


def markdown(document: Mapping[str, Any], pictures: Pictures) -> str:
    """The report as Markdown that names its pictures by file."""
    parts = [f"# {TITLE}", _markdown_table(Table("", ("what", "value"), header_rows(document["header"])))]
    if document["warnings"]:
        parts.append("## Warnings\n\n" + "\n".join(f"* {_cell(line)}" for line in document["warnings"]))
    for table in all_tables(document):
        parts.append(f"## {table.title}\n\n{_markdown_table(table)}")
        if note := _note(table, "Italics"):
            parts.append(note)
    parts += [f"![{title}]({path.name})" for title, path in pictures.items()]
    parts.append("## How to read it\n\n" + "\n".join(f"* {line}" for line in _reading(document)))
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    lines = ["| " + " | ".join(map(_cell, table.columns)) + " |", "|" + "---|" * len(table.columns)]
    for index, row in enumerate(table.rows):
        cells = [_cell(cell) for cell in row]
        if index in table.grey:
            cells = [f"*{cell}*" if cell else "" for cell in cells]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")


def html(document: Mapping[str, Any], pictures: Pictures) -> str:
    """The report as one page: styles and pictures are in it, nothing is fetched, no script runs."""
    parts = [f"<h1>{TITLE}</h1>", _html_table(Table("", ("what", "value"), header_rows(document["header"])), "facts")]
    if document["warnings"]:
        lines = "".join(f"<li>{escape(line)}</li>" for line in document["warnings"])
        parts.append(f'<div class="warnings"><strong>Warnings</strong><ul>{lines}</ul></div>')
    for table in all_tables(document):
        parts.append(f"<h2>{escape(table.title)}</h2>")
        parts.append(_html_table(table, "figures"))
        if note := _note(table, "Grey"):
            parts.append(f'<p class="note">{escape(note)}</p>')
    for title, path in pictures.items():
        data = base64.b64encode(path.read_bytes()).decode()
        parts.append(f'<h2>{escape(title)}</h2>\n<img alt="{escape(title)}" src="data:image/png;base64,{data}">')
    lines = "".join(f"<li>{escape(line)}</li>" for line in _reading(document))
    parts.append(f'<h2>How to read it</h2><ul class="note">{lines}</ul>')
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{TITLE}</title><style>{STYLE}</style></head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html_table(table: Table, kind: str) -> str:
    head = "".join(f"<th>{_html_cell(column)}</th>" for column in table.columns)
    rows = []
    for index, row in enumerate(table.rows):
        cells = "".join(f"<td>{_html_cell(cell)}</td>" for cell in row)
        rows.append(f'<tr class="grey">{cells}</tr>' if index in table.grey else f"<tr>{cells}</tr>")
    body = "\n".join(rows)
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'
    )


def _html_cell(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def _note(table: Table, marks: str) -> str:
    return " ".join([table.note] * bool(table.note) + [f"{marks}: published figures."] * bool(table.grey))


def _reading(document: Mapping[str, Any]) -> Sequence[str]:
    return [f"{name}: {text}" for name, text in document["statistics"].items()]
