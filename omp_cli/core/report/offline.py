"""Evaluations without an environment in a report: one row each, the baselines in grey below those of their data."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omp_cli.core.base.manifest import FILE_NAME
from omp_cli.core.base.table import NONE, Table
from omp_cli.core.measure.offline.config import PICTURE
from omp_cli.core.measure.offline.scores import BASELINES, MEAN, POLICY, SAMPLE, SAMPLES
from omp_cli.core.measure.offline.tables import WORDS, bounded
from omp_cli.core.report.collect import Offline


def offline_rows(evaluations: Sequence[Offline]) -> list[dict[str, Any]]:
    """What a report says of them, JSON types only."""
    return [
        {
            "title": e.label,
            "suite": e.suite,
            "task": e.task,
            "seed": e.seed,
            "nfe": e.nfe,
            "step": e.manifest.metrics["checkpoint_step"],
            "selection": e.manifest.metrics["selection"],
            "stride": e.setting("stride"),
            **e.figures,
        }
        for e in evaluations
    ]


def offline_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Policies by task, and what the baselines come to on the same episodes."""
    cells: list[list[str]] = []
    grey: set[int] = set()
    for index, row in enumerate(rows):
        errors = row["errors"]
        name = f"{row['suite']}/{row['task']}"
        one, mean = errors.get(SAMPLE, errors.get(POLICY, {})), errors.get(MEAN, {})
        score = errors.get(SAMPLES, one).get("energy_score")
        seed = NONE if row["seed"] is None else str(row["seed"])
        drawn = "" if bounded(mean.get("relative")) == NONE else f", m = {row['samples']}"
        figures = [bounded(one.get("relative")), bounded(mean.get("relative")) + drawn, bounded(score)]
        where = f"{len(row['episodes'])} ({row['on']})"
        cells.append(
            [name, row["title"], seed, str(row["nfe"]), f"{row['step']} ({row['selection']})", *figures, where]
        )
        after = rows[index + 1] if index + 1 < len(rows) else None
        if after is not None and _judged_on(after) == _judged_on(row):
            continue
        for baseline in BASELINES:
            of = errors[baseline]
            grey.add(len(cells))
            figures = [bounded(of.get("relative")), NONE, bounded(of.get("energy_score"))]
            cells.append([name, WORDS[baseline], NONE, NONE, NONE, *figures, where])
    columns = ("task", "policy", "seed", "NFE", "step", "error of one sample", "of m samples' mean", "energy score")
    note = (
        "Root mean square error of the executed steps, and energy score, in units of the demonstrations' standard "
        "deviation [95 % bootstrap over episodes]. Without an environment: an error is no success rate. Grey or "
        "italics: what costs nothing."
    )
    return Table("Action error on recorded episodes", (*columns, "episodes"), cells, grey, note=note)


def _judged_on(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (row["suite"], row["task"], row["content_sha256"], row["episodes"], row["stride"])


def copied_pictures(folder: Path, evaluations: Sequence[Offline]) -> dict[str, Path]:
    """The pictures of actions over an episode that lie beside the manifests, copied into ``folder``, by title."""
    found = {}
    for number, e in enumerate(evaluations, 1):
        picture = e.path.parent / PICTURE
        if e.path.name == FILE_NAME and picture.is_file():
            title = f"Actions of {e.label} on {e.suite}/{e.task}, seed {e.seed}, NFE {e.nfe} ({number})"
            found[title] = Path(shutil.copyfile(picture, folder / f"actions-{number}.png"))
    return found
