"""What a card can do, in one table: speed of training, latency, memory, and one policy from data to success.

    bash examples/gpu_check.sh [--minutes 10]             # on a machine with a CUDA GPU; no network is needed
    bash examples/gpu_check.sh --device cpu --small       # the same parts, reduced, where there is none

Every part is a command in a process of its own with a time limit, the most important first. What fails, crashes or
takes too long is a row that says so. After each part the table is written anew: ``table.md`` and ``manifest.json``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gpu_parts import parts_of
from gpu_run import Row, run_part

from omp_cli.core.base.device import device_name, pick_device
from omp_cli.core.base.errors import OmpError
from omp_cli.core.base.files import write_text
from omp_cli.core.base.manifest import write_manifest
from omp_cli.core.base.run import Run

FOR_A_CPU = "note: the parts are sized for a GPU; for a CPU there is --small, which is reduced"


def markdown(rows: Sequence[Row], title: str) -> str:
    """The table as GitHub shows it, and readable as it is."""
    cells = [["part", "what", "figure", "unit", "note"]]
    for row in rows:
        value = "-" if row.value is None else f"{row.value:.4g}"
        cells.append([text.replace("|", "/") for text in (row.part, row.what, value, row.unit, row.note)])
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = [" | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in cells]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return f"# {title}\n\n" + "".join(f"| {line} |\n" for line in lines)


def main(args: argparse.Namespace) -> list[Row]:
    """Every part in turn; the rows."""
    end = time.monotonic() + 60 * args.minutes
    rows: list[Row] = []
    device = device_name(pick_device(args.device))
    settings = {name: {"value": getattr(args, name), "source": "argument"} for name in ("minutes", "device", "small")}
    unfit = FOR_A_CPU if args.device == "cpu" and not args.small else ""
    if unfit:
        print(unfit, file=sys.stderr)
    with Run(args.folder, "gpu-check", settings, {}, device, earlier="kept") as run:
        for part in parts_of(args):
            if args.part and not part.name.startswith(tuple(args.part)):
                continue
            print(f"{part.name} ...", file=sys.stderr, flush=True)
            rows += run_part(part, end - time.monotonic(), args.folder)
            table = args.folder / "table.md"
            title = f"{device}, torch {run.manifest.versions.get('torch')}"
            write_text(table, markdown(rows, f"{title}\n\n{unfit}" if unfit else title))
            run.artifact(table)
            run.metrics(rows=[asdict(row) for row in rows])
            write_manifest(run.folder, run.manifest)
    print((args.folder / "table.md").read_text())
    print(f"manifest {run.path}", file=sys.stderr)
    return rows


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What stands on the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="for all parts together (default: 10)")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (default: cuda)")
    parser.add_argument("--small", action="store_true", help="reduced parts on a suite that needs no simulator")
    parser.add_argument("--part", action="append", default=[], help="only parts whose name begins so; repeatable")
    stamp = time.strftime("%Y%m%d-%H%M%S")
    parser.add_argument("--folder", type=Path, default=Path("runs/gpu-check") / stamp, help="where results go")
    return parser.parse_args(words)


if __name__ == "__main__":
    try:
        main(arguments())
    except OmpError as error:
        print(f"error: {error.message}{f' ({error.hint})' if error.hint else ''}", file=sys.stderr)
        sys.exit(error.exit_code)
