"""Hopper and Walker2d, stage 1: DMPO with and without dispersion, ReFlow, ShortCut; return at 1 and 5 evaluations.

    python examples/gym_stage1.py runs/gym-stage1      # 24 trainings, 48 evaluations: about 50 minutes
    python examples/gym_stage1.py runs/gym-stage1-mixed --table runs/mixed.json \
        --expert hopper=tqc-Hopper-v3.zip walker2d=tqc-Walker2d-v3.zip

Medium data by PPO (`omp prepare gym --source sb3`), or, with a trained policy (``--expert``), medium-expert data of two
gaits; the same network and steps for all variants, three seeds. Whatever has finished in the folder is kept and never
run twice: start it again after an interruption. Writes one JSON table (``--table``) after every evaluation, and prints
the means over seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omp_cli.core.base.files import write_text
from omp_cli.core.measure.statistics import spread

ROBOTS = ("hopper", "walker2d")
VARIANTS = {
    "dmpo": ("--method", "dmpo"),
    "dmpo without dispersion": ("--method", "dmpo", "--lambda-disp", "0"),
    "reflow": ("--method", "reflow"),
    "shortcut": ("--method", "shortcut"),
}
PRESET = "dmpo-state"
SEEDS = (0, 1, 2)
NFE = (1, 5)
DATA = ("content_sha256", "demos", "frames", "returns")
TRAINING = ("steps", "train_seconds", "parameters", "effective_rank", "mean_distance", "share_dispersion")
RETURN = ("mean", "std", "sem", "episodes")
EXPERT = "a trained policy of Stable-Baselines3: half of the robot's data are its episodes"


def finished(folder: Path, *line: object) -> dict[str, Any]:
    """Manifest of the run in ``folder``, which ``omp LINE --out FOLDER`` makes unless it is there."""
    file = folder / "manifest.json"
    if not file.is_file() or json.loads(file.read_text())["status"] != "succeeded":
        shutil.rmtree(folder, ignore_errors=True)  # a run that was interrupted: minutes, so from the start again
        words = [sys.executable, "-m", "omp_cli", *map(str, line), "--out", str(folder), "--quiet", "--json"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env={"OMP_NUM_THREADS": "1", **os.environ})
    manifest: dict[str, Any] = json.loads(file.read_text())
    return manifest


def commit() -> str | None:
    """Of the repository that this file is in; None outside of one."""
    found = subprocess.run(("git", "-C", Path(__file__).parent, "rev-parse", "HEAD"), capture_output=True, text=True)
    return found.stdout.strip() or None


def data_of(args: argparse.Namespace, table: dict[str, Any]) -> dict[str, Path]:
    """The data set of each robot, made unless it is there; the table gets their figures."""
    experts = dict(pair.split("=", 1) for pair in args.expert)
    if unknown := experts.keys() - set(args.robot):
        raise SystemExit(f"--expert {', '.join(sorted(unknown))}: not among the robots {', '.join(args.robot)}")
    folders = {}
    for robot in args.robot:
        more = ("--quality", "medium-expert", "--policy", experts[robot]) if robot in experts else ()
        folders[robot] = args.folder / "data" / robot
        made = finished(folders[robot], "prepare", "gym", "--source", "sb3", "--task", robot, *more)
        table["data"][robot] = {key: made["metrics"][key] for key in DATA}
    return folders


def add_row(
    table: dict[str, Any], file: Path, row: dict[str, Any], trained: dict[str, Any], found: dict[str, Any]
) -> None:
    """Append what an evaluation found, with the figures of its training; the table is written each time."""
    table["rows"].append(row | {key: trained["metrics"].get(key) for key in TRAINING})
    table |= {key: found[key] for key in ("versions", "hardware")}
    write_text(file, json.dumps(table, indent=1) + "\n")


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """All runs, seed by seed, so that an unfinished table compares like with like; returns the rows."""
    table: dict[str, Any] = {"made_by": Path(__file__).name, "commit": commit(), "data": {}, "rows": []}
    data = data_of(args, table)
    for seed in args.seed:
        for robot in args.robot:
            for variant, options in VARIANTS.items():
                folder = args.folder / robot / f"{variant.replace(' ', '-')}-seed{seed}"
                line = ("--preset", PRESET, *options, "--steps", args.steps, "--seed", seed)
                trained = finished(folder, "pretrain", data[robot], *line)
                for nfe in NFE:
                    line = ("--nfe", nfe, "--episodes", args.episodes, "--workers", 1, "--set", "together=8")
                    found = finished(folder / f"eval-nfe{nfe}", "eval", folder, *line)
                    row = {"robot": robot, "variant": variant, "seed": seed, "nfe": nfe}
                    row |= {f"return_{key}": found["metrics"]["return"][key] for key in RETURN}
                    add_row(table, args.table, row, trained, found)
    return table["rows"]


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Means over the seeds, with the standard deviation over the seeds."""

    def over_seeds(key: str, **which: Any) -> str:
        values = [row[key] for row in rows if all(row[name] == value for name, value in which.items())]
        values = [value for value in values if value is not None]
        if not values:
            return ""
        found = spread(values)
        digits = 0 if found.mean >= 100 else 2
        return f"{found.mean:.{digits}f}" + ("" if found.std is None else f" ± {found.std:.{digits}f}")

    head = ["robot", "variant", *(f"return, NFE {nfe}" for nfe in NFE)]
    head += ["effective rank", "mean distance", "share of gradient", "training, s"]
    lines = [head, ["---"] * len(head)]
    for robot, variant in dict.fromkeys((row["robot"], row["variant"]) for row in rows):
        cells = [robot, variant]
        cells += [over_seeds("return_mean", robot=robot, variant=variant, nfe=nfe) for nfe in NFE]
        trained = {"robot": robot, "variant": variant, "nfe": NFE[0]}
        keys = ("effective_rank", "mean_distance", "share_dispersion", "train_seconds")
        lines.append(cells + [over_seeds(key, **trained) for key in keys])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where data and runs are kept")
    parser.add_argument("--table", type=Path, default=Path("examples/results/gym-stage1.json"), help="the JSON table")
    parser.add_argument("--robot", nargs="+", default=ROBOTS)
    parser.add_argument("--expert", nargs="+", default=(), metavar="ROBOT=ZIP", help=EXPERT)
    parser.add_argument("--seed", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=2000, help="of training, for every variant")
    parser.add_argument("--episodes", type=int, default=50, help="held-out episodes per evaluation")
    return parser.parse_args(words)


if __name__ == "__main__":
    print(markdown(run(arguments())))
