"""What ``omp prepare`` says of data sets that are read from files: figures, a row of its table, lines below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omp_cli.core.data.readers.robomimic_actions import NOTE
from omp_cli.core.prepare.next_line import next_line
from omp_cli.core.prepare.numbers import unclipped
from omp_cli.core.suites.base import is_users_own


def figures_of(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What files hold, in numbers."""
    recipe, spec = provenance["recipe"], provenance["spec"]
    return {
        "suite": recipe["suite"]["name"],
        "source": recipe["source"],
        "format": recipe["format"]["name"],
        "returns": provenance["returns"],
        "success_share": provenance["success_share"],
        "action_range": provenance["action_range"],
        "action_values": sum(provenance["episode_steps"]) * spec["action_dim"],
        "poses": NOTE in provenance["environment"],
        "actions_beyond_one": provenance.get("actions_beyond_one"),  # data made before do not say
        "environment": (provenance.get("rollout_suite") or {}).get("environment"),
        "state_dim": spec["state_dim"],
        "action_dim": spec["action_dim"],
    }


def row_of(figures: Mapping[str, Any]) -> dict[str, Any]:
    """What the data are."""
    returns, share, image = figures["returns"], figures["success_share"], figures["image"]
    return {
        "task": figures["task"],
        "source": figures["source"],
        "demos": figures["demos"],
        "frames": figures["frames"],
        "steps": figures["mean_steps"],
        "return": "none" if returns is None else returns["mean"],
        "success": "unknown" if share is None else f"{100 * share:.1f} %",
        "state": figures["state_dim"],
        "picture": "none" if image is None else "x".join(map(str, image)),
    }


def lines_of(folders: Sequence[Path], figures: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where the data are and what is unusual of them; what to do next."""
    lines = [f"data set: {f}{' (kept)' if r['reused'] else ''}" for f, r in zip(folders, figures, strict=True)]
    pictures, clouds = (figures[-1][key] is not None for key in ("image", "points"))
    lines += ["look at its contact_sheet.png"] if pictures or clouds else []
    for of_one in figures:
        lines += [f"{of_one['task']}: {sentence}" for sentence in of_one["said"]]
        lines += [] if of_one["poses"] else unclipped(of_one, is_users_own(of_one["suite"]) and of_one["simulator"])
    lines += [f"omp eval rolls {r['task']} out in {name}" for r in figures if (name := r["environment"])]
    return [*lines, next_line(folders[-1], figures[-1])]
