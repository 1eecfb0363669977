"""Files that someone else wrote: whatever is odd in them is understood, or one line that names the file."""

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import psutil
import pytest
import zarr

from omp_cli.core.base.errors import DataError, OmpError
from omp_cli.core.base.files import LFS_POINTER
from omp_cli.core.checkpoint import load_tensors
from omp_cli.core.data.foreign import affordable, json_lines
from omp_cli.core.data.readers.base import channels_last, sniff
from omp_cli.core.data.store import STORE, read_store, write_store
from tests.data.formats import ENV, write_d4rl, write_minari, write_npz, write_robomimic
from tests.data.test_readers import joined, read
from tests.prepare.test_convert import make

SHORT = (6, 5)


def refused(path: Path, suite: str, task: str, *words: str) -> DataError:
    with pytest.raises(DataError) as caught:
        read(path, suite, task)
    for word in (str(path.parent), *words):
        assert word in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 500
    return caught.value


def write_raw(path: Path) -> None:
    """robosuite's raw layout: states, actions and a model a demonstration; the environment in three attributes."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs.update({"env": "Lift", "repository_version": "1.4.0", "date": "1-1-2024"})
        data.attrs["env_info"] = json.dumps({"env_name": "Lift", "controller_configs": {"type": "OSC_POSE", "kp": 150}})
        for number, frames in enumerate(SHORT, 1):
            demo = data.create_group(f"demo_{number}")
            demo.attrs["model_file"] = "<mujoco model='base'></mujoco>"
            demo["states"], demo["actions"] = np.zeros((frames, 32)), np.zeros((frames, 7))


def test_robosuites_raw_layout_says_its_environment(tmp_path: Path) -> None:
    write_raw(tmp_path / "demo.hdf5")
    found = read(tmp_path / "demo.hdf5", "robomimic", "lift")
    assert (found.notes["env_name"], found.notes["env_version"]) == ("Lift", "1.4.0")
    assert found.notes["env_kwargs"]["controller_configs"]["kp"] == 150
    assert found.scenes == ["<mujoco model='base'></mujoco>"] * 2
    with h5py.File(tmp_path / "demo.hdf5", "a") as file:
        del file["data/demo_2"].attrs["model_file"]
    assert "1 demonstrations have no model_file" in read(tmp_path / "demo.hdf5", "robomimic", "lift").said[0]


@pytest.mark.parametrize(
    ("env_info", "unsaid"),
    [(None, "robots and controller"), ({"robots": "Panda", "controller_configs": {"type": "OSC_POSE"}}, "")],
)
def test_what_a_raw_file_does_not_say_of_its_robots_is_told(tmp_path: Path, env_info: Any, unsaid: str) -> None:
    write_raw(tmp_path / "demo.hdf5")
    with h5py.File(tmp_path / "demo.hdf5", "a") as file:
        del file["data"].attrs["env_info"]
        if env_info is not None:
            file["data"].attrs["env_info"] = json.dumps(env_info)
    found = read(tmp_path / "demo.hdf5", "robomimic", "lift")
    told = f"the file does not say its {unsaid}: taken to be as in robomimic's data sets"
    assert found.said == ((told,) if unsaid else ())


VALUES: dict[str, Any] = {
    "missing": None,
    "null": "null",
    "JSON list": "[1, 2]",
    "JSON number": "7",
    "JSON text": '"x"',
    "JSON huge": "9" * 400,
    "JSON deep": "[" * 50_000,
    "cut JSON": '{"env_name": "Li',
    "text": "model_1.xml",
    "two lines": "a\nb\n" * 40,
    "empty text": "",
    "bytes": np.bytes_(b"\xff\xfe\x00x"),
    "number": 77,
    "float": 2.5,
    "not a number": float("nan"),
    "list": np.arange(3),
    "texts": ["a", "b"],
    "empty": h5py.Empty("f"),
    "empty list": np.zeros(0),
    "struct": np.zeros(2, [("a", "f4")]),
    "void": np.void(b"abc"),
    "complex": 1j,
}
OF_DATA = ("env", "env_info", "repository_version", "env_args", "omp", "total")


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("name", [*OF_DATA, "model_file", "num_samples"])
def test_attributes_of_any_kind_are_understood_or_one_line(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "demo.hdf5"
    write_raw(path)
    with h5py.File(path, "a") as file:
        owner = file["data"] if name in OF_DATA else file["data/demo_2"]
        owner.attrs.pop(name, None)
        if VALUES[value] is not None:
            owner.attrs[name] = VALUES[value]
    if value == "missing":
        assert len(read(path, "robomimic", "lift").episodes) == 2
        return
    try:
        read(path, "robomimic", "lift")
    except OmpError as error:
        assert error.exit_code in (2, 3)
        assert str(path) in error.message
        assert "\n" not in error.message
        assert len(error.message) < 400
    else:
        assert name in ("env", "repository_version")
        assert isinstance(VALUES[value], str), "text is all that they are"


INSIDE: dict[str, Any] = {
    "null": None,
    "list": [1],
    "lists": [[1], {}],
    "number": 7,
    "huge": 10**400,
    "infinite": float("inf"),
    "negative": -1,
    "text": "fast",
    "empty": "",
    "true": True,
    "object": {"type": 5},
    "nested": {"body_parts": [1]},
    "parts": {"body_parts": {"right": 3}},
}
PLACES = ("env_name", "env_version", "env_kwargs", "control_freq", "controller_configs")
PLACES += ("kp", "damping_ratio", "output_max", "control_delta", "input_type", "type")
PLACES += (
    "robots",
    "input_max",
    "output_min",
    "impedance_mode",
    "interpolation",
    "uncouple_pos_ori",
    "input_ref_frame",
)


@pytest.mark.parametrize("value", INSIDE)
@pytest.mark.parametrize("place", PLACES)
def test_metadata_of_any_kind_are_understood_or_one_line(tmp_path: Path, place: str, value: str) -> None:
    env = json.loads(
        json.dumps({**ENV, "env_kwargs": {"control_freq": 20, "controller_configs": {"type": "OSC_POSE"}}})
    )
    kwargs = env["env_kwargs"]
    owner = env if place in env else kwargs if place in kwargs else kwargs["controller_configs"]
    owner[place] = INSIDE[value]
    write_robomimic(tmp_path / "can.hdf5", SHORT, env=env)
    try:
        make(tmp_path / "d", tmp_path / "can.hdf5", task="can")
    except OmpError as error:
        assert error.exit_code in (2, 3)
        assert "can.hdf5" in error.message or "controller" in error.message
        assert "\n" not in error.message
    else:
        assert read_store(tmp_path / "d").provenance["episode_steps"] == list(SHORT)


def outside(path: Path) -> Path:
    """Another file of the machine, of the same layout."""
    other = path.with_name("other.hdf5")
    write_robomimic(other, SHORT)
    return other


LINKS = ("data", "mask", "data/demo_0", "data/demo_1/obs", "data/demo_0/obs/robot0_eef_pos", "data/demo_0/extra")


@pytest.mark.parametrize("place", LINKS)
def test_links_out_of_an_hdf5_file_are_refused(tmp_path: Path, place: str) -> None:
    path = tmp_path / "can.hdf5"
    write_robomimic(path, SHORT)
    other = outside(path)
    with h5py.File(path, "a") as file:
        file.pop(place, None)
        file[place] = h5py.ExternalLink(
            str(other), "/data/demo_0/obs/robot0_eef_pos" if "eef" in place else f"/{place}"
        )
    with pytest.raises(DataError, match=r"can\.hdf5: .* is a link to another file"):
        sniff(path)


def test_soft_links_stay_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "can.hdf5"
    demos = write_robomimic(path, SHORT)
    with h5py.File(path, "a") as file:
        file.move("data/demo_0/actions", "data/demo_0/a")
        file["data/demo_0/actions"] = h5py.SoftLink("/data/demo_0/a")
    np.testing.assert_array_equal(
        read(path, "robomimic", "can").episodes[0]["action"], demos[0]["actions"].astype(np.float32)
    )
    with h5py.File(path, "a") as file:
        del file["data/demo_0/a"]
    refused(path, "robomimic", "can", "demo_0/actions is missing")


@pytest.mark.parametrize("how", ["external", "virtual"])
@pytest.mark.parametrize("place", ["data/demo_1/actions", "data/demo_0/obs/robot0_eef_quat", "data/demo_0/rewards"])
def test_numbers_that_lie_in_other_files_are_refused(tmp_path: Path, how: str, place: str) -> None:
    path = tmp_path / "can.hdf5"
    write_robomimic(path, SHORT)
    (tmp_path / "secret").write_bytes(bytes(10_000))
    other = outside(path)
    with h5py.File(path, "a") as file:
        shape = file[place].shape
        del file[place]
        if how == "external":
            file.create_dataset(place, shape, "f8", external=[(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)])
        else:
            layout = h5py.VirtualLayout(shape, "f8")
            layout[...] = h5py.VirtualSource(str(other), place, shape)
            file.create_virtual_dataset(place, layout)
    refused(path, "robomimic", "can", place, "in other files")


def set_attribute(place: str, name: str, value: Any) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        with h5py.File(path, "a") as file:
            file[place].attrs[name] = value

    return edit


def moved(old: str, new: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        with h5py.File(path, "a") as file:
            file.move(old, new)

    return edit


def metadata(text: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        path.with_name("metadata.json").write_text(text)

    return edit


def huge(place: str, shape: tuple[int, ...]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        with h5py.File(path, "a") as file:
            del file[place]
            file.create_dataset(place, shape, "f4", chunks=(1, 1))

    return edit


COUNTS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "total": ("robomimic", set_attribute("data", "total", 12), "have 11 actions, total says 12"),
    "total is text": ("robomimic", set_attribute("data", "total", "11"), "expected a whole number"),
    "num_samples": ("robomimic", set_attribute("data/demo_1", "num_samples", 4), "5 actions, num_samples says 4"),
    "a demonstration left": ("robomimic", moved("data/demo_1", "data/second"), "have 6 actions, total says 11"),
    "twice": ("robomimic", moved("data/demo_1", "data/demo_00"), "both demo_00 and demo_0"),
    "superscript": ("robomimic", moved("data/demo_1", "data/demo_\u00b2"), "expected demo_<number>"),
    "digits": ("robomimic", moved("data/demo_1", "data/demo_" + "9" * 5000), "expected demo_<number>"),
    "a key": ("robomimic", moved("data/demo_1/obs/robot0_eef_pos", "data/x"), "obs/robot0_eef_pos is missing"),
    "minari total": ("minari", metadata('{"total_episodes": 3}'), "2 episodes in it, and 3 by its total_episodes"),
    "minari old total": ("minari", set_attribute("/", "total_episodes", 1), "and 1 by its total_episodes"),
    "minari steps": ("minari", set_attribute("episode_1", "total_steps", 9), "5 actions, and 9 by its total_steps"),
    "minari gap": ("minari", moved("episode_0", "episode_7"), "not numbered from 0 without a gap"),
    "minari list": ("minari", metadata("[]"), "metadata.json is a list, expected a JSON object"),
    "minari deep": ("minari", metadata("[" * 100_000), "metadata.json: nested too deeply"),
    "minari env": ("minari", metadata('{"env_spec": "[]"}'), "env_spec: a list, expected a JSON object"),
    "minari id": ("minari", metadata('{"env_spec": {"id": {}}}'), "id is an object, expected text"),
    "bomb": ("d4rl", huge("observations", (10**11, 11)), "observations declares 4.4e+03 GB, of which the file holds"),
    "wide bomb": ("d4rl", huge("actions", (15, 1_666_666_667)), "actions declares 100 GB"),
    "bomb of a demonstration": ("robomimic", huge("data/demo_0/obs/robot0_eef_pos", (6, 10**9)), "eef_pos declares"),
}


@pytest.mark.parametrize("how", COUNTS)
def test_counts_and_sizes_are_those_that_the_file_declares(tmp_path: Path, how: str) -> None:
    kind, edit, words = COUNTS[how]
    suite, task, path = "robomimic", "can", tmp_path / "f.hdf5"
    if kind == "robomimic":
        write_robomimic(path, SHORT)
    elif kind == "d4rl":
        suite, task = "gym", "hopper-medium"
        write_d4rl(path, SHORT)
    else:
        suite, task, path = "kitchen", "mixed", tmp_path / "main_data.hdf5"
        write_minari(tmp_path, SHORT)
    edit(path)
    refused(path, suite, task, words)


@pytest.mark.parametrize("kind", ["robomimic", "d4rl", "minari"])
@pytest.mark.parametrize("how", ["missing", "column"])
def test_rewards_may_be_missing_or_a_column(tmp_path: Path, kind: str, how: str) -> None:
    path, suite, task, name = tmp_path / "f.hdf5", "robomimic", "can", "data/demo_{}/rewards"
    if kind == "robomimic":
        write_robomimic(path, SHORT)
    elif kind == "d4rl":
        suite, task, name = "gym", "hopper-medium", "rewards"
        write_d4rl(path, SHORT)
    else:
        suite, task, path, name = "kitchen", "mixed", tmp_path / "main_data.hdf5", "episode_{}/rewards"
        write_minari(tmp_path, SHORT)
    before = read(path, suite, task)
    with h5py.File(path, "a") as file:
        for place in {name.format(0), name.format(1)}:
            values = file.pop(place)[()] if place in file else None
            if how == "column":
                file[place] = values[:, None]
    after = read(path, suite, task)
    if how == "missing":
        assert "reward" not in after.episodes[0]
    else:
        np.testing.assert_array_equal(joined(after, "reward"), joined(before, "reward"))


def test_rewards_of_some_demonstrations_and_other_members_are_said(tmp_path: Path) -> None:
    write_robomimic(tmp_path / "can.hdf5", SHORT)
    with h5py.File(tmp_path / "can.hdf5", "a") as file:
        del file["data/demo_1/rewards"]
        file["data/notes"] = 1
    said = read(tmp_path / "can.hdf5", "robomimic", "can").said
    assert "1 members of data that are not called demo_<number> are left out: notes" in said[0]
    assert "rewards are left out: 1 of 2 demonstrations have none" in said[1]


def test_episodes_without_an_end_are_said(tmp_path: Path) -> None:
    write_minari(tmp_path, SHORT)
    left = "left out: observations/desired_goal/kettle (7, 7)"
    assert read(tmp_path / "main_data.hdf5", "kitchen", "mixed").said == (left,)
    with h5py.File(tmp_path / "main_data.hdf5", "a") as file:
        file["episode_1/truncations"][:] = False
        del file["episode_0/rewards"]
    unended, unrewarded, rest = read(tmp_path / "main_data.hdf5", "kitchen", "mixed").said
    assert unended.startswith("1 of 2 episodes end neither terminated nor truncated")
    assert unrewarded == "rewards are left out: 1 of 2 episodes have none"
    assert rest == left


LFS = LFS_POINTER + b"\noid sha256:1234\nsize 12345\n"


@pytest.mark.parametrize("name", ["f.hdf5", "train.npz", "data.zip", "demo.parquet", "x.mp4"])
def test_a_git_lfs_pointer_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(LFS)
    with pytest.raises(DataError, match=r"a Git LFS pointer, not the file itself") as caught:
        sniff(tmp_path / name)
    assert "git lfs pull" in caught.value.hint


def test_a_git_lfs_pointer_beside_the_file_is_named(tmp_path: Path) -> None:
    write_npz(tmp_path)
    (tmp_path / "normalization.npz").write_bytes(LFS)
    refused(tmp_path / "train.npz", "gym", "hopper-medium", "normalization.npz: a Git LFS pointer")
    write_minari(tmp_path, SHORT)
    (tmp_path / "metadata.json").write_bytes(LFS)
    refused(tmp_path / "main_data.hdf5", "kitchen", "mixed", "metadata.json: a Git LFS pointer")
    (tmp_path / "ema.safetensors").write_bytes(LFS)
    with pytest.raises(DataError, match="a Git LFS pointer"):
        load_tensors(tmp_path / "ema.safetensors")


LAYOUTS: dict[tuple[int, ...], str | None] = {
    (5, 96, 96, 3): "channels last",
    (5, 3, 96, 96): "channels first",
    (5, 6, 16, 20): "channels first",
    (5, 16, 20, 6): "channels last",
    (5, 3, 12, 12): "channels first",
    (5, 96, 3, 96): None,
    (5, 96, 100, 100): None,
    (5, 3, 3, 3): None,
    (5, 84, 84, 4): None,
    (5, 84, 84, 1): None,
    (5, 84, 84): None,
}


@pytest.mark.parametrize("shape", LAYOUTS)
def test_layouts_of_pictures_are_recognised_by_shape_or_refused(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    if LAYOUTS[shape] is None:
        with pytest.raises(DataError, match="f: images is"):
            channels_last(values, "f: images")
        return
    found, layout = channels_last(values, "f: images")
    assert layout == LAYOUTS[shape]
    np.testing.assert_array_equal(found, values if layout == "channels last" else np.moveaxis(values, 1, 3))


def test_pictures_of_either_layout_give_the_same_data_set(tmp_path: Path) -> None:
    raw = write_npz(tmp_path, pictures=True)
    with np.load(tmp_path / "train.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "train.npz", **{**arrays, "images": np.moveaxis(arrays["images"], 1, 3)})
    found = read(tmp_path / "train.npz", "gym", "hopper-medium")
    np.testing.assert_array_equal(joined(found, "img"), np.moveaxis(raw["images"], 1, 3))
    assert "taken as channels last, of 2 camera(s)" in found.said[0]
    path = tmp_path / "can.hdf5"
    demos = write_robomimic(path, SHORT, cameras=("agentview",))
    with h5py.File(path, "a") as data:
        for number, demo in enumerate(demos):
            del data[f"data/demo_{number}/obs/agentview_image"]
            data[f"data/demo_{number}/obs/agentview_image"] = np.moveaxis(demo["obs/agentview_image"], 3, 1)
    first = read(path, "robomimic", "can")
    np.testing.assert_array_equal(first.episodes[1]["img"], demos[1]["obs/agentview_image"])
    assert "channels first" in first.said[0]


def with_member(path: Path, name: str, shape: str, data: bytes, dtype: str = "<f4") -> None:
    """The archive with a member whose head declares a shape."""
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files if key != name}
    np.savez(path, **arrays)
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (63 - (len(head) + 10) % 64) + b"\n"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data)


NPZ = {
    "bomb": ("states", "(1000000000000, 11)", b"", "declares 4.4e+04 GB, of which the file holds"),
    "cut": ("states", "(20, 11)", bytes(100), "declares (20, 11) float32, and holds 100 bytes"),
    "more": ("states", "(20, 11)", bytes(9999), "declares (20, 11) float32, and holds 9,999 bytes"),
    "no columns": ("actions", "(20, 0)", b"", "actions is (20, 0)"),
}


@pytest.mark.parametrize("how", NPZ)
def test_an_npz_holds_what_its_heads_declare(tmp_path: Path, how: str) -> None:
    name, shape, data, words = NPZ[how]
    write_npz(tmp_path)
    with_member(tmp_path / "train.npz", name, shape, data)
    refused(tmp_path / "train.npz", "gym", "hopper-medium", words)


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("obs_min", np.array(["x"] * 11), "obs_min of <U1, expected finite numbers"),
        ("action_max", np.full(3, np.inf), "action_max of float64, expected finite numbers"),
    ],
)
def test_limits_of_an_npz_are_numbers(tmp_path: Path, name: str, values: Any, words: str) -> None:
    write_npz(tmp_path)
    with np.load(tmp_path / "normalization.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "normalization.npz", **{**arrays, name: values})
    refused(tmp_path / "train.npz", "gym", "hopper-medium", words)


def test_memory_is_asked_for_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    affordable("f", 10 << 20, 1)
    with pytest.raises(DataError, match="f declares 134 MB, of which the file holds 1,000 bytes"):
        affordable("f", 128 << 20, 1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1 << 20, total=1 << 21))
    with pytest.raises(DataError, match="f takes 10 MB, and 1 MB of memory are free"):
        affordable("f", 10 << 20)


def test_a_store_that_declares_too_much_is_refused(tmp_path: Path) -> None:
    write_robomimic(tmp_path / "can.hdf5", SHORT)
    found = read(tmp_path / "can.hdf5", "robomimic", "can")
    write_store(tmp_path / STORE, found.episodes, {"spec": found.spec.model_dump(mode="json")})
    head = tmp_path / STORE / "data" / "state" / ".zarray"
    head.write_text(json.dumps({**json.loads(head.read_text()), "shape": [10**12, 9]}))
    with pytest.raises(DataError, match="data/state declares"):
        read_store(tmp_path)


def test_zarr_stores_of_others_are_not_trained_on_as_they_are(tmp_path: Path) -> None:
    for version in (2, 3):
        group = zarr.create_group(str(tmp_path / f"v{version}.zarr"), zarr_format=version)  # type: ignore[arg-type]
        group.create_array("data/state", data=np.zeros((20, 9), np.float32))
        with pytest.raises(DataError, match="schema version None"):
            read_store(tmp_path / f"v{version}.zarr")


def test_lines_of_others_are_whole_or_named(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_bytes('\ufeff{"a": "one\u2028two"}\r\n\n{"a": 2}'.encode())
    assert [row["a"] for _, row in json_lines(path)] == ["one\u2028two", 2]
    for bad, words in (
        (b'{"a": ', "line 2: not JSON"),
        (b"[1]", "line 2: a list, expected a JSON object"),
        (b'{"a": "\xff"}', "line 2: not UTF-8"),
        (b"[" * 100_000, "line 2: nested too deeply"),
    ):
        path.write_bytes(b'{"a": 1}\n' + bad + b'\n{"a": 3}\n')
        with pytest.raises(DataError, match=words):
            json_lines(path)
