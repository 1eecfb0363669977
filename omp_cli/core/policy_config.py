"""What a policy is made of, as settings: readable without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, SerializeAsAny

from omp_cli.core.base.config import Flag, Member, Settings
from omp_cli.core.data.windows import ChunkConfig
from omp_cli.core.families import ENCODERS, METHODS, NETS

Weights = Literal["ema", "raw"]
"""Which weights of a checkpoint: their moving average, or as trained."""

Graph = Literal["auto", "on", "off"]
"""On CUDA, whether decisions and steps of learning are replayed graphs: where they can be, or else fail, or never."""
Precision = Literal["fp32", "tf32", "bf16", "fp16"]
"""In what the network of a policy that acts computes; tf32 is fp32 but on NVIDIA GPUs."""


class PolicyConfig(Settings):
    """Which method, net and encoder, and how actions are chunked."""

    method: Annotated[
        SerializeAsAny[Member],
        BeforeValidator(METHODS.parse),
        Flag(
            "--method",
            panel="Method",
            key="name",
            help="How the policy is trained: omp, mp1, dmpo, meanflow, imf, reflow, shortcut, flowpolicy, dp, dp3, "
            "edm, diffusion or gaussian; with --teacher also consistency or onedp. Another method than the preset's "
            "takes over none of its settings.",
            values=METHODS.names,
        ),
        Flag(
            "--derivative",
            panel="Method",
            key="derivative",
            help="How the derivative du/dt is computed: jvp, forward or dde.",
            values=lambda: ("jvp", "forward", "dde"),
        ),
        Flag(
            "--epsilon",
            panel="Method",
            key="epsilon",
            kind=object,
            help="Half width of the central difference of dde; auto measures it.",
        ),
        Flag(
            "--lambda-da", panel="Method", key="alignment.weight", kind=float, help="Weight of directional alignment."
        ),
        Flag(
            "--lambda-disp",
            panel="Method",
            key="dispersion.weight",
            kind=float,
            help="Weight of dispersive regularisation, of the methods that have it.",
        ),
    ]
    """What is learned and how it is sampled, with the settings of that method."""
    net: Annotated[
        SerializeAsAny[Member],
        BeforeValidator(NETS.parse),
        Flag(
            "--net",
            panel="Method",
            key="name",
            help="Velocity network: film-mlp, unet1d or residual-mlp.",
            values=NETS.names,
        ),
    ]
    """The velocity network, with its settings."""
    encoder: Annotated[
        SerializeAsAny[Member],
        BeforeValidator(ENCODERS.parse),
        Flag(
            "--encoder",
            panel="Method",
            key="name",
            help="What turns an observation into a condition: pointcloud, light-vit, resnet18 or state.",
            values=ENCODERS.names,
        ),
    ]
    """What turns an observation into a condition, with its settings."""
    chunk: ChunkConfig = ChunkConfig()
    """Observation history and action chunk."""
