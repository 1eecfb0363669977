"""How the core tells its caller what it is doing, without printing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A long job's progress: one task at a time."""

    def start(self, title: str, total: int, done: int = 0) -> None:
        """A task of ``total`` units begins, ``done`` of them finished earlier."""

    def advance(self, units: int = 1, **figures: float | str) -> None:
        """Some units are done; ``figures`` are shown beside the bar."""

    def note(self, text: str) -> None:
        """One line that the user should see."""


class Silent:
    """Progress that nobody watches."""

    def start(self, title: str, total: int, done: int = 0) -> None:
        """Does nothing."""

    def advance(self, units: int = 1, **figures: float | str) -> None:
        """Does nothing."""

    def note(self, text: str) -> None:
        """Does nothing."""
