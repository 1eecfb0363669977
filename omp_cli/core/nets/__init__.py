"""Velocity networks u(z, r, t | c). Torch only."""

from omp_cli.core.nets.base import NETS, Net

__all__ = ["NETS", "Net"]
