"""What ``omp export`` and ``omp deploy`` show of their figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omp_cli.core.base.paired import paired_table, unpaired_table
from omp_cli.core.base.statistics import Rate
from omp_cli.core.base.table import NONE, Table


def export_table(figures: Mapping[str, Any]) -> Table:
    """A row for each file: its size, and how far its actions are from the policy's; of a folder for LeRobot a row for
    each feature.
    """
    if "features" in figures:
        return _features_table(figures["features"])
    columns = ("file", "MiB", "largest error", "relative", "allowed", "seconds")
    rows = [
        (
            f"policy.{kind}",
            f"{row['bytes'] / 2**20:.1f}",
            f"{row['max_abs']:.1e}",
            f"{row['max_rel']:.1e}",
            f"{row['tolerance']:.0e}",
            f"{row['seconds']:.1f}",
        )
        for kind, row in figures["files"].items()
    ]
    return Table("Read back and compared with the policy", columns, rows)


def _features_table(features: Mapping[str, Any]) -> Table:
    rows = [
        (key, " x ".join(map(str, feature["shape"])), feature["unit"] or "-", ", ".join(feature["names"]) or "-")
        for key, feature in features.items()
    ]
    return Table("What LeRobot shows the policy and gets from it", ("feature", "shape", "unit", "names"), rows)


def loop_tables(figures: Mapping[str, Any]) -> list[Table]:
    """The figures of the control loop; of a replay also the error of each action dimension. Of policies that took turns
    a row for each, and for each two of them.
    """
    if "policies" in figures:
        return turns_tables(figures)
    apart = ("replay", "success", "recorded")
    rows = [(name.replace("_", " "), value) for name, value in figures.items() if name not in apart]
    if rate := figures.get("success"):
        rows.insert(0, ("success", Rate(**rate)))
    if recorded := figures.get("recorded"):
        rows += [(f"recorded {name}", recorded[name]) for name in ("episodes", "frames")]
    tables = [Table("Control loop", ("figure", "value"), rows)]
    if replay := figures.get("replay"):
        dims = list(zip(replay["names"], replay["error"], replay["spread"], strict=True))
        note = f"relative error {replay['relative']} over {replay['frames']} frames"
        title = "Against the recorded actions" + (f", in {unit}" if (unit := replay["unit"]) else "")
        tables.append(Table(title, ("action", "mean abs error", "spread"), dims, note=note))
    return tables


def turns_tables(figures: Mapping[str, Any]) -> list[Table]:
    """What policies that took turns did, and how each two of them compare, at the same starts where there were such."""
    cells = [
        [
            row["run"],
            row["label"] or NONE,
            Rate(**row["success"]) if "success" in row else NONE,
            *(row.get(name, NONE) for name in ("helped", "discarded", "not_judged", "missed_deadlines")),
        ]
        for row in figures["policies"]
    ]
    by = next((f", judged by the {row['judged_by']}" for row in figures["policies"] if "judged_by" in row), "")
    columns = ("policy", "label", "success", "helped", "left out", "not judged", "missed deadlines")
    tables = [Table(f"Policies that took turns{by}", columns, cells)]
    if figures["differences"]:
        tables.append(paired_table(figures["differences"], ("first", "second")))
    return [*tables, unpaired_table(figures["unpaired"])] if figures.get("unpaired") else tables
