"""``omp prepare gym --source sb3``: a policy learns the task and its episodes are the data."""

from __future__ import annotations

from dataclasses import replace

from omp_cli.commands.common import Globals, show_dry_run
from omp_cli.commands.prepare_files import Asked, prepare_files

SOURCE = "sb3"


def prepare_trained(globals_: Globals, asked: Asked, quality: str | None, steps: int | None) -> None:
    """Learn, record, and convert the file; what is in the cache is used again."""
    from omp_cli.core import config as c
    from omp_cli.core.errors import UsageError
    from omp_cli.core.prepare.trained import TrainedConfig, record_trained, robot_of

    if len(asked.tasks) > 1:
        raise UsageError("--source sb3 learns one task; several --task were given")
    if asked.format is not None:
        raise UsageError("--format says how to read --file; there is none to read")
    robot = robot_of(asked.tasks[0] if asked.tasks else "hopper")
    given = {"robot": robot, "quality": quality, "steps": steps, "episodes": asked.demos, "seed": globals_.seed}
    config = c.validated(TrainedConfig, {key: value for key, value in given.items() if value is not None})
    if globals_.dry_run:
        values = {**config.model_dump(mode="json"), "steps": config.budget}
        sources = {k: {"value": v, "source": "default" if given[k] is None else "flag"} for k, v in values.items()}
        show_dry_run(globals_, "prepare", sources, file=str(config.file))
        return
    with globals_.console.progress() as progress:
        file = record_trained(config, progress)
    found = replace(asked, tasks=[config.task], source=config.source, file=file, format="d4rl", demos=None)
    prepare_files(globals_, found)
