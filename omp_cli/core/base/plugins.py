"""Files of the user's own that register members of a family (``--plugin FILE``)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from omp_cli.core.base.errors import DataError, UsageError

_PLUGIN = "omp_plugin_"


def load_plugin(path: Path) -> None:
    """Import a Python file of the user's that registers members of a family (``--plugin FILE``)."""
    if not path.is_file():
        raise DataError(f"plugin {path}: no such file")
    name = f"{_PLUGIN}{path.stem}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"plugin {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def loaded_plugins() -> tuple[Path, ...]:
    """The files that ``load_plugin`` has imported here, for the worker processes to do the same."""
    return tuple(Path(str(m.__file__)) for name, m in list(sys.modules.items()) if name.startswith(_PLUGIN))
