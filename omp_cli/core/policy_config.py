"""What a policy is made of, as settings: readable without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, SerializeAsAny

from omp_cli.core.config import Settings
from omp_cli.core.data.windows import ChunkConfig
from omp_cli.core.families import ENCODERS, METHODS, NETS

Weights = Literal["ema", "raw"]
"""Which weights of a checkpoint: their moving average, or as trained."""


class PolicyConfig(Settings):
    """Which method, net and encoder, and how actions are chunked."""

    method: Annotated[SerializeAsAny[Settings], BeforeValidator(METHODS.parse)]
    net: Annotated[SerializeAsAny[Settings], BeforeValidator(NETS.parse)]
    encoder: Annotated[SerializeAsAny[Settings], BeforeValidator(ENCODERS.parse)]
    chunk: ChunkConfig = ChunkConfig()
