"""The committed table of six tasks is what its command makes of the committed manifests; names are true."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from omp_cli.core.report.collect import Found, read_evaluations
from omp_cli.core.report.rename import renamed
from omp_cli.core.report.summary import summarise

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "examples" / "results" / "metaworld.md"
TASKS = ("dial-turn", "hammer", "assembly", "pick-place", "stick-pull", "pick-place-wall")


def command() -> list[str]:
    """Words of the page's line for the report of these manifests."""
    text = PAGE.read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^omp report examples/results/metaworld6 .*$", text, re.M)
    return shlex.split(line)


def shown_as() -> Found:
    """The committed evaluations under the names that the command gives."""
    words, found = command(), read_evaluations([PAGE.parent / "metaworld6"])
    names = [words[i + 1] for i, word in enumerate(words) if word == "--rename"]
    found.evaluations = renamed(found.evaluations, names)
    return found


def test_the_table_is_what_its_command_makes() -> None:
    words = command()
    (section,) = summarise(shown_as(), words[words.index("--baseline") + 1])["sections"]
    tasks = {task["task"]: task["rows"] for task in section["tasks"]}
    means = {row["title"]: row["classes"]["total"]["value"] for row in section["rows"]}
    differences = {row["title"]: row["classes"]["total"] for row in section["differences"]}
    lines = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if "| 150/150 |" in line]
    shown = {line[0]: line[2:] for line in lines if len(line) > 7}
    assert set(shown) == {"light-1", "light-1, forward", "dp3", "flowpolicy", "mp1 (InfoNCE)"}
    for title, cells in shown.items():
        counts = [tasks[task][title] for task in TASKS]
        assert cells[:6] == [f"{found['successes']}/{found['episodes']}" for found in counts]
        assert cells[6] == f"{100 * means[title]:.1f}"
        if title != "light-1":
            found = differences[title]
            low, high = round(100 * found["low"]), round(100 * found["high"])
            assert cells[7] == f"{100 * found['value']:.1f} [{low}, {high:+d}]"


def test_no_row_is_named_after_a_method_whose_terms_it_lacks() -> None:
    settings = {e.label: e.settings for e in shown_as().evaluations}
    assert {"light-1", "light-1, Disp", "mp1 (InfoNCE)"} <= set(settings)
    for label, found in settings.items():
        if label.startswith("omp"):
            assert found["method.alignment.weight"] > 0
            assert found["method.dispersion.weight"] > 0
        if label == "mp1":
            assert found["method.dispersion.form"] == "max_normalised"
