"""Options that come from settings: names, types, bounds, defaults, words and completion, declared once at the field."""

import subprocess
import sys
from typing import Annotated, Literal

import pytest
from pydantic import Field

from omp_cli.commands import options
from omp_cli.commands.table import COMMANDS, load
from omp_cli.core.base.config import Flag, Settings

Count = Annotated[int, Field(ge=1)]


class Inner(Settings):
    """A section."""

    rate: Annotated[float, Flag("--lr", panel="Optimisation")] = 0.5
    """Peak learning rate. It falls afterwards."""
    hidden: int = 3
    """Without an option."""


class Outer(Settings):
    """A configuration."""

    steps: Annotated[Count, Flag(panel="Optimisation")] = 50
    """Optimiser steps."""
    max_steps: Annotated[Count | None, Flag(default="the task's")] = None
    """Steps per episode."""
    kind: Annotated[Literal["ema", "raw"], Flag()] = "ema"
    """Which weights."""
    sizes: Annotated[tuple[Count, ...], Flag("--size")] = (1, 2)
    """Sizes."""
    images: Annotated[bool, Flag(only_on=True)] = False
    """Whether pictures are stored."""
    net: Annotated[Settings | None, Flag("--net", key="name", help="The net.", values=lambda: ("a", "b"))] = None
    inner: Inner = Inner()


OPTIONS = {option.key: option for option in options.options_of(Outer)}


def test_each_marked_setting_is_an_option_and_no_other() -> None:
    assert list(OPTIONS) == ["steps", "max_steps", "kind", "sizes", "images", "net.name", "inner.rate"]
    names = {key: option.name for key, option in OPTIONS.items()}
    assert names["max_steps"] == "--max-steps"
    assert names["sizes"] == "--size"
    assert names["inner.rate"] == "--lr"


def test_type_bounds_default_and_words_are_the_fields() -> None:
    kinds = {key: option.kind for key, option in OPTIONS.items()}
    assert kinds == {
        "steps": int, "max_steps": int, "kind": str, "sizes": list[int], "images": bool, "net.name": str,
        "inner.rate": float,
    }  # fmt: skip
    typer_option = OPTIONS["steps"].annotation(of_preset=False).__metadata__[0]
    assert typer_option.min == 1
    assert typer_option.help == "Optimiser steps. (default: 50)"
    assert OPTIONS["steps"].annotation(of_preset=True).__metadata__[0].help == "Optimiser steps."
    assert OPTIONS["max_steps"].annotation(of_preset=False).__metadata__[0].help.endswith("(default: the task's)")
    assert OPTIONS["max_steps"].annotation(of_preset=False).__metadata__[0].min == 1
    assert OPTIONS["sizes"].annotation(of_preset=False).__metadata__[0].help == "Sizes. (default: 1, 2)"
    assert OPTIONS["inner.rate"].words == "Peak learning rate."


def test_values_are_completed_from_the_type_or_the_flag() -> None:
    assert options.completed(OPTIONS["kind"], "r") == ["raw"]
    assert options.completed(OPTIONS["net.name"], "") == ["a", "b"]
    assert options.completed(OPTIONS["steps"], "") == []


def test_only_what_was_given_becomes_a_setting() -> None:
    layer = options.flag_layer(Outer, {"--steps": 3, "--size": [4, 5], "--lr": 0.1})
    assert layer.source == "flag"
    assert dict(layer.values) == {"steps": 3, "sizes": (4, 5), "inner.rate": 0.1}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does_and_types_no_default_by_hand(name: str) -> None:
    for option in load(name).options:  # type: ignore[attr-defined]
        assert option.words, f"{option.key}: its field has no docstring"
        assert "default:" not in option.words, option.key


def test_the_list_of_commands_imports_no_command() -> None:
    line = (
        "import sys; sys.argv = ['omp', '--help']\n"
        "from omp_cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in sys.modules if m in ('torch', 'numpy') or m.startswith('omp_cli.commands.')])"
    )
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    loaded = eval(done.stdout.splitlines()[-1])
    assert set(loaded) <= {"omp_cli.commands.globals", "omp_cli.commands.table"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_of_a_command_are_read_without_torch(name: str) -> None:
    heavy = {
        "torch",
        "zarr",
        "h5py",
        "mujoco",
        "metaworld",
        "robosuite",
        "stable_baselines3",
        "matplotlib",
    }
    line = f"import sys; from omp_cli.commands.table import load; load({name!r}); print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
