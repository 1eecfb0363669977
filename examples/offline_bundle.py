"""What omp needs at run time on another machine, as pinned requirements: the versions installed here, without torch.

python examples/offline_bundle.py 3.12 x86_64 [NAME ...]      # leaves out NAME and what it alone would bring
python examples/offline_bundle.py --pack FOLDER site.tar.xz   # packs unpacked wheels, without tests and documentation
"""

from __future__ import annotations

import importlib.metadata
import lzma
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path

from packaging.requirements import Requirement

ASKED = ("omp-cli[gpu]", "pytest", "pytest-timeout")
LEFT_OUT = ("torch", "triton")
"""The other machine has them, in the build that fits its driver."""
UNREAD = ("tests", "test", "doc", "docs", "sample_data")
"""Folders within packages that nothing reads there. ``testing`` is not one: SciPy imports NumPy's."""
SOURCES = (".c", ".h", ".pyx", ".pxd", ".a", ".dll")


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


def files_of(folder: Path) -> Iterator[Path]:
    """Files of unpacked wheels that are read at run time: no tests, sources of compiled code and unused textures."""
    assets = folder / "metaworld" / "assets"
    models = "".join(file.read_text(errors="replace") for file in assets.rglob("*.xml"))
    for path in folder.rglob("*"):
        if not path.is_file() or set(path.relative_to(folder).parts[:-1]) & set(UNREAD):
            continue
        texture = path.suffix == ".png" and path.is_relative_to(assets)
        if path.suffix not in SOURCES and (not texture or path.name in models):
            yield path


def without_debugging(folder: Path) -> int:
    """Take debugging information out of compiled modules, where ``strip`` can; how many were stripped."""
    found = [
        path for path in folder.rglob("*.so") if not path.parent.name.endswith(".libs")
    ]  # those were edited before
    found = [path for path in found if b".debug_info\0" in path.read_bytes()]
    if shutil.which("strip") is None:
        return 0
    return sum(
        subprocess.run(["strip", "--strip-debug", path], stderr=subprocess.DEVNULL).returncode == 0 for path in found
    )


def pack(folder: Path, archive: Path) -> int:
    """Write the files of ``folder`` that are needed to a .tar.xz; its size in bytes."""
    # Code of x86 is smaller with its filter, and other files hardly larger. With 64 MB at once, and with what is alike
    # side by side, xz sees that NumPy and SciPy bring the same library each.
    filters = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 9}]
    with lzma.open(archive, "wb", filters=filters) as stream, tarfile.open(fileobj=stream, mode="w") as file:
        for path in sorted(files_of(folder), key=lambda path: (path.suffix, path.name, path)):
            file.add(path, path.relative_to(folder).as_posix())
    return archive.stat().st_size


if __name__ == "__main__":
    if sys.argv[1] == "--pack":
        site, archive = Path(sys.argv[2]), Path(sys.argv[3])
        print(f"debugging information taken out of {without_debugging(site)} compiled modules")
        print(f"{pack(site, archive) / 1e6:.1f} MB in {archive}")
        sys.exit()
    try:
        versions = pinned(sys.argv[1], sys.argv[2], sys.argv[3:])
    except importlib.metadata.PackageNotFoundError as error:
        sys.exit(f"error: {error.name} is needed there and not installed here: pip install {error.name}")
    for name, version in sorted(versions.items()):
        if name != "omp-cli":  # whose wheel is made of this repository
            print(f"{name}=={version}")
