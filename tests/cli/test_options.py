"""Options that come from settings: names, types, bounds, defaults, words and completion, declared once at the field."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

import omp_cli
from omp_cli.commands.options import annotation
from omp_cli.commands.table import COMMANDS, find
from omp_cli.core.base.config import Flag, Settings, default_text
from omp_cli.core.base.flags import flag_layer, options_of, union
from omp_cli.core.base.layers import Layer
from omp_cli.core.families import SUITES
from tests.cli.test_bad_input import refused
from tests.conftest import Omp

ROOT = Path(omp_cli.__file__).parent
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
    max_steps: Annotated[Count | None, Flag()] = None
    """Steps per episode, of ``Outer``; None takes the task's own limit. More is not counted."""
    kind: Annotated[Literal["ema", "raw"], Flag()] = "ema"
    """Which weights."""
    form: Annotated[Literal["square", "hinge"], Flag()] = "hinge"
    """A square, or a hinge."""
    predict: Annotated[bool, Flag()] = True
    """Whether it is predicted."""
    sizes: Annotated[tuple[Count, ...], Flag("--size")] = (1, 2)
    """Sizes."""
    images: Annotated[bool, Flag(only_on=True)] = False
    """Whether pictures are stored."""
    net: Annotated[Settings | None, Flag("--net", key="name", help="The net.", values=lambda: ("a", "b"))] = None
    inner: Inner = Inner()


OPTIONS = {option.key: option for option in options_of(Outer)}


def shown(key: str) -> Any:
    """What Typer is told of an option."""
    return annotation(OPTIONS[key]).__metadata__[0]


def test_each_marked_setting_is_an_option_and_no_other() -> None:
    assert list(OPTIONS) == [
        "steps", "max_steps", "kind", "form", "predict", "sizes", "images", "net.name", "inner.rate"
    ]  # fmt: skip
    names = {key: option.name for key, option in OPTIONS.items()}
    assert names["max_steps"] == "--max-steps"
    assert names["sizes"] == "--size"
    assert names["inner.rate"] == "--lr"


def test_type_bounds_default_and_words_are_the_fields() -> None:
    kinds = {key: option.kind for key, option in OPTIONS.items()}
    assert kinds == {
        "steps": int, "max_steps": int, "kind": str, "form": str, "predict": bool, "sizes": list[int],
        "images": bool, "net.name": str, "inner.rate": float,
    }  # fmt: skip
    assert shown("steps").min == shown("max_steps").min == 1
    helps = {key: shown(key).help for key in OPTIONS}
    assert helps == {
        "steps": "Optimiser steps. (default: 50)",
        "max_steps": "Steps per episode, of Outer. (default: the task's own limit)",
        "kind": "Which weights. One of ema, raw. (default: ema)",
        "form": "A square, or a hinge. (default: hinge)",
        "predict": "Whether it is predicted. (default: --predict)",
        "sizes": "Sizes. (default: 1, 2)",
        "images": "Whether pictures are stored.",
        "net.name": "The net.",
        "inner.rate": "Peak learning rate. (default: 0.5)",
    }


def test_a_preset_says_what_its_values_are_and_a_line_of_several_sources_names_each_default() -> None:
    of_light = {one.key: one.default for one in union(Outer, preset=Layer("preset light", {"steps": 7}))}
    assert of_light["steps"] == "7, by preset light"
    assert of_light["inner.rate"] == "0.5"
    of_any = {one.key: one.default for one in union(Outer, preset=Layer("", {}))}
    assert of_any["steps"] == "50, or the preset's"
    assert of_any["net.name"] == "the preset's"

    class Files(Settings):
        """Another source."""

        steps: Annotated[Count | None, Flag()] = None
        """Steps to read; None takes all of a file."""
        sizes: Annotated[tuple[Count, ...], Flag("--size")] = (1, 2)
        """Sizes."""

    of_both = {one.key: one.default for one in union(Outer, Files)}
    assert of_both["steps"] == "50 or all of a file, by the source of the data"
    assert of_both["sizes"] == "1, 2"


