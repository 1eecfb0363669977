"""RLDS folders: one that TensorFlow Datasets has written, and others, byte by byte; what is damaged is told."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omp_cli.core.base.errors import DataError, MissingDependency, UsageError
from omp_cli.core.data.readers import tfrecord
from omp_cli.core.data.readers.apart import _camera
from omp_cli.core.data.readers.base import sniff
from omp_cli.core.data.store import STORE, read_store
from tests.conftest import Omp
from tests.data.rlds import episode, write_rlds
from tests.data.test_arrays import read
from tests.data.test_episodes import joined

pytest.importorskip("google.protobuf", reason="needs the extra rlds")
BY_TFDS = Path(__file__).parent / "written_by_tfds" / "arm"
LENGTHS = (4, 3, 5, 2)


def written(folder: Path, **more: Any) -> tuple[Path, list[dict[str, Any]]]:
    """Four episodes in two shards, and one for validation."""
    episodes = [episode(number, frames) for number, frames in enumerate(LENGTHS)]
    splits = {"train": [episodes[:1], episodes[1:]], "val": [[episode(9, 3)]]}
    return write_rlds(folder / "1.0.0", splits, **more), episodes


def test_what_tensorflow_datasets_has_written(omp: Omp, tmp_path: Path) -> None:
    """Three episodes of 3, 4 and 5 steps in two shards; TensorFlow Datasets decides about their order."""
    pytest.importorskip("av")
    assert sniff(BY_TFDS) == sniff(BY_TFDS / "1.0.0") == "rlds"
    done = omp("prepare", "own", BY_TFDS, "--task", "reach", "--hz", 10, "--out", tmp_path / "d")
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "split train of arm; not read: val (2 episodes), --set format.split=NAME" in said
    data = read_store(tmp_path / "d")
    lengths = np.diff(data.episode_ends, prepend=0).tolist()
    assert sorted(lengths) == [3, 4, 5]
    state = np.concatenate([[(frames - 3, t) for t in range(frames)] for frames in lengths]).astype(np.float32)
    np.testing.assert_array_equal(data.arrays["state"], state)
    expected = np.stack([state[:, 0], state[:, 1] / 8, np.full(12, -1.0)], 1)
    np.testing.assert_array_equal(data.arrays["action"], expected.astype(np.float32))
    pictures = np.stack([np.full((8, 12, 3), (*row, 255), np.uint8) for row in state])
    np.testing.assert_array_equal(data.arrays["img"], pictures)
    last = np.isin(np.arange(12), data.episode_ends - 1)
    np.testing.assert_array_equal(data.arrays["terminal"], last)
    np.testing.assert_array_equal(data.arrays["reward"], last.astype(np.float32))
    told = json.loads((tmp_path / "d" / STORE / ".zattrs").read_text())
    assert told["environment"]["instructions"] == ["open the drawer", "pick the cup"]


def test_a_folder_of_shards(tmp_path: Path) -> None:
    path, episodes = written(tmp_path / "arm")
    found = read(tmp_path / "arm")
    assert [len(e["action"]) for e in found.episodes] == list(LENGTHS)
    for name, theirs in {"state": "observation/state", "action": "action", "reward": "reward"}.items():
        expected = np.concatenate([e[theirs] for e in episodes]).astype(np.float32)
        np.testing.assert_array_equal(joined(found, name), expected)
    assert found.notes["instructions"] == ["open the drawer", "pick the cup"]
    assert found.notes["episodes_in_file"] == 4
    (tmp_path / "arm" / "1.0.0" / "arm-train.tfrecord-00001-of-00002").unlink()
    assert len(read(path, limit=1).episodes) == 1, "which needs the first file alone"
    with pytest.raises(DataError, match=r"arm-train\.tfrecord-00001-of-00002: no such file"):
        read(path)


def test_splits_instructions_and_last_steps(tmp_path: Path) -> None:
    path, episodes = written(tmp_path / "arm")
    assert [len(e["action"]) for e in read(path, split="val").episodes] == [3]
    picked = read(path, limit=1, instruction="pick the cup")
    np.testing.assert_array_equal(picked.episodes[0]["state"], episodes[1]["observation/state"])
    cut = read(path, last_step=False)
    assert [len(e["action"]) for e in cut.episodes] == [frames - 1 for frames in LENGTHS]
    np.testing.assert_array_equal(cut.episodes[2]["state"], episodes[2]["observation/state"][:-1])
    for of_one in cut.episodes:
        assert of_one["terminal"].tolist() == [False] * (len(of_one["action"]) - 1) + [True], (
            "over after the last action"
        )
        assert not of_one["reward"].any()
    assert "the last step of each episode is left out" in cut.said
    with pytest.raises(UsageError, match="no split 'vall'") as told:
        read(path, split="vall")
    assert "val" in str(told.value.hint)
    with pytest.raises(UsageError, match="no episode with the instruction 'pick a cup'"):
        read(path, instruction="pick a cup")


def test_other_names_and_kinds(tmp_path: Path) -> None:
    """Parts of an action by their paths; what omp does not read is told and left alone."""
    arms = [
        {
            "observation/joints": np.arange(6.0, dtype=np.float32).reshape(3, 2),
            "action/move": np.full((3, 2), 0.5, np.float32),
            "action/open": np.array([0, 1, 1]),
            "observation/depth": np.zeros((3, 4, 4, 1), np.uint16),
            "observation/words": np.zeros(3, np.int32),
            "observation/half": np.zeros(3, np.float32),
        }
    ]
    more = {
        "observation/words": {"sequence": {"feature": {"tensor": {"dtype": "int32"}}}},
        "observation/half": {"tensor": {"dtype": "bfloat16", "shape": {}}},
    }
    path = write_rlds(tmp_path / "x", {"only": [arms]}, more)
    with pytest.raises(UsageError, match="state"):
        read(path)
    found = read(path, state=["observation/joints"], action=["action/move", "action/open"])
    np.testing.assert_array_equal(found.episodes[0]["action"], [[0.5, 0.5, 0], [0.5, 0.5, 1], [0.5, 0.5, 1]])
    assert "of kinds that omp does not read: observation/words, observation/half" in found.said
    assert any("observation/depth (3, 4, 4, 1)" in sentence for sentence in found.said)
    assert "instructions" not in found.notes


def test_every_array_has_all_steps(tmp_path: Path) -> None:
    """Also where the first of them is too short, and where the numbers would divide."""
    of_one = episode(0, 4)
    short = {**of_one, "reward": of_one["reward"][:2]}
    path = write_rlds(tmp_path / "a", {"train": [[{"reward": short.pop("reward"), **short}]]})
    with pytest.raises(DataError, match="observation/state has 16 numbers, expected 4 in each of 2 steps"):
        read(path)
    path = write_rlds(tmp_path / "b", {"train": [[{**of_one, "is_last": np.zeros(6, bool)}]]})
    with pytest.raises(DataError, match="is_last has 6 numbers, expected 1 in each of 4 steps"):
        read(path)


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        ({"action": {"text": {}}}, None),
        ({"observation/state": {"text": {}}}, None),
        ({"language_instruction": {"tensor": {"dtype": "float32", "shape": {}}}}, "is a bytes_list, expected numbers"),
        ({"action": {"image": {"dtype": "uint8", "shape": {"dimensions": ["8", "8", "3"]}}}}, "expected bytes"),
        ({"x_language_instruction": {"text": {}}}, "it has no steps/x_language_instruction"),
        ({"action": {"tensor": {"dtype": "float32", "shape": {"dimensions": ["9" * 5000]}}}}, None),
        ({"action": {"tensor": {"dtype": "(9999999999,)f4", "shape": {}}}}, None),
        ({"action": {"tensor": {"shape": {}}}}, None),
        ({"action": {"tensor": {"dtype": "float32", "shape": {"dimensions": ["1"] * 100}}}}, None),
        ({"action": {"tensor": {"dtype": "float32", "shape": {"dimensions": ["2000000000"] * 3}}}}, None),
    ],
)
def test_what_contradicts_itself_is_one_error(leaf: dict[str, Any], message: str | None, tmp_path: Path) -> None:
    """A role that is left without an array is told as of any file; nothing else escapes."""
    of_one = {key: values for key, values in episode(0, 3).items() if key != "language_instruction" or key in leaf}
    path = write_rlds(tmp_path / "x", {"train": [[of_one]]}, leaf)
    with pytest.raises(UsageError if message is None else DataError, match=message or "so none is the"):
        read(path)


def test_instructions_cameras_and_what_is_read_late(tmp_path: Path) -> None:
    """DROID's three instructions, some empty; pictures called image; an embedding that is only read if it is taken."""
    more = {"language_instruction": [b""] * 3, "language_instruction_2": [b"put"] * 3}
    wide = np.arange(3 * 100, dtype=np.float32).reshape(3, 100)
    path = write_rlds(tmp_path / "x", {"train": [[episode(0, 3, **more, wide=wide)]]})
    found = read(path, state=["wide"])
    assert found.notes["instructions"] == ["put"]
    np.testing.assert_array_equal(found.episodes[0]["state"], wide)
    assert "texts are not taken: language_instruction, language_instruction_2" in found.said
    np.testing.assert_array_equal(read(path, state=["wide"], last_step=False).episodes[0]["state"], wide[:2])
    assert [_camera(f"observation/{name}") for name in ("image", "wrist_image")] == ["image", "wrist_image"]
    assert _camera("obs/sensor_data/base_camera/rgb") == "base_camera"


