"""Data of the user's own: a suite without a simulator, and the source that reads any file for it."""

from omp_cli.core.suites.own.sensing import OwnSuiteConfig
from omp_cli.core.suites.own.source import Own, OwnFilesConfig
from omp_cli.core.suites.own.suite import OwnSuite

__all__ = ["Own", "OwnFilesConfig", "OwnSuite", "OwnSuiteConfig"]
