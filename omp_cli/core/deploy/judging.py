"""Whether an episode on a robot succeeded: by the robot's own word, or by that of a person at the keyboard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from omp_cli.core.base.files import to_json
from omp_cli.core.base.statistics import Rate, wilson

Keys = Callable[[], str]
"""What has been typed since the last call; "" for nothing."""


@dataclass(frozen=True)
class Verdict:
    """What is said of an episode: whether it succeeded, None where nobody knows, and whether it counts at all."""

    success: bool | None = None
    counts: bool = True


BEGIN = " "
VERDICTS = {"s": Verdict(True), "f": Verdict(False), "d": Verdict(counts=False)}
"""The keys that begin an episode, and that end and judge it."""
KEYS = "s it succeeded, f it failed, d it does not count"


class Says(Protocol):
    """What a judge asks of a robot."""

    def succeeded(self) -> bool | None:
        """Whether the episode succeeded; None where the robot does not say."""


class Judge:
    """Takes the robot's word, whose episodes begin and end by themselves.

    Attributes:
        by: who judges, for a manifest.
    """

    by = "robot"

    def __init__(self, robot: Says) -> None:
        self._robot = robot

    def announce(self, which: str, again: bool) -> None:
        """An episode is next; ``again`` where it is to begin as the one before did."""

    def may_begin(self) -> bool:
        """Whether it may begin, as far as the judge is concerned."""
        return True

    def ends(self) -> bool:
        """Whether the judge has ended it."""
        return False

    def ask(self) -> None:
        """It is over, and a verdict is wanted."""

    def verdict(self) -> Verdict | None:
        """What is said of it; None where that is still to come."""
        return Verdict(self._robot.succeeded())


class PersonJudge(Judge):
    """A person who begins episodes, may end them, and judges each, by a key.

    Args:
        robot: what is moved.
        keys: what they type.
        note: called with one line that says which key does what.
    """

    by = "person"

    def __init__(self, robot: Says, keys: Keys, note: Callable[[str], None]) -> None:
        super().__init__(robot)
        self._keys, self._note, self._which = keys, note, ""
        self._begun = False
        self._said: Verdict | None = None

    def announce(self, which: str, again: bool) -> None:
        """See the base class; what was typed before does not count."""
        self._keys()
        self._begun, self._said, self._which = False, None, which
        place = "back where it was when the episode before began" if again else "in its place"
        self._note(f"{which}: put everything {place}, then press space; while it runs, {KEYS}")

    def may_begin(self) -> bool:
        """See the base class."""
        typed = self._keys()  # also once it may begin: what is typed before the first tick is no verdict
        self._begun = self._begun or BEGIN in typed
        return self._begun

    def ends(self) -> bool:
        """See the base class; the first key that is a verdict is the one."""
        if self._said is None:
            self._said = next((VERDICTS[key] for key in self._keys().lower() if key in VERDICTS), None)
        return self._said is not None

    def ask(self) -> None:
        """See the base class; nothing is asked where the verdict has ended the episode."""
        if not self.ends():
            self._note(f"{self._which} is over: {KEYS}")

    def verdict(self) -> Verdict | None:
        """See the base class."""
        self.ends()
        return self._said


class Outcomes:
    """The episodes on a robot and what is said of them; each is written to a file at its end.

    Args:
        file: the file, of a line for each episode; None for none.
        by: who judges.

    Attributes:
        by: who judges.
        successes: of each episode that counts whether it is a success of the policy, None where nobody has judged it.
            Where somebody took over it is none, whatever was said of it.
    """

    def __init__(self, file: Path | None, by: str) -> None:
        self._file, self.by = file, by
        self.successes: list[bool | None] = []
        self._helped, self._discarded = 0, 0

    @property
    def counted(self) -> int:
        """Episodes that count."""
        return len(self.successes)

    @property
    def rate(self) -> Rate | None:
        """Successes of the judged episodes; None where there are none."""
        judged = [success for success in self.successes if success is not None]
        return wilson(sum(judged), len(judged)) if judged else None

    def add(self, row: dict[str, Any], verdict: Verdict) -> None:
        """One more episode; ``row`` is what happened in it, JSON types only."""
        if verdict.counts:
            self._helped += row["corrected"] > 0
            self.successes.append(None if verdict.success is None else verdict.success and not row["corrected"])
        else:
            self._discarded += 1
        line = {**row, "success": verdict.success, "counts": verdict.counts}
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as log:
                log.write(to_json(line) + "\n")

    def figures(self) -> dict[str, Any]:
        """n/N with its interval, in how many somebody helped, how many do not count or were not judged; JSON types.

        Nothing where there were none, or nobody judges; who judges only where something was said of one.
        """
        rate = self.rate
        if not self.by or not (self.successes or self._discarded):
            return {}
        counts = {"helped": self._helped, "discarded": self._discarded, "not_judged": self.successes.count(None)}
        said = {} if rate is None and not self._discarded else {"judged_by": self.by}
        return {**({} if rate is None else {"success": rate.as_dict()}), **said, **counts}
