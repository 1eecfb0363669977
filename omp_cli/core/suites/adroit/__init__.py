"""Adroit: its suite, the published experts, and files of its data, whose states are shown anew."""

from omp_cli.core.suites.adroit.config import AdroitConfig
from omp_cli.core.suites.adroit.dapg import Dapg
from omp_cli.core.suites.adroit.files import ShownAnew
from omp_cli.core.suites.adroit.suite import Adroit, AdroitEnv

__all__ = ["Adroit", "AdroitConfig", "AdroitEnv", "Dapg", "ShownAnew"]
