"""The manifest of a run: what was asked, on what, with which inputs, what came out. Validated, sealed, atomic."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from omp_cli import __version__
from omp_cli.core.base.config import checked
from omp_cli.core.base.errors import DataError
from omp_cli.core.base.files import read_json, remove, seal_of, sha256_kept, sha256_of, walk, write_json
from omp_cli.core.base.layers import of_today
from omp_cli.core.base.processes import cores

SCHEMA_VERSION: Final = 1
FILE_NAME = "manifest.json"
OF_NO_RUN = ("checkpoints", "best", "start")
"""Folders in a run's in which there are no runs."""
PACKAGES = ("torch", "numpy", "mujoco", "metaworld", "gymnasium", "zarr", "pydantic", "safetensors", "scipy", "open3d")

Status = Literal["running", "succeeded", "failed", "interrupted"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Value(_Part):
    """One resolved setting and where it came from (default, preset, file, environment, --set, flag, checkpoint)."""

    value: Any
    source: str


class Input(_Part):
    """Something the run read, by content."""

    kind: str
    path: str
    sha256: str


class Artifact(_Part):
    """Something the run wrote; ``path`` is relative to the run's folder."""

    path: str
    sha256: str
    bytes: int


class Failure(_Part):
    """Why a run did not succeed."""

    type: str
    message: str
    hint: str = ""
    exit_code: int


class Hardware(_Part):
    """The machine that the figures were measured on."""

    platform: str
    cpu: str
    cores: int
    memory_gib: float
    device: str = "cpu"
    threads: int | None = None

    @property
    def place(self) -> str:
        """Where tensors lived, by the name of what computed: the CPU's, or the device's."""
        return self.cpu if self.device == "cpu" else self.device


class Manifest(_Part):
    """Everything needed to trust or to repeat a run."""

    schema_version: Literal[1] = SCHEMA_VERSION
    omp_version: str = Field(default_factory=lambda: __version__)
    command: str
    argv: list[str] = Field(default_factory=list)
    status: Status = "running"
    started_at: str
    finished_at: str | None = None
    wall_seconds: float | None = None
    config: dict[str, Value] = Field(default_factory=dict)
    seeds: dict[str, int] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    hardware: Hardware
    inputs: list[Input] = Field(default_factory=list)
    metrics: dict[str, Any] = Field(default_factory=dict)
    artifacts: list[Artifact] = Field(default_factory=list)
    error: Failure | None = None
    seal: str = Field(default="", description="SHA-256 of the canonical JSON of all other fields")

    def sealed(self) -> Manifest:
        """A copy with the seal of its present content."""
        return self.model_copy(update={"seal": seal_of(self.model_dump(mode="json"))})


def write_manifest(folder: Path, manifest: Manifest, name: str = FILE_NAME) -> Path:
    """Seal and write a manifest into a folder, atomically; returns its path."""
    path = folder / name
    write_json(path, manifest.sealed().model_dump(mode="json"))
    return path


def read_manifest(path: Path) -> Manifest:
    """Read a manifest (or the one in a folder); DataError when it is missing, malformed or was edited by hand."""
    path = path / FILE_NAME if path.is_dir() else path
    document = read_json(path, "manifest")
    if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
        version = document.get("schema_version") if isinstance(document, dict) else None
        raise DataError(f"manifest {path}: schema version {version!r}, this omp reads {SCHEMA_VERSION}")
    manifest = checked(Manifest, document, f"manifest {path}")
    try:
        seal = seal_of(document)
    except RecursionError:
        raise DataError(f"manifest {path}: nested too deeply") from None
    if manifest.seal != seal:
        raise DataError(
            f"manifest {path}: content does not match its seal, so it was edited or damaged",
            "restore the original file, or repeat the run",
        )
    return _under_names_of_today(manifest)


def _under_names_of_today(manifest: Manifest) -> Manifest:
    """The manifest, where what an earlier omp called otherwise has its name of today: settings, and the policy's."""
    config, metrics = of_today(manifest.command, manifest.config), manifest.metrics
    policy = metrics.get("policy")
    if isinstance(policy, dict) and isinstance(settings := policy.get("settings"), dict):
        metrics = {**metrics, "policy": {**policy, "settings": of_today(manifest.command, settings)}}
    return manifest.model_copy(update={"config": config, "metrics": metrics})


def json_schema() -> dict[str, Any]:
    """JSON Schema of a manifest; ships as ``omp_cli/core/base/manifest.schema.json``."""
    return Manifest.model_json_schema()


def check_artifacts(folder: Path, manifest: Manifest) -> None:
    """DataError when an artifact is missing or its content is not what the manifest says."""
    for artifact in manifest.artifacts:
        path = folder / artifact.path
        if not path.exists():
            raise DataError(f"artifact {path}: missing")
        if sha256_of(path) != artifact.sha256:
            raise DataError(f"artifact {path}: content differs from the manifest's hash")


def remove_artifacts(folder: Path, manifest: Manifest, but: Collection[str] = ()) -> None:
    """Remove what a run has written into its folder; what was changed since, or lies elsewhere, is somebody else's.

    Args:
        folder: the run's folder.
        manifest: of the run.
        but: paths of artifacts, as the manifest has them, that stay.
    """
    for artifact in manifest.artifacts:
        path = folder / artifact.path
        inside = folder.resolve() in path.resolve().parents
        if artifact.path not in but and inside and path.exists() and sha256_of(path) == artifact.sha256:
            remove(path)


def check_artifact(folder: Path, path: Path) -> None:
    """Compare something in a run's folder with what the run's manifest says of it, if it says anything.

    A folder without a manifest, with one that cannot be read, or with that of a run that has not finished says nothing.

    Raises:
        DataError: the content is not what the run wrote.
    """
    try:
        artifacts = read_manifest(folder).artifacts if (folder / FILE_NAME).is_file() else []
    except DataError:  # a run that was named is refused for it where it is opened; what lies in it stands on its own
        return
    if any(a.path == path.relative_to(folder).as_posix() and a.sha256 != sha256_kept(path) for a in artifacts):
        raise DataError(
            f"{path}: content differs from the hash in the manifest of its run, so it was changed or is damaged",
            "restore the original files, or repeat the run",
        )


def run_folders(folder: Path) -> Iterator[Path]:
    """Folders with a manifest, at and below a folder, also through links."""
    for place, below, files in walk(folder):
        of_no_run = OF_NO_RUN if FILE_NAME in files else ()
        below[:] = sorted(n for n in below if n not in of_no_run and not n.endswith(".zarr") and not n.startswith("."))
        if FILE_NAME in files:
            yield place


def latest_run(folder: Path, *commands: str, note: Callable[[str], None] = lambda _: None) -> Path | None:
    """Folder of the newest succeeded run of one of ``commands`` below ``folder``.

    Manifests that cannot be read do not count; ``note`` is called with a line for each.
    """
    finished: dict[Path, float] = {}
    for run in run_folders(folder):
        path = run / FILE_NAME
        try:
            manifest = read_manifest(path)
            if manifest.command in commands and manifest.status == "succeeded" and manifest.finished_at is not None:
                finished[run] = datetime.datetime.fromisoformat(manifest.finished_at).timestamp()
        except DataError as error:
            note(f"passed over: {error.message}")
        except (ValueError, OverflowError):
            note(f"passed over: manifest {path}: finished_at is no time")
    return max(finished, key=finished.__getitem__, default=None)


def now() -> str:
    """The present moment, UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python, omp and the packages that are installed; imports none of them."""
    found = {"python": platform.python_version(), "omp": __version__}
    installed = {package: _version(package) for package in packages}
    return found | {package: version for package, version in installed.items() if version is not None}


@functools.cache
def _version(package: str) -> str | None:
    """Read once per process: the records of ten packages take longer than all else that a manifest begins with."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def hardware(device: str = "cpu", threads: int | None = None) -> Hardware:
    """What this machine is, read without importing anything heavy."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return Hardware(
        platform=f"{platform.system()} {platform.machine()}",
        cpu=_cpu_name(),
        cores=cores(),
        memory_gib=round(pages / 2**30, 1),
        device=device,
        threads=threads,
    )


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if sys.platform == "linux" and info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
