"""The line that a prepared data set is trained with, for every source of data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omp_cli.core.base.files import quoted
from omp_cli.core.data.store import HELD_OUT
from omp_cli.core.families import SUITES


def training_figures(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What the line depends on, from the provenance of a data set: figures of its manifest.

    "image" (H, W, C), "points" and "end_effector" are None where the data have none; "simulator" is whether there are
    environments to roll a policy of the data out in.
    """
    spec = provenance["spec"]
    suite = (provenance.get("rollout_suite") or provenance["recipe"]["suite"])["name"]
    return {
        "image": spec.get("image"),
        "points": spec.get("points"),
        "end_effector": spec.get("end_effector"),
        "cloud_in_fps_order": spec.get("cloud_in_fps_order", True),  # data made before do not say
        "held_out": provenance.get(HELD_OUT, []),
        "simulator": suite in SUITES.names() and SUITES.get(suite).simulated,
    }


def next_line(folder: Path, figures: Mapping[str, Any]) -> str:
    """What to do next with the data set in a folder, of these ``training_figures`` and a number of "demos".

    The preset is the one that reads what the data have; what no simulator can judge is judged on held-out episodes.
    """
    clouds = figures["points"] is not None
    words = "" if clouds else f" --preset {'dmpo-state' if figures['image'] is None else 'dmpo'}"
    words += " --set encoder.origin=world" if clouds and figures["end_effector"] is None else ""
    words += " --set encoder.points=none" if clouds and not figures["cloud_in_fps_order"] else ""
    unjudged = not figures["simulator"] and figures["demos"] > 1 and not figures["held_out"]
    return f"next: omp pretrain {quoted(folder)}{words}{' --hold-out 0.1' if unjudged else ''}"
