"""Does directional alignment lose a way of doing the task? Shares of the two ways around the toy's pillar, 40 to 60.

    python examples/mode_coverage.py runs/mode-coverage      # 27 trainings, 33 evaluations: about 30 minutes

The task is "fork" of the toy suite; data, network and steps are the same for all variants, three seeds. Whatever has
finished in the folder is kept and never run twice: start it again after an interruption. Writes one JSON table
(``--table``) after every evaluation, and prints the sums over seeds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kept_runs import finished

from omp_cli.core.base.files import write_text
from omp_cli.core.base.statistics import wilson
from omp_cli.core.measure.modes import NO_MODE

WAYS = ("left", "right", NO_MODE)
DDE = ("--derivative", "dde")
ALIGNMENT = (0, 0.05, 0.1, 0.5, 1)
VARIANTS: dict[str, tuple[tuple[object, ...], tuple[int, ...]]] = {
    **{
        f"meanflow, λ_DA {weight}": (("--method", "omp", *DDE, "--lambda-disp", 0, "--lambda-da", weight), (1,))
        for weight in ALIGNMENT
    },
    "mp1": (("--method", "mp1", *DDE), (1,)),
    "flowpolicy": (("--method", "flowpolicy"), (1, 2)),
    "reflow": (("--method", "reflow"), (1, 10)),
    "dp": (("--method", "dp"), (10,)),
}
"""What differs from one training to the next, and the evaluations of the network per decision to roll it out with."""
SHARED = ("--preset", "dmpo-state", "--set", "net.hidden=128", "--batch-size", 256)
SEEDS = (0, 1, 2)


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """All runs, seed by seed, so that an unfinished table compares like with like; returns the rows."""
    data = args.folder / "data"
    made = finished(data, "prepare", "toy", "--task", "fork", "--demos", args.demos, "--points", 16, "--workers", 1)
    shown = {key: made["metrics"][key] for key in ("content_sha256", "demos", "frames")}
    table: dict[str, Any] = {"made_by": Path(__file__).name, "data": shown, "steps": args.steps, "rows": []}
    for seed in args.seed:
        for name, (options, evaluations) in VARIANTS.items():
            folder = args.folder / f"{name.replace(', λ_DA ', '-da')}-seed{seed}"
            line = (*SHARED, *options, "--steps", args.steps, "--seed", seed)
            trained = finished(folder, "pretrain", data, *line)["metrics"]
            for nfe in evaluations:
                line = ("--nfe", nfe, "--seed", seed, "--episodes", args.episodes)
                line = (*line, "--workers", 1, "--set", "together=50")
                found = finished(folder / f"eval-nfe{nfe}", "eval", folder, *line)
                metrics = found["metrics"]
                row = {"variant": name, "nfe": nfe, "seed": seed, "train_seconds": trained["train_seconds"]}
                row |= {key: metrics[key] for key in ("modes", "modes_distance", "success_any")}
                table["rows"].append(row)
                table |= {key: found[key] for key in ("versions", "hardware")}
                write_text(args.table, json.dumps(table, indent=1, ensure_ascii=False) + "\n")
    return table["rows"]


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Per variant: the ways' shares over all seeds' episodes, and the left one's among those that took one."""
    shown = {way: rows[0]["modes"][way]["data"] for way in WAYS[:2]}
    head = ["method", "NFE", *WAYS, "left of those that passed", "seeds", "distance to the data", "success"]
    lines = [head, ["---"] * len(head)]
    lines.append(["demonstrations", "", *(f"{shown[way]:.2f}" for way in WAYS[:2]), "0.00", f"{shown['left']:.2f}"])
    lines[-1] += [""] * 3
    for variant, nfe in dict.fromkeys((row["variant"], row["nfe"]) for row in rows):
        mine = [row for row in rows if (row["variant"], row["nfe"]) == (variant, nfe)]
        n = {way: sum(row["modes"].get(way, {"n": 0})["n"] for row in mine) for way in WAYS}
        total, passed = sum(n.values()), n["left"] + n["right"]
        cells = [variant, str(nfe), *(f"{n[way] / total:.2f}" for way in WAYS)]
        each = [row["modes"].get("left", {"n": 0})["n"] / max(_passed(row), 1) for row in mine]
        left = wilson(n["left"], passed) if passed else None
        cells.append("" if left is None else f"{left.rate:.2f} ({left.low:.2f} to {left.high:.2f})")
        cells.append(", ".join(f"{share:.2f}" for share in each))
        cells.append(f"{sum(abs(n[way] / total - shown.get(way, 0)) for way in WAYS) / 2:.2f}")
        cells.append(f"{sum(row['success_any']['successes'] for row in mine)}/{total}")
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _passed(row: dict[str, Any]) -> int:
    return sum(row["modes"].get(way, {"n": 0})["n"] for way in WAYS[:2])


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where data and runs are kept")
    parser.add_argument(
        "--table", type=Path, default=Path("examples/results/mode-coverage.json"), help="the JSON table"
    )
    parser.add_argument("--seed", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--demos", type=int, default=400)
    parser.add_argument("--steps", type=int, default=4000, help="of training, for every variant")
    parser.add_argument("--episodes", type=int, default=200, help="held-out episodes per evaluation and seed")
    return parser.parse_args(words)


if __name__ == "__main__":
    print(markdown(run(arguments())))
