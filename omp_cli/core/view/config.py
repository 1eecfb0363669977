"""Configuration of ``omp view``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from omp_cli.core.base.config import Count, CountOrZero, Flag, Settings

PANEL = "What is shown"


class ViewConfig(Settings):
    """Which episodes are shown, and how finely."""

    episodes: Annotated[Count, Flag(panel=PANEL)] = 8
    """Episodes that are shown, from ``first`` on."""
    first: Annotated[CountOrZero, Flag(panel=PANEL)] = 0
    """Number of the first episode that is shown, from 0 on."""
    frames: Annotated[Count, Flag(panel=PANEL)] = 60
    """Pictures and clouds per episode, evenly spread; states and actions are shown at every frame."""
    points: Annotated[Count, Flag(panel=PANEL)] = 1024
    """Points of a cloud that are shown, at most."""
    rerun: Annotated[bool, Flag(panel=PANEL, only_on=True)] = False
    """Whether a recording for the Rerun viewer is written, too, which needs the extra rerun."""
    size: int = Field(default=192, ge=16, le=1024)
    """Longest side of a picture on the page, pixels."""
