"""The families of interchangeable parts, where they can be named without loading one of them.

A configuration says ``METHODS.parse`` without importing torch; the package of the members is imported on first look-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from omp_cli.core.base.registry import Family

if TYPE_CHECKING:
    from omp_cli.core.data.readers.base import Reader
    from omp_cli.core.encoders.base import Encoder
    from omp_cli.core.methods.base import Method
    from omp_cli.core.nets.base import Net
    from omp_cli.core.prepare.source import Source
    from omp_cli.core.rl.base import Algorithm
    from omp_cli.core.suites.base import Suite

METHODS: Family[Method] = Family("method", "omp_cli.core.methods", base="omp_cli.core.methods.base:Method")
NETS: Family[Net] = Family("net", "omp_cli.core.nets", base="omp_cli.core.nets.base:Net")
ENCODERS: Family[Encoder] = Family("encoder", "omp_cli.core.encoders", base="omp_cli.core.encoders.base:Encoder")
SUITES: Family[Suite] = Family("suite", "omp_cli.core.suites", base="omp_cli.core.suites.base:Suite")
SOURCES: Family[Source] = Family(
    "source", "omp_cli.core.suites", "omp_cli.core.prepare", base="omp_cli.core.prepare.source:Source", named=False
)
FORMATS: Family[Reader] = Family("format", "omp_cli.core.data.readers", base="omp_cli.core.data.readers.base:Reader")
ALGORITHMS: Family[Algorithm] = Family("algorithm", "omp_cli.core.rl", base="omp_cli.core.rl.base:Algorithm")
