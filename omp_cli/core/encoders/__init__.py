"""Observation encoders: raw observations in physical units -> condition embedding. Torch only."""

from omp_cli.core.encoders.base import ENCODERS, Encoder

__all__ = ["ENCODERS", "Encoder"]
