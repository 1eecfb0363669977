"""Files of the user's own: what they may import, which of them are the same, and how their faults are told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from omp_cli.core.base.errors import RunFailed, UsageError
from omp_cli.core.base.files import sha256_of
from omp_cli.core.base.manifest import read_manifest
from omp_cli.core.base.plugins import import_file, load_plugin, loaded_plugins, module_name
from omp_cli.core.envs.jobs import in_order
from omp_cli.core.envs.workers import _answer
from tests.cli.test_bad_input import refused
from tests.conftest import TINY, Omp, forget_plugins

SUITE = """
from typing import Literal
from omp_cli.core.suites.base import SUITES
from omp_cli.core.suites.toy import Toy, ToyConfig

class Config(ToyConfig):
    name: Literal["{name}"] = "{name}"

@SUITES.register("{name}")
class Mine(Toy):
    Config = Config
"""


METHOD = """
from typing import Literal
from omp_cli.core.base.config import Settings
from omp_cli.core.methods import METHODS
from omp_cli.core.methods.reflow import ReFlow, ReFlowConfig

class MineConfig(ReFlowConfig):
    name: Literal["mine"] = "mine"

@METHODS.register("mine")
class Mine(ReFlow):
    Config = MineConfig
"""


def speed(name: str, kept: object) -> int:
    found: int = sys.modules[name].SPEED  # type: ignore[attr-defined]
    return found


def test_a_file_can_import_what_lies_beside_it_also_in_a_worker(tmp_path: Path) -> None:
    (tmp_path / "the_driver_of_mine.py").write_text("SPEED = 3\n")
    file = tmp_path / "my.parts.py"
    file.write_text("from the_driver_of_mine import SPEED\n")
    load_plugin(file)
    assert import_file(file).SPEED == 3
    assert sys.path[-1] == str(tmp_path), "what is installed comes first"
    load_plugin(file)
    assert sys.path.count(str(tmp_path)) == 1
    assert list(in_order(speed, [module_name(file)] * 2, 2, print)) == [3, 3]


def test_files_of_one_name_in_two_folders_are_two_and_one_file_is_executed_once(tmp_path: Path) -> None:
    files = [tmp_path / folder / "parts.py" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_text(
            "from pathlib import Path\nwith open(Path(__file__).with_suffix('.log'), 'a') as f: f.write('x')\n"
        )
    link = tmp_path / "link.py"
    link.symlink_to(files[0])
    for file in (*files, *files, link, tmp_path / "b" / ".." / "a" / "parts.py"):
        load_plugin(file)
    assert [file.with_suffix(".log").read_text() for file in files] == ["x", "x"]
    assert set(files) <= set(loaded_plugins())


def test_two_files_that_register_one_name_are_refused(tmp_path: Path) -> None:
    files = [tmp_path / folder / "parts.py" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_text(SUITE.format(name="twice"))
    load_plugin(files[0])
    with pytest.raises(UsageError, match="'twice' is registered twice") as caught:
        load_plugin(files[1])
    assert all(str(file) in caught.value.message for file in files)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import no_such_package_of_mine", "ModuleNotFoundError: No module named 'no_such_package_of_mine'"),
        ("def f(:", "SyntaxError: invalid syntax"),
        ("raise ValueError('my camera is off')", "ValueError: my camera is off"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
    ],
)
@pytest.mark.parametrize("by", ["line", "environment"])
def test_a_faulty_file_is_one_line_that_names_it(
    omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, told: str, by: str
) -> None:
    file = tmp_path / "faulty.py"
    file.write_text(f"\n{code}\n")
    line = ("--plugin", file, "runs", tmp_path) if by == "line" else ("runs", tmp_path)
    if by == "environment":
        monkeypatch.setenv("OMP_CLI_PLUGIN", str(file))
    refused(omp(*line), 2, f"plugin {file}: {told}", "--verbose shows where")
    assert module_name(file) not in sys.modules
    assert f'"{file}", line 2' in omp("--verbose", *line).err


def test_what_fails_later_in_a_file_is_told_with_its_line(omp: Omp, tmp_path: Path) -> None:
    file = tmp_path / "failing.py"
    file.write_text(
        SUITE.format(name="failing") + "\n    def spec(self, task):\n        return super().spec(task, 4)\n"
        "def fail(job, kept):\n    raise ValueError('my camera is off')\n"
    )
    line = ("prepare", "failing", "--demos", 1, "--workers", 1, "--plugin", file, "--out", tmp_path / "d")
    refused(omp(*line), 1, "TypeError: ", f"raised in {file}, line 14; --verbose shows the way there")
    with pytest.raises(RunFailed, match="ValueError: my camera is off") as caught:
        list(in_order(import_file(file).fail, [1, 2], 2, print))
    assert caught.value.hint == f"raised in {file}, line 16; --workers 1 --verbose shows where"


@pytest.mark.parametrize(
    ("number", "told", "advice"),
    [
        ("ENOENT", "calib.json: no such file or directory", ""),
        ("EACCES", "calib.json: permission denied", ""),
        ("ENOSPC", "calib.json: no space left on device", "free some space"),
    ],
)
def test_what_the_system_refuses_to_code_of_ones_own_is_told_with_its_line(
    omp: Omp, tmp_path: Path, number: str, told: str, advice: str
) -> None:
    file = tmp_path / "opening.py"
    file.write_text(
        SUITE.format(name="opening") + "\n    def spec(self, task):\n        calibrated()\n"
        f"import errno\ndef calibrated():\n    raise OSError(errno.{number}, '', 'calib.json')\n"
    )
    line = ("prepare", "opening", "--demos", 1, "--workers", 1, "--plugin", file, "--out", tmp_path / "d")
    refused(omp(*line), 1, told, advice, f"raised in {file}, line 17; --verbose shows the way there")
    answer = _answer(import_file(file).calibrated, ())
    assert isinstance(answer, RunFailed)
    assert "calib.json" in answer.message
    assert answer.hint.startswith(f"raised in {file}, line 17; {advice}")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('@METHODS.register("mine")', "@METHODS.register", "method of {file}: registered without a name"),
        (
            'Literal["mine"] = "mine"',
            'Literal["mien"] = "mien"',
            "method 'mine' of {file}: its Config, MineConfig",
        ),
        ("class Mine(ReFlow)", "class Mine", "method 'mine' of {file}: the class Mine does not derive from Method"),
        ("(ReFlowConfig):", ":", "method 'mine' of {file}: the class Mine has no Config, a subclass of Settings"),
        ("(ReFlow):", "(METHODS_BASE):", "method 'mine' of {file}: the class Mine does not define draw, jumps, loss"),
    ],
)
def test_a_class_that_lacks_what_its_family_has_is_refused_where_it_is_registered(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    file = tmp_path / "mine.py"
    assert old in METHOD
    file.write_text("from omp_cli.core.methods.base import Method as METHODS_BASE\n" + METHOD.replace(old, new))
    with pytest.raises(UsageError) as caught:
        load_plugin(file)
    assert caught.value.message.startswith(told.format(file=file))


def test_a_folder_is_no_plugin(omp: Omp, tmp_path: Path) -> None:
    refused(omp("--plugin", tmp_path, "runs"), 2, f"plugin {tmp_path}: a folder", "name a Python file in it")


def test_a_part_that_was_never_registered_is_told_so(omp: Omp, toy: Path, tmp_path: Path) -> None:
    (file := tmp_path / "mine.py").write_text(METHOD.replace('@METHODS.register("mine")', ""))
    line = ("pretrain", toy, "--method", "mine", "--plugin", file, "--dry-run")
    refused(omp(*line), 2, "unknown method 'mine'", 'one of your own needs @METHODS.register("NAME") above its class')
    refused(omp("pretrain", toy, "--method", "nothing-like-it", "--dry-run"), 2, "unknown method", "known: consistency")


def test_a_run_says_with_which_code_of_the_users_it_was_made(omp: Omp, toy: Path, tmp_path: Path) -> None:
    file, beside, run = tmp_path / "mine.py", tmp_path / "the_constants_of_mine.py", tmp_path / "run"
    file.write_text("import the_constants_of_mine\n" + METHOD)
    beside.write_text("SPEED = 3\n")
    line = ("pretrain", toy, "--method", "mine", *TINY, "--out", run, "--plugin", file)
    assert not omp(*line, "--steps", 1).code
    first = {i.path: i for i in read_manifest(run).inputs}
    assert [first[str(f)].kind for f in (file, beside)] == ["plugin", "import of a plugin"]
    assert first[str(file)].sha256 == sha256_of(file)

    forget_plugins({file})
    of_the_run = f"the run was made with --plugin {file}"
    refused(omp("eval", run), 3, "unknown method 'mine'", of_the_run)
    refused(omp("pretrain", "--resume", run, "--steps", 2), 2, f"{run}: unknown method 'mine'", of_the_run)

    file.write_text(file.read_text() + "OTHER = 4\n")
    told = f"{file}: changed since {run} was made with it"
    assert told in omp("eval", run, "--plugin", file, "--dry-run").err
    ran = omp("pretrain", "--resume", run, "--steps", 2, "--plugin", file)
    assert (ran.code, told in ran.err) == (0, True)
    both = [i.sha256 for i in read_manifest(run).inputs if i.path == str(file)]
    assert both == [first[str(file)].sha256, sha256_of(file)], "it keeps what worked on it before"
    assert "changed since" not in omp("eval", run, "--plugin", file, "--dry-run").err

    newest = file.read_text()
    file.write_text(newest.removesuffix("OTHER = 4\n"))
    assert told in omp("eval", run, "--plugin", file, "--dry-run").err, "the newest weights are of other code"
    file.write_text(newest)
    moved = tmp_path / "elsewhere" / file.name
    for path in (file, beside):
        moved.parent.mkdir(exist_ok=True)
        path.rename(moved.parent / path.name)
    forget_plugins({file})
    assert not omp("pretrain", "--resume", run, "--steps", 3, "--plugin", moved).code
    forget_plugins({moved})
    refused(omp("eval", run), 3, f"the run was made with --plugin {moved}")


def test_an_environment_of_a_plugin_that_is_missing_names_the_plugin_of_the_run(omp: Omp, tmp_path: Path) -> None:
    file, data, run = tmp_path / "mine.py", tmp_path / "data", tmp_path / "run"
    file.write_text(SUITE.format(name="shown"))
    always = ("--plugin", file)
    assert not omp("prepare", "shown", "--demos", 1, "--points", 48, "--workers", 1, "--out", data, *always).code
    assert not omp("pretrain", data, *TINY, "--steps", 1, "--out", run, *always).code
    forget_plugins({file})
    for command in ("eval", "finetune"):
        refused(omp(command, run), 4, "suite shown: there is data but no environment", f"made with --plugin {file}")

    file.write_text(file.read_text().replace("(ToyConfig):", "(ToyConfig):\n    wind: float"))
    told = omp("eval", run, *always, "--out", tmp_path / "e")
    refused(told, 3, f"checkpoint {run}/checkpoints/step-00000001: suite.wind", f"made with --plugin {file}")
    assert f"{file}: changed since {run} was made with it" in told.err

    other = 'default_task = "push"\n    def tasks(self): return ("push",)\n    def spec(self, task): return {}[task]\n'
    file.write_text(f"{SUITE.format(name='shown')}    {other}")
    forget_plugins({file})
    for command in ("eval", "finetune"):
        told = omp(command, run, *always, "--out", tmp_path / command)
        refused(told, 3, "suite shown has no task 'reach' here", f"made with --plugin {file}")
