"""Code of the user's own: files that register members of a family (``--plugin FILE``) or make a robot (``--env``)."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from omp_cli.core.base.errors import DataError, OmpError, RunFailed, UsageError, one_line

_PREFIX = "omp_plugin_"


def load_plugin(path: Path) -> None:
    """Import a Python file of the user's that registers members of a family (``--plugin FILE``).

    Raises:
        DataError: there is no such file.
        UsageError: it is no Python file, or a folder, or it cannot be executed.
    """
    if path.is_dir():
        raise UsageError(f"plugin {path}: a folder", "name a Python file in it; it can import what lies beside it")
    if not path.is_file():
        raise DataError(f"plugin {path}: no such file")
    with users_code(f"plugin {path}", UsageError):
        import_file(path)


def loaded_plugins() -> tuple[Path, ...]:
    """The user's files that have been imported here, for the worker processes to do the same."""
    return tuple(Path(str(m.__file__)) for name, m in list(sys.modules.items()) if name.startswith(_PREFIX))


def users_files() -> tuple[Path, ...]:
    """The files that have been imported here, then those beside them that have been, too."""
    if not (plugins := loaded_plugins()):
        return ()
    folders = {path.parent for path in plugins}
    files = (Path(file) for m in list(sys.modules.values()) if (file := getattr(m, "__file__", None)))
    return tuple(dict.fromkeys([*plugins, *sorted(f for f in files if f.parent in folders and f.is_file())]))


def module_name(path: Path) -> str:
    """The name under which ``import_file`` imports a file: of its resolved path, so that all processes agree on it."""
    file = path.resolve()
    stem, digest = re.sub(r"\W", "_", file.stem), hashlib.sha256(os.fsencode(file)).hexdigest()
    return f"{_PREFIX}{stem}_{digest[:8]}"


def import_file(path: Path) -> ModuleType:
    """The module of a Python file, which is executed once in a process; it can import modules that lie beside it.

    Raises:
        UsageError: it is no Python file.
        Exception: whatever the file raises.
    """
    name, file = module_name(path), path.resolve()
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: not a Python file")
    importable(file.parent)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # half a module is none
        raise
    return module


def importable(folder: Path) -> None:
    """Let modules of a folder be imported in this process, after all that is installed."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def raised_in(error: BaseException, folders: Collection[Path] = ()) -> str:
    """File and line of the user's own in which an error arose, or what it called failed; "" where none is on the way.

    Files of the user's own are the imported ones and those that lie beside them, and those in ``folders``.
    """
    own = {*folders, *(path.parent for path in loaded_plugins())}
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).parent in own]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def way_there(error: BaseException, folders: Collection[Path] = (), otherwise: str = "--verbose shows where") -> str:
    """The hint that says where in the user's own code an error arose (``raised_in``); ``otherwise`` if it did not."""
    where = raised_in(error, folders)
    return f"raised in {where}; --verbose shows the way there" if where else otherwise


def folders_of(*things: Any) -> set[Path]:
    """The folders of the files in which functions, and the classes of objects, are.

    Not those of omp and of Gymnasium, whose wrappers lie around everybody's code.
    """
    names = {getattr(thing, "__module__", None) or type(thing).__module__ for thing in things}
    others = (sys.modules.get(name) for name in names if name.partition(".")[0] not in ("omp_cli", "gymnasium"))
    return {Path(file).parent for module in others if (file := getattr(module, "__file__", None))}


@contextmanager
def users_code(what: str, kind: type[OmpError] = RunFailed, folders: Collection[Path] = ()) -> Iterator[None]:
    """Tell what code of the user's own raises in one line, after ``what`` was called; that it ends the process, too.

    Args:
        what: was called.
        kind: of the error.
        folders: of files that are the user's own beside the imported ones; see ``raised_in``.
    """
    try:
        yield
    except OmpError:
        raise
    except (Exception, SystemExit) as error:
        raise kind(f"{what}: {one_line(error, typed=True)}", way_there(error, folders)) from error
