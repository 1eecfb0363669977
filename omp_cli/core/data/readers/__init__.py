"""Readers of public data sets' formats, one file each."""

from omp_cli.core.data.readers.base import FORMATS, Reader, Recording, Subject

__all__ = ["FORMATS", "Reader", "Recording", "Subject"]
