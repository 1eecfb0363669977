"""``omp serve``: a policy server for robot clients."""

from __future__ import annotations

from omp_cli import core
from omp_cli.commands.acting import opened
from omp_cli.commands.call import Call
from omp_cli.commands.frame import command
from omp_cli.commands.inputs import PolicyArgument
from omp_cli.core.deploy.config import ServeConfig


@command("serve", ServeConfig)
def serve(call: Call[ServeConfig], policy: PolicyArgument = None) -> None:
    """Serve a policy to one robot client at a time, until Ctrl-C. It needs the extra serve.

    Clients of the package openpi-client work unchanged: they get metadata, then send arrays by name and get actions.

    Example: omp serve runs/pretrain/RUN --port 8000

    Example: omp serve runs/pretrain/RUN --reply step --ensemble 0.01 --host 0.0.0.0
    """
    chosen, player = opened(call, policy)
    if call.dry_run(chosen, task=player.signature.task, nfe=player.signature.nfe):
        return
    core.check_server()
    with call.run(chosen, player.signature.task, player.decider.device, bar=False) as (run, _):
        run.input(player.decider.kind, player.decider.path, player.decider.sha256())
        core.serve_run(run, player, chosen.settings, call.console.note)
