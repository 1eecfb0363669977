"""``omp export``: a policy as files that run without omp."""

from __future__ import annotations

from omp_cli import core
from omp_cli.commands.call import Call
from omp_cli.commands.frame import command
from omp_cli.commands.inputs import CheckpointArgument
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.files import quoted
from omp_cli.core.deploy.config import ExportConfig
from omp_cli.core.deploy.tables import export_table


@command("export", ExportConfig, earlier="replaced")
def export(call: Call[ExportConfig], checkpoint: CheckpointArgument = None) -> None:
    """Write a policy, from raw observation to raw actions, as policy.pt2 and policy.onnx, or as a folder for LeRobot.

    Each file is read back and compared with the policy. omp deploy runs it at a fixed rate.

    Example: omp export

    Example: omp export runs/pretrain/RUN --nfe 5 --format onnx --out policy

    Example: omp export runs/pretrain/RUN --format lerobot --out policy
    """
    if call.globals.device not in (None, "auto", "cpu"):
        raise UsageError(f"--device {call.globals.device}: policies are exported on the CPU", "leave --device out")
    found, chosen = call.checkpoints(checkpoint)
    last, settings = found[-1], chosen.settings
    task = last.meta.spec.task
    if settings.format != "lerobot":
        for kind, reason in core.formats(settings.format)[1].items():
            call.console.note(f"{kind}: {reason}")
    core.use_threads(settings.threads)
    if call.dry_run(chosen, task=task):
        return
    with call.run(chosen, f"{task}-nfe{settings.nfe}") as (run, progress):
        run.input("checkpoint", last.path, last.sha256())
        figures = core.export_run(run, last, settings, progress)
    where = quoted(run.folder)
    lerobot = settings.format == "lerobot"
    line = f"lerobot-record --policy.path={where} ..." if lerobot else f"omp deploy {where} --replay DATASET"
    call.result(run.folder, figures, [export_table(figures)], [f"run it: {line}"])
