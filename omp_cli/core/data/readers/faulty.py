"""Episodes that cannot be taken as they are, where the others could be taken without them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from omp_cli.core.base.errors import DataError


class FaultyEpisode(DataError):
    """What is wrong with one episode; a reader that raises this passes over those of ``Subject.leave_out``.

    Args:
        message: what is wrong and where.
        mend: what to do about it, beside leaving the episode out; "" where there is nothing else.
        number: of the episode, counted from 0 in what the reader was told to read.
    """

    def __init__(self, message: str, mend: str, number: int) -> None:
        super().__init__(message, f"{mend}; or take this episode out" if mend else "take this episode out")
        self.mend, self.number = mend, number


@contextmanager
def about_episode(number: int) -> Iterator[None]:
    """A DataError inside is one of this episode."""
    try:
        yield
    except FaultyEpisode:
        raise
    except DataError as error:
        raise FaultyEpisode(error.message, error.hint, number) from error
