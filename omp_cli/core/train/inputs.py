"""Where the inputs of a run are that is to be resumed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from omp_cli.core.base.errors import DataError
from omp_cli.core.base.manifest import Input
from omp_cli.core.base.run import whereabouts
from omp_cli.core.checkpoint import open_run
from omp_cli.core.data.store import read_attributes


def find_input(run: Path, read: Input, hint: str) -> Path:
    """Where an input of a run is now: the first place with the content that the run began with, else as recorded.

    Args:
        run: the run's folder.
        read: "dataset" or "teacher" as its manifest has it.
        hint: how to say where the input is.

    Raises:
        DataError: it is nowhere near.
    """
    places = list(whereabouts(run, read.path))
    for place in places:
        with suppress(DataError):  # something else of that name
            same = read_attributes(place)["content_sha256"] if read.kind == "dataset" else open_run(place)[-1].sha256()
            if same == read.sha256:
                return place
    if not places:
        raise DataError(f"{read.kind} {read.path}: no such file or folder, nor is it near {run}", hint)
    return places[0]