def test_other_names_of_shards(tmp_path: Path) -> None:
    path, _ = written(tmp_path / "arm")
    said_as(path, '"name": "train"', '"name": "train", "filepathTemplate": "a-{SHARD_INDEX}-of-{NUM_SHARDS}"')
    for number in (0, 1):
        (path / f"arm-train.tfrecord-0000{number}-of-00002").rename(path / f"a-0000{number}-of-00002")
    assert len(read(path).episodes) == 4
    said_as(path, "a-{SHARD", "a" * 300 + "-{SHARD")
    with pytest.raises(DataError, match="is no name of a file"):
        read(path)


def cut(path: Path, name: str, change: Any) -> None:
    file = next(path.glob(f"*{name}*"))
    file.write_bytes(change(file.read_bytes()))


def said_as(path: Path, old: str, new: str, name: str = "dataset_info") -> None:
    cut(path, name, lambda data: data.replace(old.encode(), new.encode()))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: cut(p, "train.tfrecord-00000-of", lambda data: data[:-6]), "cut short in the record at byte 12"),
        (lambda p: cut(p, "train.tfrecord-00001-of", lambda data: data + b"\0" * 5), "cut short at byte"),
        (
            lambda p: cut(p, "train.tfrecord-00000-of", lambda data: b"\1" + data[1:]),
            "no TFRecord file, or damaged at byte 0",
        ),
        (
            lambda p: cut(p, "train.tfrecord-00000-of", lambda data: data[:40] + b"\0" + data[41:]),
            "the record at byte 12 is damaged",
        ),
        (lambda p: cut(p, "train.tfrecord-00000-of", lambda data: b""), "0 episodes in it, dataset_info.json says 1"),
        (lambda p: said_as(p, '"name": "arm"', '"name": "../arm"'), "is no name of a file"),
        (lambda p: said_as(p, '"1"', '"one"'), "shardLengths of train is the text 'one', expected a whole number"),
        (lambda p: said_as(p, '"name": "arm"', '"name": "arm", "fileFormat": "riegeli"'), "fileFormat riegeli"),
        (lambda p: said_as(p, '"splits"', '"other"'), "no splits in it"),
        (lambda p: said_as(p, '"steps"', '"frames"', "features"), "no steps in it, so these are no episodes"),
        (lambda p: said_as(p, '["4"]', '["3"]', "features"), "observation/state has 16 numbers, expected 3 in each"),
        (lambda p: said_as(p, '"action"', '"acts"', "features"), "it has no steps/acts"),
        (lambda p: cut(p, "features", lambda data: data[:9]), "features.json"),
    ],
)
def test_damage_is_told(damage: Any, message: str, tmp_path: Path) -> None:
    path, _ = written(tmp_path / "arm")
    damage(path)
    with pytest.raises(DataError, match=message):
        read(path)


