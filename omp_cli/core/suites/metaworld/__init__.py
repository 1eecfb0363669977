"""Meta-World: its suite and the tables of its tasks."""

from omp_cli.core.suites.metaworld.suite import MetaWorld, MetaWorldConfig, MetaWorldEnv

__all__ = ["MetaWorld", "MetaWorldConfig", "MetaWorldEnv"]
