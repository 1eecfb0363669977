"""A report as Markdown and as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from omp_cli.core.base.table import Table
from omp_cli.core.report.tables import all_tables, header_rows

TITLE = "Success of policies"

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
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem;
        display: block; width: max-content; max-width: 100%; overflow-x: auto; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .7rem; text-align: left; vertical-align: top; }
th { background: var(--head); white-space: nowrap; }
td { overflow-wrap: anywhere; }
td:first-child { min-width: 7.5rem; }
h2 ~ table td:not(:first-child) { white-space: nowrap; }
em { color: var(--grey); }
table + p, h2:last-of-type + ul { color: var(--grey); font-size: .9rem; }
blockquote { border-left: 4px solid var(--warn); background: var(--warn-page); padding: .1rem 1rem; margin: 1rem 0 0;
             overflow-wrap: anywhere; }
img { max-width: 100%; background: #fff; border-radius: 6px; padding: .4rem; box-sizing: border-box; }
"""

Pictures = Mapping[str, Path]
"""What a plot shows, and its file."""
SPECIAL = re.compile(r"^[-+#](?=\s)|[\\`*<|~]|(?<!\w)_|_(?!\w)|](?=\()|&(?=#?\w+;)")
"""What Markdown would take for its own in a line of text."""


def markdown(document: Mapping[str, Any], pictures: Pictures) -> str:
    """The report as Markdown that names its pictures by file."""
    return _markdown(document, {title: path.name for title, path in pictures.items()})


def html(document: Mapping[str, Any], pictures: Pictures) -> str:
    """The report as one page: styles and pictures are in it, nothing is fetched, no script runs."""
    inside = {title: base64.b64encode(path.read_bytes()).decode() for title, path in pictures.items()}
    text = _markdown(document, {title: f"data:image/png;base64,{content}" for title, content in inside.items()})
    body = MarkdownIt("commonmark", {"xhtmlOut": False}).enable("table").render(text)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{TITLE}</title><style>{STYLE}</style></head>\n<body>\n{body}</body>\n</html>\n"
    )


def _markdown(document: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """The report; ``pictures`` are addresses by what they show."""
    parts = [f"# {TITLE}", _table(Table("", ("what", "value"), header_rows(document["header"])))]
    if document["warnings"]:
        parts.append("## Warnings\n\n" + "\n".join(f"> * {_text(line)}" for line in document["warnings"]))
    for table in all_tables(document):
        parts += [f"## {_text(table.title)}", _table(table)]
        if table.note:
            parts.append(_text(table.note))
    parts += [f"## {_text(title)}\n\n![{_text(title)}]({address})" for title, address in pictures.items()]
    parts.append("## How to read it\n\n" + "\n".join(f"* {k}: {_text(v)}" for k, v in document["statistics"].items()))
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    lines = ["| " + " | ".join(map(_text, table.columns)) + " |", "|" + "---|" * len(table.columns)]
    for index, row in enumerate(table.rows):
        cells = [_text(cell) for cell in row]
        if index in table.grey:
            cells = [f"*{cell}*" if cell else "" for cell in cells]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _text(text: str) -> str:
    """Markdown that shows the text as it is, a line break as one."""
    return SPECIAL.sub(r"\\\g<0>", text).replace("\n", "<br>")
