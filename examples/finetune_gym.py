"""Hopper and Walker2d, stage 2: DMPO, ReinFlow-R, DPPO and Gaussian PPO from medium data, the same time for each.

    python examples/finetune_gym.py runs/finetune-gym     # 30 runs of 5 minutes, with their pre-training: 5 hours

Medium data by PPO (`omp prepare gym --source sb3`), or medium-expert data of two gaits (``--expert``); the same
networks, pre-training steps and minutes of one core for all methods (evaluations are not counted), three seeds.
Whatever has finished in the folder is kept and never run twice: start it again after an interruption. Writes one JSON
table (``--table``) after every run, a plot beside it, and prints the means over seeds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gym_stage1 import EXPERT, PRESET, RETURN, ROBOTS, SEEDS, commit, data_of, finished

from omp_cli.core.base.files import read_jsonl, write_text
from omp_cli.core.measure.statistics import spread

WIDE = ("--lambda-disp", 0, "--set", "encoder.output_scale=150")
METHODS: dict[str, tuple[str, str, tuple[object, ...], int]] = {
    "dmpo": ("dmpo", "dmpo", (), 1),
    "reinflow-r": ("reinflow-r", "reflow", (), 4),
    "dppo": ("dppo", "dp", ("--set", "method.train_steps=20"), 10),
    "gaussian": ("gaussian", "gaussian", (), 1),
    "dmpo, wide": ("dmpo", "dmpo", WIDE, 1),
}
"""Row: the algorithm, how its policy is pre-trained, with which settings, and evaluations per decision.

"dmpo, wide" has a wider embedding in the place of dispersion (examples/sweeps/dispersion_control.toml).
"""
KEPT = ("env_steps", "train_seconds", "iterations", "evaluations", "seconds_by_part")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All runs, seed by seed, so that an unfinished table compares like with like."""
    table: dict[str, Any] = {"made_by": Path(__file__).name, "commit": commit(), "data": {}, "rows": []}
    data = data_of(args, table)
    for seed in args.seed:
        for robot in args.robot:
            for method in args.method:
                algorithm, trained_by, settings, nfe = METHODS[method]
                name = method.replace(", ", "-")
                before = args.folder / robot / f"pre-{name}-seed{seed}"
                line = ("--preset", PRESET, "--method", trained_by, *settings, "--steps", args.steps, "--seed", seed)
                finished(before, "pretrain", data[robot], *line)
                folder = args.folder / robot / f"{name}-seed{seed}"
                line = ("--algorithm", algorithm, "--nfe", nfe, "--minutes", args.minutes, "--iterations", 100000)
                line += ("--workers", 1, "--seed", seed, *(word for pair in args.set for word in ("--set", pair)))
                tuned = finished(folder, "finetune", before, *line)
                line = ("--nfe", nfe, "--episodes", args.episodes, "--workers", 1, "--set", "together=8")
                found = finished(folder / "eval", "eval", folder, *line)
                row = {"robot": robot, "method": method, "seed": seed, "nfe": nfe}
                row |= {f"return_{key}": found["metrics"]["return"][key] for key in RETURN}
                row |= {key: tuned["metrics"][key] for key in KEPT}
                row["settings"] = {
                    k: v["value"] for k, v in tuned["config"].items() if v["source"] not in ("default", "argument")
                }
                row["rollouts"] = thinned(read_jsonl(folder / "metrics.jsonl"))
                table["rows"].append(row)
                table |= {key: found[key] for key in ("versions", "hardware")}
                write_text(args.table, json.dumps(table, indent=1) + "\n")
    return table


def thinned(rows: Sequence[dict[str, Any]], figure: str = "return", count: int = 40) -> list[list[float]]:
    """Environment steps, seconds and a figure of the rollouts, with noise, at about ``count`` moments of a run."""
    kept = rows[:: max(len(rows) // count, 1)]
    keys = ("env_steps", "train_seconds", figure)
    return [[round(row[key], 2) for key in keys] for row in kept if figure in row]


def markdown(table: dict[str, Any]) -> str:
    """Means over the seeds, with the standard deviation over the seeds."""
    head = ["robot (demonstrations)", "method", "NFE", "before", "after", "thousand steps", "seeds"]
    lines = [head, ["---"] * len(head)]
    rows = table["rows"]
    for robot, method in dict.fromkeys((row["robot"], row["method"]) for row in rows):
        mine = [row for row in rows if (row["robot"], row["method"]) == (robot, method)]
        before = spread([row["evaluations"][0]["return"] for row in mine])
        after = spread([row["return_mean"] for row in mine])
        steps = spread([row["env_steps"] / 1000 for row in mine])
        demonstrated = f"{table['data'][robot]['returns']['mean']:.0f}"
        cells = [f"{robot} ({demonstrated})", method, str(mine[0]["nfe"]), *map(in_words, (before, after))]
        lines.append([*cells, f"{steps.mean:.0f}", str(len(mine))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def in_words(value: Any) -> str:
    """Mean and deviation."""
    return f"{value.mean:.0f}" + ("" if value.std is None else f" ± {value.std:.0f}")


def plot(table: dict[str, Any], path: Path) -> None:
    """Held-out return against environment steps and against time, a line per seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    robots = list(dict.fromkeys(row["robot"] for row in table["rows"]))
    figure, axes = pyplot.subplots(len(robots), 2, figsize=(10, 3.6 * len(robots)), squeeze=False, sharey="row")
    for line, robot in zip(axes, robots, strict=True):
        for axis, key, scale, label in zip(
            line, ("env_steps", "train_seconds"), (1e3, 60), ("thousand environment steps", "minutes"), strict=True
        ):
            for row in (row for row in table["rows"] if row["robot"] == robot):
                x = [found.get(key, 0) / scale for found in row["evaluations"]]
                y = [found["return"] for found in row["evaluations"]]
                colour = f"C{list(METHODS).index(row['method'])}"
                name = f"{row['method']}, NFE {row['nfe']}" if row["seed"] == table["rows"][0]["seed"] else None
                axis.plot(x, y, color=colour, label=name, alpha=0.8)
            axis.axhline(table["data"][robot]["returns"]["mean"], color="grey", linestyle=":", label="demonstrations")
            axis.set_xlabel(label)
        line[0].set_ylabel(f"{robot}: held-out return")
        line[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where data and runs are kept")
    parser.add_argument("--table", type=Path, default=Path("examples/results/finetune-gym.json"), help="the JSON table")
    parser.add_argument("--picture", type=Path, default=Path("examples/pictures/finetune-gym.png"))
    parser.add_argument("--robot", nargs="+", default=ROBOTS)
    parser.add_argument("--expert", nargs="+", default=(), metavar="ROBOT=ZIP", help=EXPERT)
    parser.add_argument("--method", nargs="+", choices=METHODS, default=tuple(METHODS))
    parser.add_argument("--seed", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=2000, help="of pre-training")
    parser.add_argument("--minutes", type=float, default=5, help="of fine-tuning, for every method")
    parser.add_argument("--episodes", type=int, default=50, help="held-out episodes of the last evaluation")
    parser.add_argument("--set", nargs="*", default=(), help="more settings of omp finetune, for every method")
    return parser.parse_args(words)


if __name__ == "__main__":
    given = arguments()
    results = run(given)
    plot(results, given.picture)
    print(markdown(results))
