"""The commands: where each is found, its panel and its line in the list. Each is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from omp_cli.commands.frame import Framed


class Command(NamedTuple):
    """One command.

    Attributes:
        place: "module:function" below ``omp_cli.commands``.
        panel: heading under which ``omp --help`` lists it.
        line: what it does.
    """

    place: str
    panel: str
    line: str


COMMANDS: dict[str, Command] = {
    "prepare": Command("prepare:prepare", "Data", "Record scripted experts, or convert demonstrations of others."),
    "pretrain": Command("pretrain:pretrain", "Train", "Train a one-step policy from demonstrations."),
    "finetune": Command("finetune:finetune", "Train", "Fine-tune a policy by PPO (or FQL) in its environment."),
    "eval": Command("evaluate:evaluate", "Measure", "Roll a policy out from start states that no demonstration used."),
    "sweep": Command(
        "sweep:sweep", "Measure", "Prepare, train and evaluate the tasks, variants and seeds of one file."
    ),
    "report": Command("report:report", "Measure", "Write tables and plots of evaluations, with intervals."),
    "bench-latency": Command("bench_latency:bench_latency", "Measure", "Time a policy's decision by every runtime."),
    "memprofile": Command(
        "memprofile:memprofile", "Measure", "Measure the memory of a training step and the error of du/dt."
    ),
    "view": Command("view:view", "Data", "Write a page of a data set's episodes for a browser."),
    "runs": Command("runs:runs", "Data", "List data sets and runs; remove those that came to nothing."),
    "manifest": Command("manifest:manifest", "Measure", "Check the manifest of a run, and show what it says."),
    "export": Command("export:export", "Deploy", "Write a policy as files that run without omp."),
    "deploy": Command("deploy:deploy", "Deploy", "Run a policy at a fixed rate, on a robot or on recorded data."),
    "serve": Command("serve:serve", "Deploy", "Serve a policy to robot clients (the protocol of openpi-client)."),
}


def find(name: str) -> Framed:
    """A command, imported if it is not yet."""
    module, _, function = COMMANDS[name].place.partition(":")
    found: Framed = getattr(importlib.import_module(f"omp_cli.commands.{module}"), function)
    return found


def load(name: str) -> Callable[..., None]:
    """The Typer function of a command, with the options of all parts that are registered by now."""
    return find(name).load()
