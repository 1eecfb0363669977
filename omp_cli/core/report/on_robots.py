"""What was judged on robots in a report: one row for each policy, whose sessions are counted together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omp_cli.core.base.paired import paired_table
from omp_cli.core.base.statistics import Rate, wilson
from omp_cli.core.base.table import NONE, Table
from omp_cli.core.report.collect import InTurns, OnRobot

_COUNTS = ("helped", "discarded", "not_judged", "ticks", "missed_deadlines")


def robot_rows(sessions: Sequence[OnRobot]) -> list[dict[str, Any]]:
    """What a report says of them, JSON types only."""
    of_one: dict[tuple[Any, ...], list[OnRobot]] = {}
    for session in sessions:
        of_one.setdefault(session.acted, []).append(session)
    rows = []
    for found in of_one.values():
        first = found[0]
        rates = [session.figures["success"] for session in found]
        counts = {name: sum(session.figures[name] for session in found) for name in _COUNTS}
        rows.append(
            {
                "title": first.label,
                "suite": first.suite,
                "task": first.task,
                "seed": first.seed,
                "nfe": first.nfe,
                "step": first.figures["checkpoint_step"],
                "selection": first.figures["selection"],
                "sessions": [session.manifest.started_at for session in found],
                "success": wilson(
                    sum(rate["successes"] for rate in rates), sum(rate["episodes"] for rate in rates)
                ).as_dict(),
                "robot": first.setting("env"),
                "hz": first.figures["hz"],
                "judged_by": first.figures["judged_by"],
                **counts,
            }
        )
    return rows


def robot_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Policies by task, with who judged them, and what does not count."""
    cells = [
        [
            f"{row['suite']}/{row['task']}",
            f"{row['robot']}, {row['hz']:g} Hz",
            row["title"],
            NONE if row["seed"] is None else str(row["seed"]),
            str(row["nfe"]),
            f"{row['step']} ({row['selection']})",
            str(Rate(**row["success"])),
            *(str(row[name]) for name in ("helped", "discarded", "not_judged")),
            f"the {row['judged_by']}",
            f"{row['missed_deadlines']} of {row['ticks']}",
            f"{len(row['sessions'])}, {row['sessions'][0][:10]}",
        ]
        for row in rows
    ]
    columns = ("task", "robot", "policy", "seed", "NFE", "step", "success", "helped", "left out", "not judged")
    note = (
        "n/N of the judged episodes of all sessions on one robot [95 % Wilson]. Where somebody took over (helped) it "
        "is no success. Which starts there were is for the one to say who put things in their place."
    )
    return Table("Success on robots", (*columns, "judged by", "missed deadlines", "sessions, from"), cells, note=note)


def turns_rows(sessions: Sequence[InTurns]) -> list[dict[str, Any]]:
    """What a report says of each two policies that took turns, JSON types only."""
    rows = []
    for session in sessions:
        metrics = session.manifest.metrics
        for found in metrics["differences"]:
            pair = {which: metrics["policies"][found[which] - 1] for which in ("first", "second")}
            names = {which: policy["label"] or policy["policy"] for which, policy in pair.items()}
            rows.append({"session": session.path.parent.name, "task": metrics["task"], **found, **names})
    return rows


def turns_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Each two policies of each session."""
    return paired_table(rows, ("session", "task", "first", "second"))
