"""What ``omp pretrain`` shows of its figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omp_cli.core.base.table import Table


def training_table(figures: Mapping[str, Any]) -> Table:
    """The figures of a run, of the gradients' norms that of the whole alone."""
    left_out = {"lr", "processes", *(name for name in figures if name.startswith("grad_"))} - {"grad_norm"}
    shown = {name: value for name, value in figures.items() if name not in left_out and not isinstance(value, dict)}
    if "held_out" in shown:
        shown["held_out"] = ", ".join(map(str, shown["held_out"]))
    rows = [(name.replace("share_", "share of gradient: "), value) for name, value in shown.items()]
    return Table("Trained", ("figure", "value"), rows)
