"""What omp needs at run time on another machine, as pinned requirements: the versions installed here, without torch.

python examples/offline_bundle.py 3.12 x86_64 [NAME ...]      # leaves out NAME and what it alone would bring
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Collection

from packaging.requirements import Requirement

ASKED = ("omp-cli", "nvidia-ml-py", "pytest", "pytest-timeout")
LEFT_OUT = ("torch", "triton")
"""The other machine has them, in the build that fits its driver."""


def normal(name: str) -> str:
    """A package's name as indices write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(python: str, machine: str, without: Collection[str]) -> dict[str, str]:
    """Versions by name of everything that ``ASKED`` need there, but for ``without`` and torch.

    Args:
        python: version of the other machine, "3.12".
        machine: "x86_64" or "aarch64"; it runs Linux.
        without: names that it has.

    Raises:
        PackageNotFoundError: something that is needed there is not installed here.
    """
    there = {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": machine, "extra": ""}
    there |= {"sys_platform": "linux", "platform_system": "Linux"}
    skipped = {normal(name) for name in (*LEFT_OUT, *without)}
    found: dict[str, str] = {}
    waiting = [name for name in ASKED if normal(name) not in skipped]
    while waiting:
        name = normal(waiting.pop())
        if name in found:
            continue
        package = importlib.metadata.distribution(name)
        found[name] = package.version
        needs = [Requirement(line) for line in package.requires or ()]
        applying = (need.name for need in needs if need.marker is None or need.marker.evaluate(there))
        waiting += [need for need in applying if normal(need) not in skipped]
    return found


if __name__ == "__main__":
    try:
        versions = pinned(sys.argv[1], sys.argv[2], sys.argv[3:])
    except importlib.metadata.PackageNotFoundError as error:
        sys.exit(f"error: {error.name} is needed there and not installed here: pip install {error.name}")
    for name, version in sorted(versions.items()):
        if name != "omp-cli":  # whose wheel is made of this repository
            print(f"{name}=={version}")