def test_a_file_of_the_folder_is_not_the_folder(tmp_path: Path) -> None:
    path, _ = written(tmp_path / "arm")
    with pytest.raises(DataError, match="name the folder that it is in"):
        sniff(next(path.glob("*.tfrecord*")))


def test_of_several_versions_one_is_named(tmp_path: Path) -> None:
    path, _ = written(tmp_path / "arm")
    write_rlds(tmp_path / "arm" / "2.0.0", {"train": [[episode(0, 2)]]})
    assert sniff(tmp_path / "arm") == "rlds"
    with pytest.raises(UsageError, match=f"several versions of a data set: {path.name}, 2.0.0") as told:
        read(tmp_path / "arm")
    assert told.value.hint == f"name one: {tmp_path / 'arm' / '2.0.0'}"
    assert len(read(path).episodes) == len(LENGTHS)


def test_episodes_without_steps_are_told_and_left_out(tmp_path: Path) -> None:
    episodes = [episode(0, 3), episode(1, 0), episode(2, 1), episode(3, 2)]
    path = write_rlds(tmp_path / "arm", {"train": [episodes]})
    found = read(path)
    assert [len(e["action"]) for e in found.episodes] == [3, 1, 2]
    assert "episodes without steps are not taken, nor counted: 1" in found.said
    assert [len(e["action"]) for e in read(path, last_step=False).episodes] == [2, 1]
    with pytest.raises(DataError, match="no episode with steps in its split train"):
        read(write_rlds(tmp_path / "bare", {"train": [[episode(1, 1)]]}), last_step=False)


def test_without_protobuf_the_line_that_installs_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = written(tmp_path / "arm")
    tfrecord._message.cache_clear()
    for name in [name for name in sys.modules if name.startswith("google.protobuf")] + ["google.protobuf"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependency, match="protobuf is not installed") as told:
        read(path)
    assert told.value.hint == "pip install 'omp-cli[rlds]'"
