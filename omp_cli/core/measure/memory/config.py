"""Configuration of ``omp memprofile``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from omp_cli.core.base.config import Count, Flag, HalfWidth, Seed, Settings, Threads, Width, distinct
from omp_cli.core.base.presets import preset_names
from omp_cli.core.families import NETS

Column = Literal["none", "dde", "forward", "jvp"]
COLUMNS: tuple[Column, ...] = get_args(Column)


class MemprofileConfig(Settings):
    """Configuration of ``omp memprofile``."""

    presets: Annotated[
        tuple[str, ...], Flag("--preset", panel="What is profiled", values=lambda: preset_names("pretrain"))
    ] = Field(("light", "omp-small"), min_length=1)
    """Preset of omp pretrain, or a file of your own, whose training step is profiled; repeatable."""
    derivatives: Annotated[tuple[Column, ...], Flag("--derivative", panel="What is profiled")] = Field(
        COLUMNS, min_length=1
    )
    """How du/dt is computed: jvp, forward, dde, or none for plain flow matching; repeatable."""
    horizons: Annotated[tuple[Width, ...], Flag("--horizon", panel="What is profiled")] = Field((4, 16), min_length=1)
    """Chunk length H; repeatable."""
    points: Annotated[tuple[Count, ...], Flag(panel="What is profiled")] = Field((512,), min_length=1)
    """Points per cloud; repeatable."""
    batches: Annotated[tuple[Count, ...], Flag("--batch", panel="What is profiled", default="the preset's")] = ()
    """Windows per step; repeatable."""
    pretrain: Annotated[
        dict[str, Any],
        Flag(
            "--net",
            panel="What is profiled",
            key="net.name",
            help="Another net than the preset's: film-mlp, unet1d or residual-mlp.",
            values=NETS.names,
        ),
    ] = Field(default_factory=dict)
    """Settings of omp pretrain on top of the presets, such as ``net.dims``."""
    action_dim: Width = 4
    """A, dimension of the action."""
    state_dim: int = Field(9, ge=3, le=2**16)
    """S, dimension of the state."""
    image: tuple[Width, Width, Width] = (96, 96, 3)
    """Height, width and channels of the picture that an image encoder sees."""
    repeats: Count = 2
    """Timed steps per row; the fastest counts."""
    predict: Annotated[bool, Flag(panel="How")] = True
    """Whether the memory on CUDA is predicted, too."""
    accuracy: Annotated[bool, Flag(panel="How")] = True
    """Whether the error of du/dt over epsilon is measured, which --paper leaves out unless it is asked for."""
    epsilons: tuple[HalfWidth, ...] = Field((1e-1, 5e-2, 2e-2, 1e-2, 5e-3, 2e-3, 1e-3, 1e-4, 1e-5), min_length=1)
    """Half widths of the central difference to measure."""
    seed: Seed = 0
    """Seed of weights and data."""
    threads: Threads = 1
    """Torch threads."""

    rows_differ = field_validator("presets", "derivatives", "horizons", "points", "batches", "epsilons")(distinct)
