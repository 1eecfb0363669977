"""How fast fine-tuning collects experience: environment steps per second against worker processes, and what share of
the time the policy takes at 1 and at 20 evaluations per decision.

    python examples/finetune_throughput.py runs/throughput RUN     # RUN of omp pretrain; about 2 minutes

Only collecting is timed (policy and environments); learning is not. Each cell is a run of ``--iterations`` iterations
in which the policy does not learn, and cells are measured in turn, ``--repeat`` times; the best of them counts, for
what other processes do only ever slows a cell down.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kept_runs import commit, finished

from omp_cli.core.base.files import write_text

COLLECTING = ("policy", "environments: step", "records")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Every cell, in turn."""
    table: dict[str, Any] = {"made_by": Path(__file__).name, "commit": commit(), "rows": []}
    cells = [(workers, nfe) for nfe in args.nfe for workers in args.workers]
    for repeat in range(args.repeat):
        for workers, nfe in cells:
            folder = args.folder / f"workers{workers}-nfe{nfe}-{repeat}"
            line = ("--workers", workers, "--nfe", nfe, "--iterations", args.iterations, "--envs", args.envs)
            line += ("--set", f"algorithm.warmup={args.iterations}", "--set", "evaluation.every=0")
            found = finished(folder, "finetune", args.run, *line)
            parts = found["metrics"]["seconds_by_part"]
            seconds = sum(parts[part] for part in COLLECTING)
            row = {"workers": workers, "nfe": nfe, "env_steps_per_second": found["metrics"]["env_steps"] / seconds}
            row |= {"policy_share": parts["policy"] / seconds, "decision_ms": 1e3 * parts["policy"] / decisions(found)}
            table["rows"].append({key: round(value, 4) for key, value in row.items()})
            table |= {key: found[key] for key in ("versions", "hardware")}
    table |= {"envs": args.envs, "iterations": args.iterations}
    write_text(args.table, json.dumps(table, indent=1) + "\n")
    return table


def decisions(manifest: dict[str, Any]) -> int:
    """Calls of the policy in a run, each for all environments."""
    return int(manifest["config"]["algorithm.decisions"]["value"]) * int(manifest["metrics"]["iterations"])


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The best repetition of each cell."""
    lines = [["NFE", "workers", "environment steps/s", "share of the policy", "ms per decision of all"], ["---:"] * 5]
    for nfe, workers in dict.fromkeys((row["nfe"], row["workers"]) for row in rows):
        best = max(
            (row for row in rows if (row["nfe"], row["workers"]) == (nfe, workers)),
            key=lambda row: row["env_steps_per_second"],
        )
        figures = (
            f"{best['env_steps_per_second']:.0f}",
            f"{100 * best['policy_share']:.0f} %",
            f"{best['decision_ms']:.2f}",
        )
        lines.append([str(nfe), str(workers), *figures])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the runs are kept")
    parser.add_argument("run", type=Path, help="a pre-trained run")
    parser.add_argument("--table", type=Path, default=Path("examples/results/finetune-throughput.json"))
    parser.add_argument("--workers", nargs="+", type=int, default=(1, 2))
    parser.add_argument("--nfe", nargs="+", type=int, default=(1, 20))
    parser.add_argument("--envs", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=6)
    parser.add_argument("--repeat", type=int, default=3)
    return parser.parse_args(words)


if __name__ == "__main__":
    print(markdown(measure(arguments())["rows"]))
