"""``omp serve``: a policy server for robot clients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from omp_cli import core
from omp_cli.commands.acting import opened
from omp_cli.commands.frame import Call, command
from omp_cli.core.deploy.config import ServeConfig


@command("serve", ServeConfig)
def serve(
    call: Call[ServeConfig],
    policy: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN_OR_EXPORT]", help="Or a checkpoint. (default: the newest of omp pretrain and finetune)"
        ),
    ] = None,
) -> None:
    """Serve a policy to one robot client at a time, until Ctrl-C; needs the extra serve.

    Clients of the package openpi-client work unchanged: metadata first, then arrays by name in and actions out.

    Example: omp serve runs/pretrain/RUN --port 8000

    Example: omp serve runs/pretrain/RUN --reply step --ensemble 0.01 --host 0.0.0.0
    """
    chosen, player = opened(call, policy)
    if call.dry_run(chosen, task=player.signature.task):
        return
    core.check_server()
    with call.run(chosen, player.signature.task, call.globals.device_name, bar=False) as (run, _):
        run.input(player.decider.kind, player.decider.path, player.decider.sha256())
        core.serve_run(run, player, chosen.settings, call.console.note)
