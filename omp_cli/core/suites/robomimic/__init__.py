"""RoboMimic: its suite, the operators that record, and the replay of raw recordings."""

from omp_cli.core.suites.robomimic.replay import Packaged, Replayed
from omp_cli.core.suites.robomimic.scripted import Scripted
from omp_cli.core.suites.robomimic.suite import Robomimic, RobomimicEnv, RobomimicSuiteConfig
from omp_cli.core.suites.robomimic.tables import TASKS

__all__ = ["TASKS", "Packaged", "Replayed", "Robomimic", "RobomimicEnv", "RobomimicSuiteConfig", "Scripted"]
