"""The bar of a job's progress: title, bar, n/N and time left stand whatever the figures are; figures give way."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

WIDTH = 20
"""Characters of the bar itself."""
REST = 12
"""Characters of the time left and of the gaps between columns."""
SHORTEST = 12
"""Characters that are left of the longest title in the narrowest terminal."""
GAP = "  "
"""Between two figures."""


class Figures:
    """As many of the figures, from the first on, as there is room for: half a number would be another number.

    Args:
        texts: a figure each, with its name.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = list(texts)

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        """The figures that fit, in one line."""
        shown = list(self._texts)
        while shown and Text(GAP.join(shown)).cell_len > options.max_width:
            shown.pop()
        yield Text(GAP.join(shown), no_wrap=True)

    def __rich_measure__(self, _: Console, options: ConsoleOptions) -> Measurement:
        """From nothing to all of them."""
        return Measurement(0, min(Text(GAP.join(self._texts)).cell_len, options.max_width))


class _FiguresColumn(ProgressColumn):
    """Shows the field "figures" of a task."""

    def render(self, task: Task) -> RenderableType:
        return Figures(task.fields["figures"])


def make_bar(console: Console) -> Progress:
    """The display; each of its tasks has a field "figures", a list of texts."""
    fixed = [Column(no_wrap=True) for _ in range(4)]
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=fixed[0]),
        BarColumn(WIDTH, table_column=fixed[1]),
        MofNCompleteColumn(table_column=fixed[2]),
        TimeRemainingColumn(table_column=fixed[3]),
        _FiguresColumn(table_column=Column()),  # alone in what may become narrower
        console=console,
    )


def fitting_title(title: str, total: int, width: int) -> str:
    """The title as it fits beside bar, n/N and time left in a terminal of that width."""
    room = max(width - WIDTH - len(f"{total}/{total}") - REST, SHORTEST)
    return title if len(title) <= room else f"{title[: room - 1]}…"
