"""robosuite's own raw recordings: checked, completed where they are older, damage in one line."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest

from omp_cli.core.base.errors import DataError
from omp_cli.core.suites.robomimic.scene import completed
from tests.cli.test_bad_input import refused
from tests.conftest import Omp

h5py = pytest.importorskip("h5py")
FOUND = find_spec("robosuite")
PACKAGED = Path(FOUND.origin or "").parent / "models/assets/demonstrations/lift/demo.hdf5" if FOUND else Path()
NEEDED = pytest.mark.skipif(not PACKAGED.is_file(), reason="robosuite is not installed")
OWN = """<mujoco><worldbody>
<body name="a"><joint name="j"/><geom name="g"/><geom name="new" size="1"/></body></worldbody></mujoco>"""
OLD = OWN.replace('<geom name="new" size="1"/>', "")


def test_only_geoms_of_the_same_bodies_are_added() -> None:
    whole, added = completed(OLD, OWN)
    assert added == ("new",)
    geoms = ElementTree.fromstring(whole).findall(".//body[@name='a']/geom")
    assert [geom.get("name") for geom in geoms] == ["g", "new"]
    assert completed(OWN, OWN) == (OWN, ()), "the very same text"
    other = OLD.replace('name="a"', 'name="b"')
    assert completed(other, OWN) == (other, ()), "of another robot"
    with pytest.raises(DataError, match="includes other files"):
        completed(OWN.replace("<worldbody>", '<include file="/etc/hosts"/><worldbody>'), OWN)


ASSET = '<asset><mesh name="m" file="/home/a/robosuite/robosuite/models/assets/arenas/../m.stl"/></asset>'
MODEL = (
    f"""<mujoco>{ASSET}<worldbody><geom/><body name="a"><joint name="j"/><geom name="g"/></body></worldbody></mujoco>"""
)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name="g"', 'name="other"', "has the geoms other, which robosuite's own scene of the task has not"),
        ('<geom name="g"/>', '<geom name="g"/><geom name="more"/>', "has the geoms more"),
        ('<geom name="g"/>', "<geom/>", "has 1 more geoms without a name"),
        ('<joint name="j"/>', '<body name="b"><geom name="wall"/></body>', "has the geoms wall"),
        (ASSET, "", "has no asset"),
        ("worldbody>", "world>", "has no worldbody"),
        ("/home/a/robosuite/robosuite/models/assets", "/etc", "its mesh is of the file /etc/arenas/../m.stl"),
        ("arenas/../m.stl", "../../../m.stl", "none of robosuite's"),
        ("/home/a/robosuite/robosuite/models", "/home/a/robosuite/../../etc/xrobosuite", "none of robosuite's"),
        ("/home/a/robosuite/robosuite/models", "/home/a/myrobosuite", "none of robosuite's"),
        ("<worldbody>", '<worldbody><frame file="/etc/hosts"/>', "its frame is of the file /etc/hosts"),
        ('<mesh name="m" file=', '<texture name="m" fileright=', "its texture is of the file"),
    ],
)
def test_a_scene_that_is_not_the_tasks_own_is_refused(old: str, new: str, words: str) -> None:
    assert completed(MODEL, MODEL) == (MODEL, ())
    with pytest.raises(DataError) as refused:
        completed(MODEL.replace(old, new), MODEL)
    assert words in refused.value.message
    assert refused.value.hint


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """The first frames of one of people's demonstrations."""
    file = tmp_path / "demo.hdf5"
    shutil.copy(PACKAGED, file)
    with h5py.File(file, "r+") as content:
        for name in ("demo_2", "demo_3"):
            del content["data"][name]
        for name in ("states", "actions"):
            first = content[f"data/demo_1/{name}"][:3]
            del content[f"data/demo_1/{name}"]
            content[f"data/demo_1/{name}"] = first
    return file


def line(file: Path, *more: object) -> tuple[object, ...]:
    return ("prepare", "robomimic", "--file", file, "--set", "format.cameras=[]", "--workers", 1, *more)


@NEEDED
def test_an_older_scene_is_completed_and_it_is_said(omp: Omp, tmp_path: Path, short: Path) -> None:
    done = omp(*line(short, "--json", "--out", tmp_path / "d"))
    assert done.code == 0, done.err
    assert (done.json["result"]["task"], done.json["result"]["frames"]) == ("lift", 3)
    assert any("robot0_link7_collision" in sentence for sentence in done.json["result"]["said"])


@NEEDED
@pytest.mark.parametrize(
    ("where", "old", "new", "code", "words"),
    [
        ("model_file", None, "scene.xml", 3, "expected the model's XML itself"),
        ("model_file", "</mujoco>", "", 3, "does not load"),
        ("model_file", "<worldbody>", "<worldbody><geom type='odd'/>", 3, "does not load"),
        ("model_file", "<worldbody>", "<include file='x.xml'/><worldbody>", 3, "includes other files"),
        ("model_file", "robosuite/models", "elsewhere", 3, "does not load"),
        ("model_file", 'name="cube_g0"', 'name="cubx_g0"', 3, "demo.hdf5: episode 0: a recorded scene does not load"),
        ("env_info", '"fixed"', '"variable"', 2, 'impedance_mode is "variable", and omp can only roll out "fixed"'),
        ("env_info", '"Panda"', '["Panda", "Panda"]', 2, "2 of Panda, and the task has 1"),
        ("env_info", "Lift", "Stack", 2, "holds Stack (env_name among"),
        ("env_info", "OSC_POSE", "JOINT_VELOCITY", 2, "JOINT_VELOCITY"),
        ("env_info", "Panda", "Sawyer", 2, "Sawyer"),
        ("env", "Lift", "Stack", 2, "holds Stack"),
    ],
)
def test_what_does_not_fit_is_one_line(
    omp: Omp, tmp_path: Path, short: Path, where: str, old: str | None, new: str, code: int, words: str
) -> None:
    with h5py.File(short, "r+") as content:
        owner = content["data/demo_1"] if where == "model_file" else content["data"]
        owner.attrs[where] = new if old is None else owner.attrs[where].replace(old, new)
        assert where != "env_info" or json.loads(owner.attrs[where])
    refused(omp(*line(short, "--out", tmp_path / "d", "--task", "lift")), code, words)


@NEEDED
def test_actions_of_another_length_are_one_line(omp: Omp, tmp_path: Path, short: Path) -> None:
    with h5py.File(short, "r+") as content:
        cut = content["data/demo_1/actions"][:, :6]
        del content["data/demo_1/actions"]
        content["data/demo_1/actions"] = cut
    words = "demo.hdf5: episode 0: its actions have 6 numbers, and those of lift have 7"
    refused(omp(*line(short, "--out", tmp_path / "d", "--task", "lift")), 3, words)


def test_the_packaged_recording_is_of_lift(omp: Omp, tmp_path: Path) -> None:
    refused(omp("prepare", "robomimic", "--source", "robosuite", "--task", "can"), 2, "of lift, not of can")
    shown = omp("prepare", "robomimic", "--source", "robosuite", "--dry-run", "--json")
    assert shown.code == (0 if PACKAGED.is_file() else 4)
    if shown.code == 0:
        assert shown.json["files"] == str(PACKAGED)
