"""Pages stand alone, and show what labels say as text."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from omp_cli.core.report import pages
from omp_cli.core.report.collect import read_evaluations
from omp_cli.core.report.plots import draw
from omp_cli.core.report.summary import summarise
from tests.report.manifests import write_eval, write_latency

VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Checks that tags close in order; collects tags, addresses and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_needs_nothing_else(tmp_path: Path) -> None:
    odd = "<b>bold</b> | *a* _b_ `c` [d](http://e) ![f](g) &lt; \\ http_proxy 1_2"
    for label in (odd, "plain"):
        for nfe in (1, 5):
            for task in ("hammer", "push"):
                name = f"{label[1]}-{nfe}-{task}"
                write_eval(tmp_path / name, task, 40, label=label, nfe=nfe, curve=(3, 9, 12, 15))
    write_latency(tmp_path / "l", 1, 2.0, checkpoint="plain-hammer-0")
    document = summarise(read_evaluations([tmp_path]))
    pictures = draw(tmp_path, document["sections"][0])
    assert [path.name for path in pictures.values()] == [
        "classes-metaworld.png",
        "training-metaworld.png",
        "nfe-metaworld.png",
    ]
    reader = Reader()
    page = pages.html(document, pictures)
    reader.feed(page)
    assert reader.open == []
    assert len(reader.addresses) == 3
    assert all(address.startswith("data:image/png;base64,iVBOR") for address in reader.addresses)
    assert not {"script", "link", "b", "a", "code"} & set(reader.tags)
    assert "url(" not in page
    assert reader.text.count(odd) > 3
    assert "prefers-color-scheme: dark" in page
    text = pages.markdown(document, pictures)
    assert r"\<b>bold\</b> \| \*a\* \_b\_" in text
    assert "![Success by class on metaworld](classes-metaworld.png)" in text
    for line in text.splitlines():
        if line.startswith("| DP3") or line.startswith("| *DP3"):
            assert line.startswith("| *")


@pytest.mark.parametrize(
    ("tasks", "bars"), [(("hammer", "soccer"), False), (("hammer", "soccer", "coffee-pull"), True)]
)
def test_a_title_names_bars_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tasks: tuple[str, ...], bars: bool
) -> None:
    """Two tasks have no interval; three have one."""
    for label in ("a", "b"):
        for index, task in enumerate(tasks):
            write_eval(tmp_path / f"{label}-{task}", task, 20 + 10 * index, label=label, nfe=1 + (label == "b"))
    document = summarise(read_evaluations([tmp_path]))
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(Figure, "savefig", lambda self, path, dpi: (path.touch(), drawn.update({path.name: self})))
    draw(tmp_path, document["sections"][0])
    shown = {name: figure for name, figure in drawn.items() if "training" not in name}
    assert len(shown) == 2
    for figure in shown.values():
        titles = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
        found = [bar for axes in figure.axes for c in axes.containers for bar in getattr(c, "lines", ((), (), ()))[2]]
        segments = [s for bar in found for s in bar.get_segments() if s.size and np.isfinite(s).all()]
        assert (any("95 % bootstrap" in title for title in titles), bool(segments)) == (bars, bars), titles
    assert ("95 % bootstrap" in pages.markdown(document, {}).partition("## How to read it")[0]) == bars


@pytest.mark.parametrize("several", [False, True])
def test_what_is_equal_stands_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, several: bool) -> None:
    """Two policies of one NFE, and nearly of one latency, stand in the middle of axes that have numbers."""
    for label, ms in (("a", 2.9), ("b", 2.91)):
        write_eval(tmp_path / label, "reach", 40, suite="toy", label=label)
        write_latency(tmp_path / f"l-{label}", 1, ms, checkpoint=f"{label}-reach-0")
    for index in range(10 * several):
        write_eval(tmp_path / str(index), "reach", 40, suite="toy", label=str(index))
    (section,) = summarise(read_evaluations([tmp_path]))["sections"]
    drawn: dict[str, Figure] = {}
    monkeypatch.setattr(Figure, "savefig", lambda self, path, dpi: (path.touch(), drawn.update({path.name: self})))
    draw(tmp_path, section)
    (figure,) = (figure for name, figure in drawn.items() if "nfe" in name)
    for axes in figure.axes:
        low, high = np.log(axes.get_xlim())
        places = [(np.log(line.get_xdata()[0]) - low) / (high - low) for line in axes.lines if len(line.get_xdata())]
        assert 0.05 < min(places) <= max(places) < 0.95
        assert max(places) - min(places) < (0.5 if several else 0.1)
    first, last = figure.axes[1].get_xlim()
    assert first < 2 < 5 < last


def test_plots_that_would_show_nothing_are_not_made(tmp_path: Path) -> None:
    write_eval(tmp_path / "a", "reach", 40, suite="toy")
    pictures = draw(tmp_path, summarise(read_evaluations([tmp_path]))["sections"][0])
    assert [path.name for path in pictures.values()] == ["classes-toy.png"]


def test_a_fine_tuning_has_a_line_for_each_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"return": 10.0 * i, "episodes": 9, "env_steps": 1000 * i, "train_seconds": 60.0 * i} for i in range(3)]
    for task in ("Hopper-v5", "Walker2d-v5"):
        for seed in (0, 1):
            more = {"training": {"evaluations": rows}, "finetuned_by": "dmpo", "demonstrations": 900.0}
            write_eval(tmp_path / f"{task}{seed}", task, suite="gym", seed=seed, returns=[3.0], **more)
    (section,) = summarise(read_evaluations([tmp_path]))["returns"]
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, dpi: (path.touch(), drawn.append(self)))
    (picture,) = draw(tmp_path, section).items()
    assert (picture[0], picture[1].name) == ("Fine-tuning on gym: held-out return", "finetuning-gym.png")
    steps, minutes = drawn[0].axes[:2]
    lines = [line.get_xydata().tolist() for line in steps.lines if len(line.get_xdata()) == 3]
    assert lines == [[[0, 0], [1, 10], [2, 20]]] * 2
    assert [line.get_ydata()[0] for line in minutes.lines][-1] == 900.0, "what the demonstrations return"
    assert (steps.get_title(), len(drawn[0].axes)) == ("gym/Hopper-v5", 4)
