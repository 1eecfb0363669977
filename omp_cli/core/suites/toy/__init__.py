"""The toy benchmark: its suite."""

from omp_cli.core.suites.toy.suite import Toy, ToyConfig, ToyEnv

__all__ = ["Toy", "ToyConfig", "ToyEnv"]
