"""From a source to a finished data set folder: episodes, contact sheet, provenance, store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from omp_cli.core.base import manifest
from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.files import read_json, remove
from omp_cli.core.base.layers import flatten
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.run import Run
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.data.large import kept_in
from omp_cli.core.data.store import STORE, Arrays, read_attributes, read_store, write_store
from omp_cli.core.prepare.next_line import training_figures
from omp_cli.core.prepare.sheet import contact_sheet
from omp_cli.core.prepare.source import Source

SHEET = "contact_sheet.png"
SCRATCH = ".episodes"
RECIPE = "recipe.json"
"""In ``SCRATCH``: of the episodes there."""


def build(run: Run, source: Source, workers: int, progress: Progress) -> dict[str, Any]:
    """Make a data set in the run's folder; keeps one that is complete, continues what an interrupted run left.

    Returns:
        The figures that go into the manifest.

    Raises:
        UsageError: the folder holds a data set of another recipe, or a setting does not fit the data.
        DataError: a file is missing, damaged, not of its format, or holds values that are not finite.
        RunFailed: an expert succeeds too rarely, a worker process died, or the network failed.
        MissingDependency: the simulator is not installed.
    """
    watch = Stopwatch()
    store, scratch = run.folder / STORE, run.folder / SCRATCH
    if not store.exists():
        source.check()
    source.begin(run, workers, progress, watch)
    wanted = source.recipe()
    if store.exists():
        same_recipe(run.folder, read_attributes(store).get("recipe"), wanted)
        dataset = read_store(store)
        figures = {**_figures(source, dataset.provenance), "content_sha256": dataset.sha256, "reused": True}
    else:
        with kept_in(run.folder):
            found = source.gather(scratch, workers, progress, watch)
        provenance = {
            "recipe": wanted,
            "spec": found.spec.model_dump(mode="json"),
            "environment": found.environment,
            "versions": manifest.versions((*manifest.PACKAGES, *source.packages)),
            "start_states": found.starts,
            "episode_steps": [len(episode["action"]) for episode in found.episodes],
            "said": list(found.said),
            **found.provenance,
        }
        if found.sheet:
            contact_sheet(run.folder / SHEET, f"{source.origin.suite}/{source.origin.task}", found.sheet)
            watch.lap("contact sheet")
        sha256 = write_store(store, found.episodes, provenance)  # last: a store that is there means that all is done
        watch.lap("store")
        figures = {**_figures(source, provenance), **found.figures, "content_sha256": sha256, "reused": False}
        figures["seconds_by_part"] = watch.rounded()
    run.metrics(**figures)
    for path in (store, run.folder / SHEET):
        if path.exists():
            run.artifact(path)
    remove(scratch)  # where a data set is kept: what a kill just after the store was written leaves
    return figures


def _figures(source: Source, provenance: Mapping[str, Any]) -> dict[str, Any]:
    steps = provenance["episode_steps"]
    return {
        "task": provenance["recipe"]["task"],
        "demos": len(steps),
        "frames": sum(steps),
        "mean_steps": round(sum(steps) / len(steps), 1),
        "said": provenance.get("said", []),  # data made before do not say
        **training_figures(provenance),
        **source.figures(provenance),
    }


def recipe_in(folder: Path) -> Mapping[str, Any] | None:
    """The recipe of the data set in a folder, finished or begun; None where there is none that can be read."""
    with suppress(DataError):
        if (folder / STORE).exists():
            return read_attributes(folder / STORE).get("recipe") or {}
        if (folder / SCRATCH / RECIPE).exists():
            return dict(read_json(folder / SCRATCH / RECIPE, "recipe"))
    return None


def same_recipe(folder: Path, found: Any, wanted: Mapping[str, Any]) -> None:
    """UsageError that names the first difference between how a folder's data set was made and what is asked for."""
    old, new = flatten(found or {}), flatten(wanted)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            was, now = ("not set" if of_one.get(key) is None else repr(of_one[key]) for of_one in (old, new))
            raise UsageError(
                f"data set {folder}: made with {key} {was}, asked for {now}",
                "choose another folder with --out, ask for the settings that this one has, or delete it",
            )


def check_episodes(
    where: str | Path,
    episodes: Sequence[Arrays],
    name_of: Callable[[int], str] = "episode {}".format,
    way_out: Callable[[int], str] = lambda _: "leave this episode out of it",
) -> None:
    """Refuse what a store must not hold in the name of where it comes from; DataError.

    Args:
        where: where the episodes come from.
        episodes: what is to be stored.
        name_of: what messages call an episode, by its index.
        way_out: what to do, beside mending it, about an episode with values that are not finite, by its index.
    """
    names = episodes[0].keys()
    for index, episode in enumerate(episodes):
        name = name_of(index)
        if episode.keys() != names:
            raise DataError(f"{where}: {name} has {', '.join(episode)}, the first one {', '.join(names)}")
        for array, values in episode.items():
            if values.shape[1:] != episodes[0][array].shape[1:]:
                raise DataError(f"{where}: {name} has {array} of another shape than the first one")
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                frame = int(np.argwhere(~np.isfinite(values))[0][0])
                raise DataError(
                    f"{where}: {name} has values of {array} that are not finite, first at its frame {frame}",
                    f"mend the recording, or {way_out(index)}",
                )
