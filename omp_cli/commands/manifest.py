"""``omp manifest``: check and show the manifest of a run, or print its JSON Schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from omp_cli.commands.call import Call
from omp_cli.commands.frame import command
from omp_cli.commands.options import argument, option
from omp_cli.core.base import manifest as m
from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.run import state_of
from omp_cli.core.inventory import run_table


@command("manifest", None, writes=False)
def manifest(
    call: Call[Settings],
    run: Annotated[Path | None, argument("Folder of a run, or its manifest.json.")] = None,
    schema: Annotated[bool, option("Print the JSON Schema of manifests instead.", "--schema")] = False,
    files: Annotated[bool, option("Check the hash of every file of the run, too.", "--files")] = False,
) -> None:
    """Check that a manifest is whole and unaltered, and show what it says.

    Example: omp manifest runs/eval/RUN --files
    """
    if schema and (run is not None or files):
        raise UsageError("--schema: it is that of all manifests, and no run is looked at", "leave RUN and --files out")
    if schema:
        call.console.json(m.json_schema())
        return
    if run is None:
        raise UsageError("which run?", "omp manifest RUN, or omp manifest --schema")
    found = m.read_manifest(run)
    folder = run if run.is_dir() else run.parent
    state = state_of(folder, found)
    lines = []
    if files:
        m.check_artifacts(folder, found)
        count = len(found.artifacts)
        lines = [f"{count} artifacts are as the manifest has them" if count else "the manifest names no files to check"]
    document = {"command": "manifest", "state": state, "result": found.model_dump(mode="json")}
    call.console.result(document, [run_table(run, found, state)], lines)
