"""Benchmarks: tasks, their environments, experts and success rules. Simulators are imported inside functions."""

from omp_cli.core.suites.base import SUITES, Outcome, Suite, TaskEnv

__all__ = ["SUITES", "Outcome", "Suite", "TaskEnv"]
