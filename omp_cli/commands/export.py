"""``omp export``: a policy as files that run without omp."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from omp_cli.commands.common import (
    RUNS,
    Globals,
    base_layers,
    checkpoint_layer,
    newest_trained,
    run_folder,
    show_dry_run,
)
from omp_cli.console import make_table

GRAPH, CONFIG = "Graph", "Configuration"


def export(
    globals_: Globals,
    checkpoint: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN_OR_CHECKPOINT]", help="(default: the newest of omp pretrain and finetune)"),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="pt2, onnx or both. (default: both)", rich_help_panel=GRAPH)
    ] = None,
    nfe: Annotated[
        int | None,
        typer.Option(
            min=1, help="Network evaluations per decision. (default: the checkpoint's own)", rich_help_panel=GRAPH
        ),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="ema or raw. (default: ema)", rich_help_panel=GRAPH)] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Decisions per call. (default: 1)", rich_help_panel=GRAPH)
    ] = None,
    dynamic_batch: Annotated[
        bool, typer.Option("--dynamic-batch", help="Any number of decisions per call.", rich_help_panel=GRAPH)
    ] = False,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.", rich_help_panel=CONFIG)] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key=value; repeatable.", rich_help_panel=CONFIG)
    ] = None,
) -> None:
    """Write a policy, from raw observation to raw actions, as policy.pt2 and policy.onnx.

    Each file is read back and compared with the policy. examples/deploy_loop.py runs it at a fixed rate.

    Example: omp export

    Example: omp export runs/pretrain/RUN --nfe 5 --format onnx --out policy
    """
    from omp_cli.core import config as c
    from omp_cli.core.checkpoint import open_run
    from omp_cli.core.deploy.export import ExportConfig, formats
    from omp_cli.core.errors import UsageError

    if globals_.device not in (None, "auto", "cpu"):
        raise UsageError(f"--device {globals_.device}: policies are exported on the CPU", "leave --device out")
    flags = c.flag_layer(
        seed=globals_.seed,
        format=format_,
        nfe=nfe,
        weights=weights,
        batch=batch,
        dynamic_batch=dynamic_batch or None,
    )
    last = open_run(checkpoint or newest_trained(globals_, "finetune"))[-1]
    values, layer_of = c.merge(base_layers(ExportConfig, checkpoint_layer(last), config, set_ or [], flags))
    settings = c.validated(ExportConfig, values)
    sources = c.sources_of(settings, layer_of)
    _, left_out = formats(settings.format)
    for kind, reason in left_out.items():
        globals_.console.note(f"{kind}: {reason}")
    _export(globals_, settings, sources, last)


def _export(globals_: Globals, settings: Any, sources: dict[str, Any], last: Any) -> None:
    from omp_cli.core.deploy.export import export_run
    from omp_cli.core.device import use_threads
    from omp_cli.core.run import Run

    use_threads(settings.threads)
    sources["checkpoint"] = {"value": str(last.path), "source": "argument"}
    if globals_.dry_run:
        show_dry_run(globals_, "export", sources, task=last.meta.spec.task)
        return
    folder = globals_.out or run_folder(RUNS / "export", f"{last.meta.spec.task}-nfe{settings.nfe}")
    with (
        globals_.console.progress() as progress,
        Run(folder, "export", sources, {"seed": settings.seed}, "cpu", settings.threads) as run,
    ):
        run.input("checkpoint", last.path, last.sha256())
        figures = export_run(run, last, settings, progress)
    _report(globals_, run, figures)


def _report(globals_: Globals, run: Any, figures: dict[str, Any]) -> None:
    columns = ("file", "MiB", "largest error", "relative", "allowed", "seconds")
    rows = [
        [
            f"policy.{kind}",
            f"{row['bytes'] / 2**20:.1f}",
            f"{row['max_abs']:.1e}",
            f"{row['max_rel']:.1e}",
            f"{row['tolerance']:.0e}",
            f"{row['seconds']:.1f}",
        ]
        for kind, row in figures["files"].items()
    ]
    table = make_table("Read back and compared with the policy", columns, rows)
    document = {"command": "export", "run_dir": str(run.folder), "manifest": str(run.path), "result": figures}
    lines = [f"run it: python examples/deploy_loop.py {run.folder}"]
    globals_.console.result(document, [table], lines)
