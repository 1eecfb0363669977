"""Franka Kitchen: its suite."""

from omp_cli.core.suites.kitchen.suite import STATE_DIM, SUBTASKS, Kitchen, KitchenConfig, KitchenEnv

__all__ = ["STATE_DIM", "SUBTASKS", "Kitchen", "KitchenConfig", "KitchenEnv"]
