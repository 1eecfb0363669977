"""RoboMimic, stage 1: DMPO with and without dispersion, ReFlow, ShortCut; success at 1 and 5 evaluations.

    python examples/robomimic_stage1.py runs/robomimic-stage1    # one seed: two hours of one core

Scripted demonstrations (`omp prepare robomimic --source scripted`), and the same network and steps for all variants.
Whatever has finished in the folder is kept and never run twice: start it again after an interruption. Writes
one JSON table (``--table``) after every evaluation, and prints it as Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gym_stage1 import DATA, NFE, VARIANTS, add_row, commit, finished


@dataclass(frozen=True)
class Setup:
    """Task, who demonstrates, what is taken of the demonstrations, and how a policy learns from them."""

    task: str
    source: str
    taken: tuple[object, ...]
    learning: tuple[object, ...]


# for minutes on a CPU: each picture is encoded once for four draws of noise and times
PICTURES = ("--preset", "dmpo", "--batch-size", 64, "--lr", 5e-4, "--precision", "bf16", "--set", "train.draws=4")
PICTURES += ("--steps", 800)
STATES = ("--preset", "dmpo-state", "--steps", 4000)
POSES = ("--set", "format.cameras=[]", "--set", "format.object_state=true")
SETUPS = {
    "lift": Setup("lift", "scripted-noisy", (), PICTURES),
    "can-state": Setup("can", "scripted", POSES, STATES),
    "can": Setup("can", "scripted", (), PICTURES),
}
"""Lift's operator is poor on purpose; can is hard enough with a good one, from pictures or from the objects' poses."""
SUCCESS = ("successes", "episodes", "rate", "low", "high")


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """All runs, task by task; returns the rows."""
    table: dict[str, Any] = {"made_by": Path(__file__).name, "commit": commit(), "data": {}, "rows": []}
    for task in args.task:
        setup = SETUPS[task]
        line = ("robomimic", "--task", setup.task, "--source", setup.source, "--demos", args.demos, *setup.taken)
        made = finished(args.folder / "data" / task, "prepare", *line)
        table["data"][task] = {"source": setup.source, **{key: made["metrics"][key] for key in DATA}}
        for variant, options in VARIANTS.items():
            folder = args.folder / task / f"{variant.replace(' ', '-')}-seed{args.seed}"
            line = (*setup.learning, *options, "--seed", args.seed)
            trained = finished(folder, "pretrain", args.folder / "data" / task, *line)
            for nfe in NFE:
                line = ("--nfe", nfe, "--episodes", args.episodes, "--max-steps", args.max_steps)
                found = finished(folder / f"eval-nfe{nfe}", "eval", folder, *line, "--workers", args.workers)
                row = {"task": task, "variant": variant, "seed": args.seed, "nfe": nfe}
                for rule in ("success_any", "success_chunk"):
                    row |= {f"{rule}_{key}": found["metrics"][rule][key] for key in SUCCESS}
                add_row(table, args.table, row, trained, found)
    return table["rows"]


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """n/N and Wilson's interval by both rules, and what training cost."""
    head = ["task", "variant", *(f"success, NFE {nfe} (whole chunk)" for nfe in NFE)]
    head += ["effective rank", "mean distance", "share of gradient", "training, s"]
    lines = [head, ["---"] * len(head)]
    for task, variant in dict.fromkeys((row["task"], row["variant"]) for row in rows):
        mine = [row for row in rows if (row["task"], row["variant"]) == (task, variant)]
        cells = [
            f"{row['success_any_successes']}/{row['success_any_episodes']} "
            f"[{row['success_any_low']:.2f}, {row['success_any_high']:.2f}] ({row['success_chunk_successes']})"
            for row in mine
        ]
        figures = [mine[0][key] for key in ("effective_rank", "mean_distance", "share_dispersion", "train_seconds")]
        lines.append([task, variant, *cells, *("" if value is None else f"{value:.4g}" for value in figures)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where data and runs are kept")
    parser.add_argument("--table", type=Path, default=Path("examples/results/robomimic-stage1.json"))
    parser.add_argument("--task", nargs="+", choices=SETUPS, default=tuple(SETUPS))
    parser.add_argument("--demos", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--episodes", type=int, default=50, help="held-out episodes per evaluation")
    parser.add_argument("--max-steps", type=int, default=300, help="of an episode, as in DMPO's evaluation")
    parser.add_argument("--workers", type=int, default=1)
    return parser.parse_args(words)


if __name__ == "__main__":
    print(markdown(run(arguments())))
