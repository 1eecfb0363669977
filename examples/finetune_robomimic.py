"""Lift with poor operators, stage 2: success against environment steps, with and without behaviour cloning, K = 1, 5.

    python examples/finetune_robomimic.py runs/finetune-robomimic    # hours of one core per row; may be interrupted

Twenty demonstrations of an operator that misses and tries again (`omp prepare robomimic --source scripted-noisy`),
from poses; a one-step policy that learns from them; then DMPO. The start and the end are evaluated on ``--episodes``
held-out start states that no demonstration and no rollout used. Whatever has finished in the folder is kept, and what
was interrupted goes on. Writes one JSON table (``--table``) after every row, a plot of success against
environment steps, and prints the table as Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune_gym import thinned
from gym_stage1 import DATA, PRESET, commit, finished

from omp_cli.core.base.files import read_jsonl, write_text
from omp_cli.core.measure.statistics import wilson

VARIANTS: dict[str, tuple[int, tuple[object, ...]]] = {
    "K = 1": (1, ()),
    "K = 1, no BC": (1, ("--bc", 0)),
    "K = 5": (5, ()),
    "K = 5, no BC": (5, ("--bc", 0)),
}
SUCCESS = ("successes", "episodes", "rate", "low", "high")
KEPT = ("env_steps", "train_seconds", "iterations", "evaluations")


def tuned(folder: Path, *line: object) -> dict[str, Any]:
    """Manifest of the fine-tuning run in ``folder``; one that was interrupted is continued."""
    file = folder / "manifest.json"
    while not file.is_file() or json.loads(file.read_text())["status"] != "succeeded":
        words: tuple[object, ...] = ("finetune", *line, "--out", folder)
        if (folder / "checkpoints").is_dir():
            words = ("finetune", "--resume", folder, "--workers", line[line.index("--workers") + 1])
        command = [sys.executable, "-m", "omp_cli", *map(str, words), "--quiet", "--json"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={"OMP_NUM_THREADS": "1", **os.environ})
    manifest: dict[str, Any] = json.loads(file.read_text())
    return manifest


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows, in order."""
    table: dict[str, Any] = {"made_by": Path(__file__).name, "commit": commit(), "rows": []}
    poses = ("--set", "format.cameras=[]", "--set", "format.object_state=true")
    line = ("robomimic", "--task", args.task, "--source", "scripted-noisy", "--demos", args.demos, *poses)
    data = args.folder / "data" / args.task
    table["data"] = {key: finished(data, "prepare", *line)["metrics"][key] for key in DATA}
    before = args.folder / args.task / "pre"
    finished(before, "pretrain", data, "--preset", PRESET, "--steps", args.steps)
    shared = ("--max-steps", args.max_steps, "--workers", args.workers)
    for variant in args.variant:
        nfe, options = VARIANTS[variant]
        folder = args.folder / args.task / variant.replace(" = ", "").replace(", ", "-").replace(" ", "-")
        seen = {"before": finished(before / f"eval-nfe{nfe}", "eval", before, "--nfe", nfe, *counted(args, shared))}
        amount = ("--iterations", args.iterations) + (() if args.minutes is None else ("--minutes", args.minutes))
        made = tuned(folder, before, "--nfe", nfe, *options, *amount, *shared)
        seen["after"] = finished(folder / "eval", "eval", folder, "--nfe", nfe, *counted(args, shared))
        if nfe > 1:  # learned with several steps, run with one
            seen["one_step"] = finished(folder / "eval-nfe1", "eval", folder, "--nfe", 1, *counted(args, shared))
        row: dict[str, Any] = {"task": args.task, "variant": variant, "nfe": nfe}
        for when, manifest in seen.items():
            for rule in ("success_any", "success_chunk"):
                row |= {f"{when}_{rule}_{key}": manifest["metrics"][rule][key] for key in SUCCESS}
        row |= {key: made["metrics"][key] for key in KEPT}
        learning = [
            r | {"success": r["successes"] / r["recent_episodes"]} for r in read_jsonl(folder / "metrics.jsonl")
        ]
        row["rollouts"] = thinned(learning, "success", 100)
        table["rows"].append(row)
        table |= {key: seen["after"][key] for key in ("versions", "hardware")}
        write_text(args.table, json.dumps(table, indent=1) + "\n")
    return table["rows"]


def counted(args: argparse.Namespace, shared: tuple[object, ...]) -> tuple[object, ...]:
    """Options of an evaluation."""
    return ("--episodes", args.episodes, *shared)


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """n/N and Wilson's interval before and after."""
    head = ["task", "variant", "before", "after", "after, run with one step", "thousand environment steps", "minutes"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [
            f"{row[f'{when}_success_any_successes']}/{row[f'{when}_success_any_episodes']} "
            f"[{row[f'{when}_success_any_low']:.2f}, {row[f'{when}_success_any_high']:.2f}]"
            for when in ("before", "after", "one_step" if row["nfe"] > 1 else "after")
        ]
        spent = (f"{row['env_steps'] / 1000:.0f}", f"{row['train_seconds'] / 60:.0f}")
        lines.append([row["task"], row["variant"], *cells, *spent])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Success against environment steps: held-out episodes with Wilson's interval, and rollouts with their noise."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4))
    for index, row in enumerate(rows):
        colour = f"C{index}"
        steps, _, rates = zip(*row["rollouts"], strict=True)
        axis.plot([x / 1e3 for x in steps], rates, color=colour, alpha=0.4)
        aside = 3 * (index - (len(rows) - 1) / 2)  # or the intervals cover one another
        x = [e.get("env_steps", 0) / 1e3 + aside for e in row["evaluations"]]
        held_out = [wilson(e["successes"], e["episodes"]) for e in row["evaluations"]]
        sides = [[r.rate - r.low for r in held_out], [r.high - r.rate for r in held_out]]
        style = {"fmt": "o-", "capsize": 3, "markersize": 4}
        axis.errorbar(x, [r.rate for r in held_out], sides, color=colour, label=row["variant"], **style)
    axis.set_xlabel("thousand environment steps")
    axis.set_ylabel("success: held-out (dots), rollouts (faint)")
    axis.set_ylim(0, 1)
    axis.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where data and runs are kept")
    parser.add_argument("--table", type=Path, default=Path("examples/results/finetune-robomimic.json"))
    parser.add_argument("--picture", type=Path, default=Path("examples/pictures/finetune-robomimic.png"))
    parser.add_argument("--task", default="lift", choices=("lift", "can"))
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=tuple(VARIANTS))
    parser.add_argument("--demos", type=int, default=20)
    parser.add_argument("--steps", type=int, default=2000, help="of pre-training")
    parser.add_argument("--iterations", type=int, default=150, help="of fine-tuning")
    parser.add_argument("--minutes", type=float, help="of fine-tuning, at most")
    parser.add_argument("--max-steps", type=int, default=150, help="of an episode")
    parser.add_argument("--episodes", type=int, default=100, help="held-out episodes per evaluation")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args(words)


if __name__ == "__main__":
    given = arguments()
    found_rows = run(given)
    plot(found_rows, given.picture)
    print(markdown(found_rows))
