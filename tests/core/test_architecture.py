"""The rooms and the direction of their dependencies, read from the imports."""

import ast
import collections
import functools
import itertools
from pathlib import Path

import pytest

import omp_cli
from omp_cli.core.families import SOURCES, SUITES
from omp_cli.core.prepare.choose import own_sources
from omp_cli.core.prepare.source import EXPERT, FILES, RECORD

ROOT = Path(omp_cli.__file__).parent
BASE = {"base", "families", "relative", "rotations", "spec"}
ALLOWED = {
    "base": {"base"},
    "methods": BASE | {"methods"},
    "nets": BASE | {"nets"},
    "encoders": BASE | {"encoders"},
    "clouds": BASE | {"clouds"},
    "data": BASE | {"data"},
    "suites": BASE | {"suites", "clouds", "data"},
    "benchmarks": BASE
    | {"benchmarks", "suites", "clouds", "data", "envs", "prepare", "experts"},  # the folders in suites/
    "experts": BASE | {"experts", "suites", "data", "checkpoint", "deploy"},
    "envs": BASE | {"envs", "suites", "data"},
    "prepare": BASE | {"prepare", "envs", "suites", "clouds", "data", "experts"},
    "train": BASE | {"train", "policy", "policy_config", "checkpoint", "data", "methods"},
    "measure": BASE
    | {"measure", "policy", "policy_config", "checkpoint", "envs", "suites", "data", "encoders"}
    | {"deploy", "methods", "nets", "clouds", "train"},
    "deploy": BASE | {"deploy", "policy", "policy_config", "checkpoint", "methods", "data", "envs"},
    "report": BASE | {"report", "measure", "suites", "policy_config"},
    "rl": BASE
    | {"rl", "policy", "policy_config", "checkpoint", "methods", "nets", "encoders", "envs", "suites", "data"}
    | {"measure", "train"},
    "sweep": BASE | {"sweep", "suites"},
    "policy": BASE | {"methods", "nets", "encoders", "data", "policy_config"},
    "policy_config": BASE | {"data"},
    "families": BASE | {"data", "encoders", "methods", "nets", "prepare", "rl", "suites"},  # for the type checker alone
    "checkpoint": BASE | {"policy", "policy_config", "data"},
    "inventory": BASE | {"data"},
    "view": BASE | {"view", "data"},
    "relative": {"base", "rotations", "spec"},
    "rotations": {"spec"},
    "spec": {"base"},
}
# Within base/, what stands on what
WITHIN_BASE = {
    "config": {"errors", "layers", "seeds"},
    "deviations": {"config", "layers", "presets"},
    "device": {"errors"},
    "errors": set(),
    "files": {"errors"},
    "flags": {"config", "layers"},
    "layers": {"errors"},
    "locks": {"errors", "files", "manifest"},
    "manifest": {"config", "errors", "files", "layers", "processes"},
    "memory": set(),
    "paired": {"statistics", "table"},
    "papers": set(),
    "plugins": {"errors"},
    "processes": {"plugins"},
    "presets": {"errors", "layers"},
    "progress": set(),
    "registry": {"config", "errors", "plugins"},
    "run": {"errors", "files", "locks", "manifest", "plugins"},
    "seeds": set(),
    "signals": {"errors"},
    "statistics": set(),
    "table": set(),
    "tensors": {"errors"},
    "timing": set(),
}
MODULES = sorted(ROOT.rglob("*.py"))
CORE = [m for m in MODULES if m.relative_to(ROOT).parts[0] == "core" and m.parent.name != "core"] + [
    m for m in (ROOT / "core").glob("*.py") if m.stem != "__init__"
]


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    """A module and all that is in it."""
    return list(ast.walk(ast.parse(path.read_text())))


@functools.cache
def imports(path: Path) -> list[tuple[str, int]]:
    """Imported dotted names and their column (0: at module level)."""
    found = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.col_offset) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module in ("omp_cli.core", "omp_cli.core.base")
                else [node.module]
            )
            found += [(name, node.col_offset) for name in names]
    return found


def room(path: Path) -> str:
    return _room([part.removesuffix(".py") for part in path.relative_to(ROOT / "core").parts])


def _room(parts: list[str]) -> str:
    benchmark = parts[0] == "suites" and len(parts) > 1 and (ROOT / "core" / "suites" / parts[1]).is_dir()
    return "benchmarks" if benchmark else parts[0]


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_core_imports_point_one_way(path: Path) -> None:
    here = room(path)
    for name, _ in imports(path):
        if name.startswith("omp_cli.core."):
            assert _room(name.split(".")[2:]) in ALLOWED[here], f"{here} imports {name}"
        else:
            assert not name.startswith(("omp_cli.commands", "omp_cli.console", "typer", "rich")), name


@pytest.mark.parametrize("module", sorted(WITHIN_BASE))
def test_imports_within_the_base_point_one_way(module: str) -> None:
    taken = {name.split(".")[3] for name, _ in imports(ROOT / "core" / "base" / f"{module}.py") if ".base." in name}
    assert taken == WITHIN_BASE[module]


def test_every_module_of_the_base_is_in_its_table() -> None:
    assert {p.stem for p in (ROOT / "core" / "base").glob("*.py")} - {"__init__"} == set(WITHIN_BASE)


@pytest.mark.parametrize("path", [m for m in MODULES if m.parts[-2] in ("commands", "prepare", "sweep")])
def test_nothing_but_its_own_folder_knows_a_benchmark_by_name(path: Path) -> None:
    texts = {n.value for n in nodes(path) if isinstance(n, ast.Constant)}
    known = {*SUITES.names(), *SOURCES.names(), *itertools.chain(*own_sources().values())}
    assert not texts & known - {RECORD, FILES, EXPERT}


def test_no_class_has_the_name_of_another() -> None:
    found = [(node.name, path) for path in MODULES for node in nodes(path) if isinstance(node, ast.ClassDef)]
    counted = collections.Counter(name for name, _ in found if not name.startswith("_"))
    twice = {name for name, count in counted.items() if count > 1}
    assert not twice, [f"{name}: {path}" for name, path in found if name in twice]


@pytest.mark.parametrize("path", [m for m in MODULES if m.parent.name == "commands"])
def test_commands_import_at_their_top(path: Path) -> None:
    functions = [node for node in nodes(path) if isinstance(node, ast.FunctionDef)]
    assert not [n for f in functions for n in ast.walk(f) if isinstance(n, ast.Import | ast.ImportFrom)]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_packages_are_imported_where_they_are_needed(path: Path) -> None:
    heavy = ("mujoco", "metaworld", "open3d", "matplotlib", "zarr", "h5py", "scipy", "imageio")
    torch_rooms = {
        "methods",
        "nets",
        "encoders",
        "train",
        "measure",
        "policy",
        "checkpoint",
        "deploy",
        "rl",
        "relative",
        "rotations",
    }
    inside_core = "core" in path.relative_to(ROOT).parts and path.parent != ROOT
    light = not inside_core or (
        (path.stem != "__init__" or path.parent != ROOT / "core")
        and room(path) not in torch_rooms
        and path.stem != "device"
    )
    for name, column in imports(path):
        if column == 0:
            assert not name.startswith(heavy), f"{path} imports {name} at its top"
            assert not (light and name.split(".")[0] == "torch"), f"{path} imports torch at its top"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_fit_one_sitting_and_the_core_never_prints(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    calls = [n.func.id for n in nodes(path) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    assert "print" not in calls
    assert "pickle" not in [name for name, _ in imports(path)]
    module = nodes(path)[0]
    assert isinstance(module, ast.Module)
    assert ast.get_docstring(module) or not text.strip()
