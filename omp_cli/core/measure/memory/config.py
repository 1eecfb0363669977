"""Configuration of ``omp memprofile``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from omp_cli.core.config import Count, HalfWidth, Settings, Threads, Width
from omp_cli.core.config import Seed

Column = Literal["none", "dde", "forward", "jvp"]
COLUMNS: tuple[Column, ...] = ("none", "dde", "forward", "jvp")


class MemprofileConfig(Settings):
    """Configuration of ``omp memprofile``.

    Attributes:
        presets: presets of omp pretrain.
        derivatives: how du/dt is computed; "none" is plain flow matching with the same net, the floor.
        horizons: chunk lengths H.
        points: points per cloud N.
        batches: windows per step B; empty takes each preset's own.
        pretrain: settings of omp pretrain on top of the presets, such as ``net.dims``.
        action_dim: A.
        state_dim: S.
        image: height, width and channels of the picture that an image encoder sees.
        repeats: timed steps per row; the fastest counts.
        predict: whether a prediction for CUDA is made too.
        accuracy: whether the error of du/dt over epsilon is measured.
        epsilons: half widths of the central difference to measure.
        seed: of weights and data.
        threads: torch threads.
    """

    presets: tuple[str, ...] = Field(("light", "omp-small"), min_length=1)
    derivatives: tuple[Column, ...] = Field(COLUMNS, min_length=1)
    horizons: tuple[Width, ...] = Field((4, 16), min_length=1)
    points: tuple[Count, ...] = Field((512,), min_length=1)
    batches: tuple[Count, ...] = ()
    pretrain: dict[str, Any] = Field(default_factory=dict)
    action_dim: Width = 4
    state_dim: int = Field(9, ge=3, le=2**16)
    image: tuple[Width, Width, Width] = (96, 96, 3)
    repeats: Count = 2
    predict: bool = True
    accuracy: bool = True
    epsilons: tuple[HalfWidth, ...] = Field((1e-1, 5e-2, 2e-2, 1e-2, 5e-3, 2e-3, 1e-3, 1e-4, 1e-5), min_length=1)
    seed: Seed = 0
    threads: Threads = 1
