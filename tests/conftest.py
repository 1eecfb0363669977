"""Fixtures: a toy data set and a trained toy run, made once; the command line in this process and in its own."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from omp_cli import app
from omp_cli.core.base.plugins import loaded_plugins, module_name
from omp_cli.core.families import ALGORITHMS, ENCODERS, FORMATS, METHODS, NETS, SOURCES, SUITES

torch.set_num_threads(1)

TINY = ["--set", "encoder.channels=[8, 16]", "--set", "encoder.points=32", "--set", "net.hidden=32"]
TINY += ["--set", "train.log_every=5", "--set", "train.checkpoint_every=10"]


def pytest_collection_finish() -> None:
    """Modules and collected tests stay to the end: the garbage collector need not walk over them every few tests."""
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document on stdout."""
        return json.loads(self.out)


Omp = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _plugins_of_one_test_alone() -> Iterator[None]:
    """What a test's own plugins have registered is gone after it: other tests see the families as they are."""
    before, importable = set(loaded_plugins()), list(sys.path)
    yield
    forget_plugins(set(loaded_plugins()) - before)
    sys.path[:] = importable


def forget_plugins(files: set[Path]) -> None:
    """Take back what these plugins have registered."""
    modules = {module_name(file) for file in files}
    for family in (ALGORITHMS, ENCODERS, FORMATS, METHODS, NETS, SOURCES, SUITES):
        for name, member in list(family._members.items()):
            if member.__module__ in modules:
                del family._members[name]
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def omp(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Omp:
    """Run the entry point in this process: ``omp("eval", "--json")``."""
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["omp", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            app.main()
        captured = capsys.readouterr()
        return Ran(int(stop.value.code or 0), captured.out, captured.err)

    return run


def omp_process(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    """Start ``python -m omp_cli`` as a process of its own, which Ctrl-C reaches even if this one runs in background."""
    return subprocess.Popen(
        [sys.executable, "-m", "omp_cli", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@contextmanager
def held_by_another(folder: Path) -> Iterator[int]:
    """A process, whose id is given, holds the folder as ``core.locks`` does."""
    code = "import sys; from pathlib import Path; from omp_cli.core.base.locks import hold\n"
    code += "with hold(Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    line = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid


def in_process(folder: Path, *arguments: object) -> None:
    """Run a command for a session fixture, which may not use the function-scoped ones."""
    old_argv, old_cwd = sys.argv, Path.cwd()
    sys.argv = ["omp", "--quiet", "--json", *map(str, arguments)]
    os.chdir(folder)
    try:
        app.main()
    except SystemExit as stop:
        assert not stop.code, f"omp {arguments} ended with {stop.code}"
    finally:
        sys.argv = old_argv
        os.chdir(old_cwd)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a toy data set of eight demonstrations (``toy``) and a run of 30 steps on it (``run``)."""
    folder = tmp_path_factory.mktemp("workshop")
    in_process(folder, "prepare", "toy", "--demos", 8, "--points", 48, "--workers", 1, "--out", "toy")
    in_process(folder, "pretrain", "toy", "--steps", 30, *TINY, "--out", "run")
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy data set of two demonstrations with clouds and pictures; not to be written to."""
    folder = tmp_path_factory.mktemp("pictures")
    in_process(folder, "prepare", "toy", "--images", "--demos", 2, "--points", 48, "--workers", 1, "--out", "toy")
    return folder / "toy"


@pytest.fixture
def robomimic_envs(monkeypatch: pytest.MonkeyPatch) -> None:
    """robomimic 0.3's environments load: mujoco_py, which they import without need, is stood in for."""
    pytest.importorskip("robomimic")
    builder = types.ModuleType("mujoco_py.builder")
    builder.MujocoException = Exception  # type: ignore[attr-defined]
    package = types.ModuleType("mujoco_py")
    package.builder = builder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mujoco_py", package)
    monkeypatch.setitem(sys.modules, "mujoco_py.builder", builder)
    from robomimic.utils.obs_utils import initialize_obs_utils_with_obs_specs

    initialize_obs_utils_with_obs_specs({"obs": {"low_dim": ["robot0_eef_pos"], "rgb": []}})


@pytest.fixture
def toy(workshop: Path, tmp_path: Path) -> Path:
    """A private copy of the toy data set's folder."""
    return Path(shutil.copytree(workshop / "toy", tmp_path / "toy"))


@pytest.fixture
def run(workshop: Path, tmp_path: Path) -> Path:
    """A private copy of the trained run's folder."""
    return Path(shutil.copytree(workshop / "run", tmp_path / "run"))
