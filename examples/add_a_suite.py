"""Add your own benchmark: the suite in hidden_goal.py, end to end, in under a minute of one core.

    python examples/add_a_suite.py                    # -> runs/add-a-suite: data, run, evaluation, trajectories.png
    python examples/add_a_suite.py FOLDER --misled    # the same with demonstrations that go to the wrong place

A suite is one file: a ``Suite`` names its tasks and says what a policy sees and does there (``Spec``), and a
``TaskEnv`` is one task: reset to the start state of a seed, step, observe, and the expert that demonstrates. With
``--plugin FILE`` every command knows it; moved to omp_cli/core/suites/ it is a part of omp, and the contract tests run
over it. This script does with it what the command line does,

    omp prepare hidden --demos 20 --set suite.expert_knows=true --plugin examples/hidden_goal.py
    omp pretrain --preset dmpo-state --steps 300 --plugin examples/hidden_goal.py
    omp eval --episodes 20 --plugin examples/hidden_goal.py

(that file brings a source of its own as well, which ``--source shaken`` at ``omp prepare`` chooses) and then draws what
was demonstrated and what was learned; `rollouts` below uses a trained policy from Python.
"""

# %% What is needed. Each "# %%" begins a cell, where an editor shows this file as a notebook.
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from kept_runs import finished
from numpy.typing import NDArray

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from omp_cli.core.base.plugins import load_plugin
from omp_cli.core.base.seeds import eval_seed
from omp_cli.core.checkpoint import open_run
from omp_cli.core.data.store import read_store
from omp_cli.core.envs.chunking import ChunkEnv
from omp_cli.core.suites.base import recorded_suite

PLUGIN = Path(__file__).with_name("hidden_goal.py")
STEPS, EPISODES, DEMOS = 300, 20, 20


# %% From demonstrations to a measured policy: three lines of omp. What has finished in the folder is kept.
def run(folder: Path, misled: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifests of the data set and of the evaluation, made below ``folder``."""
    always = ("--plugin", PLUGIN)
    knows = f"suite.expert_knows={str(not misled).lower()}"
    data, trained = folder / "data", folder / "run"
    prepared = finished(data, "prepare", "hidden", "--demos", DEMOS, "--workers", 1, "--set", knows, *always)
    finished(trained, "pretrain", data, "--preset", "dmpo-state", "--steps", STEPS, *always)
    line = ("eval", trained, "--episodes", EPISODES, "--workers", 1, "--set", f"together={EPISODES}")
    return prepared, finished(folder / "eval", *line, *always)


# %% A trained policy in Python: the checkpoint knows its suite, its task and what it wants to see.
def rollouts(run_folder: Path, episodes: int) -> list[NDArray[np.float32]]:
    """The way of the point in held-out episodes, each (decisions + 1, 2): where it is before every decision."""
    checkpoint = open_run(run_folder)[-1]
    policy = checkpoint.load("ema")
    task = recorded_suite(checkpoint.meta.suite).make(checkpoint.meta.spec.task)
    env = ChunkEnv(task, policy.keys, policy.chunk.n_obs, policy.chunk.execute)
    ways = []
    for index in range(episodes):
        seed = eval_seed(0, checkpoint.meta.spec.task, index)
        generator = torch.Generator().manual_seed(seed)
        obs, _ = env.reset(seed=seed)
        way, over = [obs["state"][-1]], False
        while not over:
            noise = torch.randn(1, policy.chunk.horizon, policy.spec.learned_action_dim, generator=generator)
            batch = {key: torch.as_tensor(array)[None] for key, array in obs.items()}  # (1, T, ...)
            obs, _, terminated, truncated, info = env.step(policy.act(batch, noise, nfe=1)[0].numpy())  # (E, A)
            way.append(obs["state"][-1])
            over = terminated or truncated or info["success_any"]
        ways.append(np.stack(way))
    return ways


# %% The picture
def draw(demonstrations: list[NDArray[np.float32]], learned: list[NDArray[np.float32]], file: Path) -> None:
    """Ways (steps, 2) in metres: demonstrated on the left, the policy's on the right; the goal is green."""
    goal, radius = (0.25, 0.2), 0.06
    figure, axes = plt.subplots(1, 2, figsize=(7, 3.7), constrained_layout=True)
    for axis, ways, title in zip(axes, (demonstrations, learned), ("demonstrations", "policy, one step"), strict=True):
        axis.add_patch(plt.Circle(goal, radius, color="tab:green", alpha=0.4))
        for way in ways:
            axis.plot(*way.T, color="tab:blue", lw=0.8)
            axis.plot(*way[0], marker="o", color="tab:red", ms=3)
        axis.set(title=title, xlim=(-0.5, 0.5), ylim=(-0.5, 0.5), aspect="equal", xlabel="x, m")
    axes[0].set(ylabel="y, m")
    figure.savefig(file, dpi=110)
    plt.close(figure)


# %% All of it
def main(folder: Path, misled: bool) -> dict[str, Any]:
    """Make, train, evaluate, draw; return the figures that are printed."""
    load_plugin(PLUGIN)
    prepared, evaluated = run(folder, misled)
    data = read_store(folder / "data")
    episodes = np.split(data.arrays["state"], data.episode_ends[:-1])
    draw(episodes, rollouts(folder / "run", EPISODES), folder / "trajectories.png")
    success = evaluated["metrics"]["success_any"]
    return {"demonstrations": prepared["metrics"]["demos"], "failed": prepared["metrics"]["expert_failures"]} | success


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/add-a-suite"), help="where all is kept")
    parser.add_argument("--misled", action="store_true", help="the expert takes the goal to be elsewhere")
    return parser.parse_args(words)


if __name__ == "__main__":
    given = arguments()
    for figure, value in main(given.folder, given.misled).items():
        print(f"{figure}: {value}")
    print(f"picture: {given.folder / 'trajectories.png'}")
