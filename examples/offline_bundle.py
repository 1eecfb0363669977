"""What omp needs at run time on another machine, as pinned requirements: the versions installed here, without torch.

python examples/offline_bundle.py 3.12 x86_64 [NAME ...]      # leaves out NAME and what it alone would bring
python examples/offline_bundle.py --pack FOLDER site.tar.xz   # packs unpacked wheels, without tests and documentation
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tarfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement

ASKED = ("omp-cli[gpu]", "pytest", "pytest-timeout")
LEFT_OUT = ("torch", "triton")
"""The other machine has them, in the build that fits its driver."""
UNPACKED = ("tests", "test", "doc", "docs", "sample_data")
"""Folders within packages that nothing reads there. ``testing`` is not one: SciPy imports NumPy's."""


def normal(name: str) -> str:
    """A package's name as indices write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(python: str, machine: str, without: Collection[str]) -> dict[str, str]:
    """Versions by name of everything that ``ASKED`` need there, with extras, but for ``without`` and torch.

    Args:
        python: version of the other machine, "3.12".
        machine: "x86_64" or "aarch64"; it runs Linux.
        without: names that it has.

    Raises:
        PackageNotFoundError: something that is needed there is not installed here.
    """
    there = {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": machine}
    there |= {"sys_platform": "linux", "platform_system": "Linux"}
    skipped = {normal(name) for name in (*LEFT_OUT, *without)}
    found: dict[str, str] = {}
    walked: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in ASKED]
    while waiting:
        asked = waiting.pop()
        name = normal(asked.name)
        if name in skipped:
            continue
        package = importlib.metadata.distribution(name)
        found[name] = package.version
        needs = [Requirement(line) for line in package.requires or ()]
        for extra in {"", *asked.extras} - {known for of, known in walked if of == name}:
            walked.add((name, extra))
            waiting += [x for x in needs if x.marker is None or x.marker.evaluate({**there, "extra": extra})]
    return found


def packed(inside: str) -> bool:
    """Whether a file of a folder of unpacked wheels, by its path in it, belongs into the archive."""
    return not set(PurePosixPath(inside).parts[:-1]) & set(UNPACKED)


def pack(folder: Path, archive: Path) -> int:
    """Write the files of ``folder`` that are needed to a .tar.xz; its size in bytes."""
    with tarfile.open(archive, "w:xz", preset=6) as file:
        # By ending and name: what is alike lies together, and xz sees it.
        for path in sorted((x for x in folder.rglob("*") if x.is_file()), key=lambda x: (x.suffix, x)):
            inside = path.relative_to(folder).as_posix()
            if packed(inside):
                file.add(path, inside)
    return archive.stat().st_size


if __name__ == "__main__":
    if sys.argv[1] == "--pack":
        print(f"{pack(Path(sys.argv[2]), Path(sys.argv[3])) / 1e6:.1f} MB in {sys.argv[3]}")
        sys.exit()
    try:
        versions = pinned(sys.argv[1], sys.argv[2], sys.argv[3:])
    except importlib.metadata.PackageNotFoundError as error:
        sys.exit(f"error: {error.name} is needed there and not installed here: pip install {error.name}")
    for name, version in sorted(versions.items()):
        if name != "omp-cli":  # whose wheel is made of this repository
            print(f"{name}=={version}")
