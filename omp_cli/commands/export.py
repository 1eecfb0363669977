"""``omp export``: a policy as files that run without omp."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from omp_cli import core
from omp_cli.commands.frame import Call, checkpoint_layer, command
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.table import Table
from omp_cli.core.deploy.config import ExportConfig


@command("export", ExportConfig)
def export(
    call: Call[ExportConfig],
    checkpoint: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN_OR_CHECKPOINT]", help="(default: the newest of omp pretrain and finetune)"),
    ] = None,
) -> None:
    """Write a policy, from raw observation to raw actions, as policy.pt2 and policy.onnx.

    Each file is read back and compared with the policy. omp deploy runs it at a fixed rate.

    Example: omp export

    Example: omp export runs/pretrain/RUN --nfe 5 --format onnx --out policy
    """
    if call.globals.device not in (None, "auto", "cpu"):
        raise UsageError(f"--device {call.globals.device}: policies are exported on the CPU", "leave --device out")
    call.known(call.settings())
    last = core.open_run(checkpoint or call.newest_trained("finetune"))[-1]
    chosen = call.settings(checkpoint_layer(last))
    chosen.add("checkpoint", str(last.path), "argument")
    settings, task = chosen.settings, last.meta.spec.task
    _, left_out = core.formats(settings.format)
    for kind, reason in left_out.items():
        call.console.note(f"{kind}: {reason}")
    core.use_threads(settings.threads)
    if call.dry_run(chosen, task=task):
        return
    with call.run(chosen, f"{task}-nfe{settings.nfe}") as (run, progress):
        run.input("checkpoint", last.path, last.sha256())
        figures = core.export_run(run, last, settings, progress)
    call.result(run.folder, figures, [_table(figures)], [f"run it: omp deploy {run.folder} --replay DATASET"])


def _table(figures: dict[str, Any]) -> Table:
    columns = ("file", "MiB", "largest error", "relative", "allowed", "seconds")
    rows = [
        (
            f"policy.{kind}",
            f"{row['bytes'] / 2**20:.1f}",
            f"{row['max_abs']:.1e}",
            f"{row['max_rel']:.1e}",
            f"{row['tolerance']:.0e}",
            f"{row['seconds']:.1f}",
        )
        for kind, row in figures["files"].items()
    ]
    return Table("Read back and compared with the policy", columns, rows)
