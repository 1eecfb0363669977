"""``omp prepare robomimic --source scripted``: operators are recorded in robosuite and their file is the data."""

from __future__ import annotations

from dataclasses import replace

from omp_cli.commands.common import Globals, base_layers, show_dry_run
from omp_cli.commands.prepare_files import Asked, prepare_files

SOURCES = {"scripted": "clean", "scripted-noisy": "noisy"}
"""Names of the source and the operator each means."""
SECTION = "record."
"""Settings of the recording on the line: ``--set record.image_size=64``."""


def prepare_scripted(globals_: Globals, asked: Asked, after_success: int | None) -> None:
    """Record, and convert the file; what is in the cache is used again."""
    from omp_cli.core import config as c
    from omp_cli.core.errors import UsageError
    from omp_cli.core.prepare.collect import default_workers
    from omp_cli.core.prepare.scripted import ScriptedConfig, record_scripted

    if len(asked.tasks) > 1:
        raise UsageError("--source scripted records one task; several --task were given")
    if asked.format is not None:
        raise UsageError("--format says how to read --file; there is none to read")
    task = asked.tasks[0] if asked.tasks else "lift"
    mine = [s.removeprefix(SECTION) for s in asked.sets if s.startswith(SECTION)]
    rest = [s for s in asked.sets if not s.startswith(SECTION)]
    named = c.Layer("argument", {"task": task, "operator": SOURCES[str(asked.source)]})
    flags = c.flag_layer(demos=asked.demos, after_success=after_success, seed=globals_.seed)
    values, layer_of = c.merge(base_layers(ScriptedConfig, named, None, mine, flags))
    config = c.validated(ScriptedConfig, values)
    workers = asked.workers or default_workers()
    if globals_.dry_run:
        show_dry_run(globals_, "prepare", c.sources_of(config, layer_of), file=str(config.file), workers=workers)
        return
    with globals_.console.progress() as progress:
        file = record_scripted(config, workers, progress)
    found = replace(asked, tasks=[task], source=config.source, file=file, format="robomimic", demos=None, sets=rest)
    prepare_files(globals_, found)
