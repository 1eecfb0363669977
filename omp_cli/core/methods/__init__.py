"""Generative methods: pure mathematics over a callable ``u(z, r, t)``. Torch only."""

from omp_cli.core.methods.base import METHODS, Draws, Jump, LossReport, Method, VelocityField

__all__ = ["METHODS", "Draws", "Jump", "LossReport", "Method", "VelocityField"]
