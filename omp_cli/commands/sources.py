"""Where a setting came from, for the message that refuses it."""

from __future__ import annotations

from collections.abc import Mapping

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.layers import ENVIRONMENT, overlap, variables_of
from omp_cli.core.base.presets import ENDING


def with_source(error: UsageError, layer_of: Mapping[str, str], environ: Mapping[str, str]) -> UsageError:
    """The error of a setting, with the file or the variable that it came from; the line itself is before one's eyes."""
    key = error.key or error.message.partition(": ")[0]
    places = {source for known, source in layer_of.items() if overlap(known, key)}
    source = places.pop() if len(places) == 1 else ""
    if source == ENVIRONMENT:
        source = ", ".join([source, *variables_of(environ, key)])
    elif not source.startswith("file ") and not (source.startswith("preset ") and ENDING in source):
        return error
    return UsageError(f"{error.message} ({source})", error.hint)
