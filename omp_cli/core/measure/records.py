"""``episodes.jsonl`` of an evaluation: a line for each episode that has ended, from which it can go on."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Self

from omp_cli.core.base.files import defined, read_jsonl, to_json, write_text
from omp_cli.core.base.run import EPISODES, Run
from omp_cli.core.measure.episodes import Episode
from omp_cli.core.suites.base import Suite


def episodes_before(folder: Path) -> list[Episode]:
    """The episodes of an evaluation that have ended, in the order of their end; one that a kill has cut is left out."""
    known = {field.name for field in fields(Episode)}
    rows = read_jsonl(folder / EPISODES)
    return [Episode(**{key: value for key, value in row.items() if key in known}) for row in rows]


class Records:
    """Writes a record out when its episode ends, and puts all in order however the block ends.

    Args:
        run: the run in whose folder the file is.
        suite: says which figures a record has.
        resumed: whether the records go on that are there; else they go.

    Attributes:
        count: records there were before.
    """

    def __init__(self, run: Run, suite: Suite, resumed: bool) -> None:
        self._run, self._suite, self._file = run, suite, run.folder / EPISODES
        before = episodes_before(run.folder) if resumed else []
        self._of = {(e.checkpoint_step, e.index): e for e in before}
        self.count = len(self._of)

    def __enter__(self) -> Self:
        self._write()
        return self

    def of(self, step: int) -> list[Episode]:
        """The episodes of the checkpoint of that step that have ended."""
        return [episode for (of, _), episode in self._of.items() if of == step]

    def append(self, episode: Episode) -> None:
        """An episode has ended; its record takes the place of an earlier one of it."""
        self._of[episode.checkpoint_step, episode.index] = episode
        with self._file.open("a", encoding="utf-8") as file:
            file.write(self._line(episode))

    def __exit__(self, *_: object) -> None:
        if self._of:
            self._write()
            self._run.artifact(self._file)
        else:
            self._file.unlink(missing_ok=True)

    def _write(self) -> None:
        write_text(self._file, "".join(self._line(self._of[key]) for key in sorted(self._of)))

    def _line(self, episode: Episode) -> str:
        return to_json(defined(episode.as_dict(self._suite))) + "\n"
