"""What ``omp prepare`` shows: the data sets that were made, and the catalogue of those that can be fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omp_cli.core.base.table import Table
from omp_cli.core.data.catalogue import Entry, cache_folder, read_catalogue
from omp_cli.core.prepare.choose import own_sources
from omp_cli.core.prepare.source import Source


def made_table(source: Source, figures: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each data set that ``source`` has made, with the beginning of the hash of its content."""
    rows = [source.row(of_one) | {"content": of_one["content_sha256"][:12]} for of_one in figures]
    return Table("Data sets", tuple(rows[0]), [[str(cell) for cell in row.values()] for row in rows])


def catalogue_document(entries: Sequence[Entry]) -> dict[str, Any]:
    """Entries of the catalogue as plain data, with every address, and the folder of downloads."""
    return {
        "cache": str(cache_folder()),
        "datasets": [
            {**e.model_dump(mode="json"), "fetched": e.fetched, "urls": [u for f in e.files for u in e.urls(f)]}
            for e in entries
        ],
    }


def catalogue_table(entries: Sequence[Entry]) -> Table:
    """A row for each entry of the catalogue."""
    columns = ("suite", "task", "source", "format", "size", "licence", "fetched")
    return Table("Data sets", columns, [[getattr(entry, column) for column in columns] for entry in entries])


def catalogue_lines(entries: Sequence[Entry]) -> list[str]:
    """How far the addresses can be trusted, what omp makes without a download, and where more is said."""
    published = {(entry.suite, entry.source) for entry in read_catalogue().entries}
    own = {suite: [s for s in sources if (suite, s) not in published] for suite, sources in own_sources().items()}
    made = "; ".join(f"{suite} --source {', '.join(sources)}" for suite, sources in own.items() if sources)
    unchecked = sum(not entry.checked for entry in entries)
    return [
        f"{len(entries)} data sets; the addresses of {unchecked} are as published and were not opened with this omp",
        f"made here, without a download: {made}",
        f"notes and addresses: --json   cache: {cache_folder()}",
    ]
