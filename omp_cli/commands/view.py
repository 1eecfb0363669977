"""``omp view``: look at the episodes of a data set."""

from __future__ import annotations

from omp_cli.commands.call import Call
from omp_cli.commands.frame import command
from omp_cli.commands.inputs import DATASET, DatasetArgument
from omp_cli.core.base.table import Table
from omp_cli.core.data.store import read_store
from omp_cli.core.view.config import ViewConfig
from omp_cli.core.view.episodes import PAGE, RECORDING
from omp_cli.core.view.episodes import view as write_view


@command("view", ViewConfig, earlier="replaced")
def view(call: Call[ViewConfig], dataset: DatasetArgument = None) -> None:
    """Write one page of episodes for a browser: actions and states over time, pictures, clouds that can be turned.

    Example: omp view

    Example: omp view data/metaworld/assembly-p512-d10-s0 --episodes 3 --rerun
    """
    chosen = call.settings()
    call.known(chosen)
    path = dataset or call.newest(DATASET)
    chosen.add("dataset", str(path), "argument")
    if call.dry_run(chosen):
        return
    found = read_store(path)
    with call.run(chosen, found.spec.task, inputs=[("dataset", path, found.sha256)]) as (run, _):
        figures = write_view(run, found, chosen.settings)
    shapes = [(name, "x".join(map(str, shape)) or "1") for name, shape in figures["arrays"].items()]
    table = Table("Arrays", ("array", "shape of a frame"), shapes)
    lines = [f"page: {run.folder / PAGE}", *([f"recording: {run.folder / RECORDING}"] if chosen.settings.rerun else [])]
    call.result(run.folder, figures, [table], lines)