def test_values_are_completed_from_the_type_or_the_flag() -> None:
    assert shown("kind").autocompletion(None, "r") == ["raw"]
    assert shown("net.name").autocompletion(None, "") == ["a", "b"]
    assert shown("steps").autocompletion is None


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("prepare robomimic --task ", ["can", "lift", "square", "transport"]),
        ("prepare toy -t re", ["reach"]),
        ("bench-latency --backend c", ["compile", "compile-cudagraph", "cudagraph"]),
        ("export --device c", ["cpu", "cuda"]),
        ("pretrain --preset omp", ["omp-paper", "omp-small"]),
        ("runs --status f", ["failed"]),
    ],
)
def test_the_shell_is_offered_the_values_that_fit(line: str, offered: list[str]) -> None:
    words = {"_OMP_COMPLETE": "complete_bash", "COMP_WORDS": f"omp {line}", "COMP_CWORD": str(line.count(" ") + 1)}
    done = subprocess.run(
        [Path(sys.executable).with_name("omp")], env={**os.environ, **words}, capture_output=True, text=True, check=True
    )
    assert set(offered) <= set(done.stdout.split())
    assert all(value.startswith(line.rpartition(" ")[2]) for value in done.stdout.split())


def test_only_what_was_given_becomes_a_setting() -> None:
    layer = flag_layer(Outer, {"--steps": 3, "--size": [4, 5], "--lr": 0.1})
    assert layer.source == "flag"
    assert dict(layer.values) == {"steps": 3, "sizes": (4, 5), "inner.rate": 0.1}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does_and_types_no_default_by_hand(name: str) -> None:
    for option in find(name).options():
        assert option.words, f"{option.key}: its field has no docstring"
        typed = option.flag.default
        assert "default" not in option.words, option.key
        assert not (typed and default_text(option.field)), f"{option.key}: the field has a default of its own"
        assert not re.fullmatch(r"[\d.]+", typed) or option.flag.key, f"{option.key}: {typed} is typed by hand"


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_words_of_a_default_are_written_in_one_place(path: Path) -> None:
    texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    found = [text for text in texts if isinstance(text, str) and "(default: " in text]
    assert len(found) == (path.name == "globals.py"), found


def test_help_names_the_groups_of_tasks_of_every_suite(omp: Omp) -> None:
    words = " ".join(omp("prepare", "--help").out.replace("│", " ").split())
    for suite in SUITES.names():
        groups = SUITES.build(SUITES.parse({"name": suite})).groups()
        assert not groups or f"{', '.join(groups)} ({suite})" in words


def test_the_list_of_commands_imports_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "1")  # which does not ask omp for completions
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


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("train.lr = 'x'", "train.lr: input should be a valid number"),
        ("train.lrr = 1", "unknown setting train.lrr"),
        ("net.hidden = 'x'", "net.hidden: input should be"),
        ("train.betas = [0.9, 'x']", "train.betas.1: input should be"),
        ("method.name = 'opm'", "unknown method 'opm'"),
    ],
)
def test_a_setting_that_is_refused_is_told_with_the_file_or_the_variable_that_has_it(
    omp: Omp, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, told: str
) -> None:
    key, _, value = setting.partition(" = ")
    (tmp_path / "c.toml").write_text(f"{setting}\n")
    line = ("pretrain", workshop / "toy", "--dry-run")
    refused(omp(*line, "--config", tmp_path / "c.toml"), 2, told, f" (file {tmp_path / 'c.toml'})")
    assert "(" not in re.sub(r" \(got '.*?'\)", "", omp(*line, "--set", f"{key}={value}").err)
    name = f"OMP_CLI_{key.upper().replace('.', '__')}"
    monkeypatch.setenv(name, value.strip("'"))
    refused(omp(*line), 2, told, f" (environment, {name})")
