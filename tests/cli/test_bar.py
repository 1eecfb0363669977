"""The bar keeps title, n/N and time left at any width; figures give way, and never in the middle of one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console as RichConsole

from omp_cli.bar import BarColumn, fitting_title, make_bar

FIGURES = {"loss": "loss 0.1234", "rate": "samples per second 12345", "long": "at work 3, reach/omp-dde/seed0/eval"}


def drawn(width: int, title: str, total: int, figures: list[str]) -> list[str]:
    console = RichConsole(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    bar = make_bar(console)
    bar.add_task(fitting_title(title, total, width), total=total, completed=total // 2, figures=figures)
    console.print(bar.get_renderable())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("figures", [[], ["loss 0.1234"], list(FIGURES.values()), ["x" * 500]])
def test_one_line_with_all_that_counts(width: int, figures: list[str]) -> None:
    (line,) = drawn(width, "training", 123456, figures)
    assert "training" in line
    assert "61728/123456" in line
    assert "-:--:--" in line
    shown = [figure for figure in figures if figure in line]
    assert shown == figures[: len(shown)]
    rest = line.split("-:--:--")[1].split("  ")
    assert {part.strip() for part in rest} - {""} == set(shown), "whole figures alone"
    assert width < 200 or len("  ".join(figures)) > 140 or shown == figures


def test_a_long_title_gives_way_too() -> None:
    (line,) = drawn(80, "recording " + "drawer-open " * 20, 1000, ["loss 0.1"])
    assert line.startswith("recording drawer-open")
    assert "…" in line
    assert "500/1000" in line
    assert "-:--:--" in line


def test_the_bar_itself_is_there() -> None:
    assert any(isinstance(column, BarColumn) for column in make_bar(RichConsole()).columns)
