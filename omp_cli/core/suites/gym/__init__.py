"""Gym locomotion: its suite, and the source of data that trains a policy."""

from omp_cli.core.suites.gym.suite import ENVIRONMENTS, Gym, GymConfig, GymEnv
from omp_cli.core.suites.gym.trained import Trained

__all__ = ["ENVIRONMENTS", "Gym", "GymConfig", "GymEnv", "Trained"]
