"""Experts from files: who says what to do in a task, read without running anything of what others wrote."""

from omp_cli.core.experts.base import Expert, vectors_of
from omp_cli.core.experts.read import read_expert

__all__ = ["Expert", "read_expert", "vectors_of"]
