"""Named arrays: zarr of both formats, as folder and .zip, npz and npy: the same numbers from each, damage in a line."""

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import zarr

from omp_cli.core.base.config import LARGEST
from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.progress import Silent
from omp_cli.core.data.catalogue import TaskFacts
from omp_cli.core.data.codecs import refuse_codecs
from omp_cli.core.data.readers import FORMATS, Recording, Subject, stored, zarr_layout
from omp_cli.core.data.readers.base import sniff
from omp_cli.core.data.store import STORE, read_store, write_store
from omp_cli.core.prepare.origin import located
from tests.data.arrays import LENGTHS, packed, recorded, write_npy, write_npz, write_zarr

SUBJECT = Subject("own", "t", TaskFacts(max_steps=LARGEST, control_hz=1.0))

WRITERS: dict[str, Callable[[Path], Path]] = {
    "zarr 2": lambda folder: write_zarr(folder / "d.zarr", recorded(), 2),
    "zarr 3": lambda folder: write_zarr(folder / "d.zarr", recorded(), 3),
    "zarr 2 zip": lambda folder: packed(write_zarr(folder / "d.zarr", recorded(), 2), folder / "d.zarr.zip"),
    "zarr 3 zip": lambda folder: packed(write_zarr(folder / "d.zarr", recorded(), 3), folder / "d.zip"),
    "zarr in a folder of a zip": lambda folder: packed(
        write_zarr(folder / "d.zarr", recorded()), folder / "x.zip", "a"
    ),
    "zarr in a hidden folder of a zip": lambda folder: packed(
        write_zarr(folder / "d.zarr", recorded()), folder / "x.zip", ".a"
    ),
    "npz": lambda folder: write_npz(folder / "d.npz", recorded()),
    "npy": lambda folder: write_npy(folder / "d", recorded()),
}


def read(path: Path, limit: int | None = None, **options: Any) -> Recording:
    path = located(path)
    reader = FORMATS.build(FORMATS.parse({"name": sniff(path), **options}))
    return reader.read(path, SUBJECT, limit, Silent())


@pytest.mark.parametrize("kind", WRITERS)
def test_every_layout_gives_the_same_numbers(kind: str, tmp_path: Path) -> None:
    path, expected = WRITERS[kind](tmp_path), recorded()
    found = read(path)
    assert [len(e["action"]) for e in found.episodes] == list(LENGTHS)
    for name in ("state", "action", "img"):
        np.testing.assert_array_equal(np.concatenate([e[name] for e in found.episodes]), expected[name])
    clouds = np.concatenate([e["point_cloud"] for e in found.episodes])
    np.testing.assert_array_equal(clouds, expected["point_cloud"][..., :3])
    assert any("colour" in sentence for sentence in found.said)
    assert (found.spec.points, found.spec.image) == (40, (12, 16, 3))
    assert found.hz is None
    assert len(read(path, limit=2).episodes) == 2


def test_roles_can_be_said_and_what_is_left_out_is(tmp_path: Path) -> None:
    arrays = recorded(channels=3)
    arrays |= {"joints": arrays["state"][:, :2], "gripper": arrays["state"][:, 3], "wrist": arrays["img"][:, ::-1]}
    path = write_npz(tmp_path / "d.npz", arrays)
    found = read(path, state=["joints", "gripper"], img=["img", "wrist"], cloud=[])
    assert found.names["state"] == ("joints[0]", "joints[1]", "gripper")
    assert found.cameras == ("img", "wrist")
    first = found.episodes[0]
    np.testing.assert_array_equal(first["state"], arrays["state"][:9][:, [0, 1, 3]])
    np.testing.assert_array_equal(first["img"][..., 3:], arrays["img"][:9, ::-1])
    assert "point_cloud" not in first
    assert any(s.startswith("left out: state (23, 4), point_cloud (23, 40, 3)") for s in found.said)
    assert read(path, state="joints").spec.state_dim == 2, "a name alone will do"
    for options, words in (
        ({"state": ["jonts"]}, "no array 'jonts' to be the state"),
        ({"cloud": ["point_cloud", "img"]}, "one array at most"),
        ({"cloud": "point_cloud", "depth": "img"}, "one of the two"),
    ):
        with pytest.raises(UsageError) as refused:
            read(path, **options)
        assert words in f"{refused.value.message} {refused.value.hint}"
    del arrays["action"]
    with pytest.raises(UsageError, match="none is the action; it has: gripper, img") as none:
        read(write_zarr(tmp_path / "n.zarr", arrays))
    assert "format.action" in none.value.hint


@pytest.mark.parametrize("write", [write_npz, write_zarr])
def test_what_came_of_the_actions_is_taken(write: Callable[..., Path], tmp_path: Path) -> None:
    rewards = np.linspace(0, 1, 23)
    outcomes = {"rewards": rewards[:, None], "is_success": (rewards > 0.5).astype(np.int32)}
    path = write(tmp_path / "d.npz", recorded() | outcomes)
    found = read(path, limit=2)
    _, second = found.episodes
    np.testing.assert_array_equal(second["reward"], rewards[9:15].astype(np.float32))
    assert second["success"].tolist() == [False, False, False, True, True, True]
    assert not any("rewards" in sentence or "is_success" in sentence for sentence in found.said)
    bare = read(path, reward=[], success="rewards")
    assert "reward" not in bare.episodes[0]
    assert bare.episodes[0]["success"].tolist() == [False] + [True] * 8, "whatever is not 0"
    assert any(s.startswith("left out: is_success (23,)") for s in bare.said)
    with pytest.raises(UsageError, match=r"format\.reward: one array at most"):
        read(path, reward=["rewards", "is_success"])
    with pytest.raises(DataError, match=r"state is \(23, 4\) float32, expected a number for each of 23 frames") as odd:
        read(path, reward="state")
    assert "format.reward=[]" in str(odd.value.hint)


@pytest.mark.parametrize(
    "reward",
    [np.zeros(3), np.zeros((23, 3)), np.zeros(24), np.full(23, "x"), np.float64(1), np.append(np.zeros(22), np.nan)],
    ids=["per episode", "three numbers", "one more", "text", "one number", "not finite"],
)
def test_what_is_called_as_an_outcome_and_is_none_is_left_out_unless_it_is_named(
    reward: np.ndarray, tmp_path: Path
) -> None:
    path = write_npz(tmp_path / "d.npz", recorded() | {"reward": reward})
    found = read(path)
    assert "reward" not in found.episodes[0]
    assert any(s.startswith("left out: reward") for s in found.said)
    with pytest.raises(DataError, match=r"reward (is|has)") as refused:
        read(path, reward="reward")
    assert "format.reward=[]" in str(refused.value.hint)


def test_pictures_of_floats_are_rounded_and_channels_first_is_seen(tmp_path: Path) -> None:
    arrays = recorded()
    for number, given in enumerate((arrays["img"].astype(np.float32), arrays["img"].astype(np.float32) / 255)):
        given = given.transpose(0, 3, 1, 2)
        found = read(write_npz(tmp_path / f"{number}.npz", {**arrays, "img": given}))
        np.testing.assert_array_equal(np.concatenate([e["img"] for e in found.episodes]), arrays["img"])
        assert sum("rounded" in s or "channels first" in s for s in found.said) == 2
    with pytest.raises(DataError, match="img has values from -1 to 1"):
        read(write_npz(tmp_path / "n.npz", {**arrays, "img": arrays["img"].astype(np.float32) / 127.5 - 1}))


def test_episodes_that_differ_in_what_white_is_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One scale over all of them would make those from 0 to 1 black; a picture that is black itself says nothing."""
    arrays, ends = recorded(), np.cumsum(LENGTHS)
    shares = arrays["img"] / np.float32(255)
    for at_once in (1, 1 << 20):
        monkeypatch.setattr(stored, "AT_ONCE", at_once)
        for place, of in ((2, slice(ends[1], None)), (0, slice(0, ends[0]))):
            mixed = arrays["img"].astype(np.float32)
            mixed[of] /= 255
            path = write_npz(tmp_path / "d.npz", {**arrays, "img": mixed})
            words = rf"d\.npz: episode {place}: img has values from 0 to 1, and of .*d\.npz: episode {int(not place)} "
            with pytest.raises(
                DataError, match=words + r"they are from 0 to 255: .*\(1 of 3 are not as most\)"
            ) as refused:
                read(path)
            assert "uint8" in refused.value.hint
        dark = shares.copy()
        dark[: ends[0]] = 0
        found = read(write_zarr(tmp_path / f"{at_once}.zarr", {**arrays, "img": dark}))
        np.testing.assert_array_equal(found.episodes[1]["img"], arrays["img"][ends[0] : ends[1]])
        assert not found.episodes[0]["img"].any()
    beyond = write_npz(tmp_path / "b.npz", {**arrays, "img": shares * np.float32(1.02)})
    with pytest.raises(
        DataError, match=r"episode 0: img has values from 0 to 1\.02, expected 0 to 255 or 0 to 1"
    ) as refused:
        read(beyond)
    assert "cut what is above it" in refused.value.hint, "resizing exceeds white a little"


@pytest.mark.parametrize("value", [np.nan, np.inf, -3.0])
def test_a_picture_that_is_not_finite_or_in_range_is_named(value: float, tmp_path: Path) -> None:
    arrays = recorded()
    pictures = arrays["img"].astype(np.float32)
    pictures[LENGTHS[0] + 4, 3, 2, 1] = value
    with pytest.raises(
        DataError, match=r"d\.npz: episode 1: img has values .* in its frame 4|at its frame 4"
    ) as refused:
        read(write_npz(tmp_path / "d.npz", {**arrays, "img": pictures}))
    assert refused.value.hint
    reader = FORMATS.build(FORMATS.parse({"name": "arrays"}))
    found = reader.read(tmp_path / "d.npz", replace(SUBJECT, leave_out=frozenset({1})), None, Silent())
    np.testing.assert_array_equal(found.episodes[0]["img"], arrays["img"][: LENGTHS[0]])
    np.testing.assert_array_equal(found.episodes[2]["img"], arrays["img"][-LENGTHS[2] :])


@pytest.mark.parametrize("at_once", [1, 1 << 20], ids=["frame by frame", "whole"])
@pytest.mark.parametrize("write", [write_zarr, write_npz, write_npy])
def test_pictures_are_resized_as_they_are_read(
    write: Callable[..., Path], at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cameras of several sizes and layouts fit together then; every pixel is the mean over its area."""
    monkeypatch.setattr(stored, "AT_ONCE", at_once)
    arrays = recorded()
    wrist = np.ascontiguousarray(arrays["img"][:, :6, :8].transpose(0, 3, 1, 2)) / np.float32(255)
    path = write(tmp_path / f"d.{write.__name__[6:]}", {**arrays, "wrist": wrist})
    found = read(path, img=["img", "wrist"], size=4)
    shown = np.concatenate([e["img"] for e in found.episodes])
    assert (found.spec.image, shown.dtype) == ((4, 4, 6), np.uint8)
    np.testing.assert_allclose(shown[..., :3], arrays["img"].reshape(23, 4, 3, 4, 4, 3).mean((2, 4)), atol=0.51)
    halves = np.repeat(arrays["img"][:, :6, :8], 2, axis=1)  # each new row covers three halves of old ones
    np.testing.assert_allclose(shown[..., 3:], halves.reshape(23, 4, 3, 4, 2, 3).mean((2, 4)), atol=0.51)
    assert any("img: pictures of 12x16 are resized to 4x4, which changes their proportions" in s for s in found.said)
    assert sum("resized" in s for s in found.said) == 2
    assert len(read(path, limit=1, size=4).episodes[0]["img"]) == LENGTHS[0]


def test_a_size_without_pictures_is_refused(tmp_path: Path) -> None:
    arrays = recorded()
    del arrays["img"]
    with pytest.raises(UsageError, match=r"format\.size is the size of pictures, and none are found") as refused:
        read(write_npz(tmp_path / "d.npz", arrays), size=8)
    assert "format.img" in refused.value.hint


def test_memory_has_to_hold_the_small_pictures_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "AT_ONCE", 1)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=5000, total=1))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    arrays = {name: values[:, :1] for name, values in recorded().items() if name != "img"}
    path = write_npz(tmp_path / "d.npz", {**arrays, "img": recorded()["img"]})
    with pytest.raises(DataError, match="img takes 13,248 bytes"):
        read(path)
    assert read(path, size=4).spec.image == (4, 4, 3)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda img: np.concatenate([img, img[..., :1]], axis=3), "alpha, is cut"),
        (lambda img: np.concatenate([img, img[..., :1]], axis=3).transpose(0, 3, 1, 2), "alpha, is cut"),
        (lambda img: img[..., :1], "grey is repeated"),
        (lambda img: img[..., 0][:, None], "grey is repeated"),
        (lambda img: img[..., 0], "grey is repeated"),
    ],
    ids=["RGBA", "RGBA, channels first", "grey", "grey, channels first", "grey without channels"],
)
def test_grey_pictures_and_alpha_are_made_rgb(
    made: Callable[[np.ndarray], np.ndarray], words: str, tmp_path: Path
) -> None:
    arrays = recorded()
    given, grey = made(arrays["img"]), "grey" in words
    expected = np.repeat(arrays["img"][..., :1], 3, axis=3) if grey else arrays["img"]
    for path in (
        write_npz(tmp_path / "d.npz", {**arrays, "img": given}),
        write_zarr(tmp_path / "d.zarr", {**arrays, "img": given}),
    ):
        found = read(path)
        np.testing.assert_array_equal(np.concatenate([e["img"] for e in found.episodes]), expected)
        assert any(s.startswith(f"img: pictures {given.shape[1:]}") and words in s for s in found.said)
        assert found.spec.image == (12, 16, 3)


def test_depth_is_no_grey_picture(tmp_path: Path) -> None:
    """Numbers of another type are not taken as grey, and what is named as depth is no picture by its usual name."""
    arrays = recorded()
    del arrays["point_cloud"]
    for kind, shape in ((np.uint16, (23, 12, 16)), (np.uint16, (23, 12, 16, 1)), (np.float32, (23, 12, 16))):
        path = write_npz(tmp_path / "d.npz", {**arrays, "img": np.ones(shape, kind)})
        with pytest.raises(DataError, match=r"img is .* expected pictures of uint8") as refused:
            read(path)
        assert "format.depth=img" in refused.value.hint
        first = read(path, depth="img").episodes[0]
        assert (first["depth"].shape, "img" in first) == ((9, 12, 16), False)
    path = write_npz(tmp_path / "d.npz", {**arrays, "img": arrays["img"][..., 0]})
    assert "img" not in read(path, depth="img").episodes[0]
    other = write_npz(tmp_path / "o.npz", {**arrays, "scan": arrays["img"][..., 0]})
    assert read(other).spec.image == (12, 16, 3)
    assert read(other, img=["scan"]).spec.image == (12, 16, 3), "where it is named as a picture it is one"


@pytest.mark.parametrize("channels", [4, 7])
def test_of_clouds_all_but_x_y_z_is_cut(channels: int, tmp_path: Path) -> None:
    arrays = recorded(channels=channels)
    found = read(write_npz(tmp_path / "d.npz", arrays))
    clouds = np.concatenate([e["point_cloud"] for e in found.episodes])
    np.testing.assert_array_equal(clouds, arrays["point_cloud"][..., :3])
    assert any(f"all but the first 3 of {channels} numbers of a point" in s for s in found.said)


@pytest.mark.parametrize("write", [write_zarr, write_npz, write_npy])
def test_cameras_of_two_sizes_are_told_of(write: Callable[..., Path], tmp_path: Path) -> None:
    arrays = recorded()
    path = write(tmp_path / f"d.{write.__name__[6:]}", {**arrays, "wrist": arrays["img"][:, :6, :8]})
    with pytest.raises(UsageError, match="camera wrist: pictures are 6x8, those of img 12x16") as refused:
        read(path, img=["img", "wrist"])
    assert str(path) in refused.value.message
    assert "format.img=img" in refused.value.hint


def test_a_fault_of_our_own_is_no_damage_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zarr_layout, "recording", lambda *_: {}["ours"])
    with pytest.raises(KeyError, match="ours"):
        read(write_zarr(tmp_path / "d.zarr", recorded()))


def test_only_what_has_a_role_has_to_be_an_array_of_numbers(tmp_path: Path) -> None:
    objects = np.array(["a", None], object)
    for path in (write_npz(tmp_path / "d.npz", recorded() | {"notes": objects}), write_npy(tmp_path / "d", recorded())):
        if path.is_dir():
            np.save(path / "notes.npy", objects, allow_pickle=True)
        else:
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr("read.me", "of no array")
        assert read(path).said[-1] == "left out: notes (2,)"
        with pytest.raises(DataError, match=r"notes is \(2,\) object"):
            read(path, state=["notes"])


@pytest.mark.parametrize("version", [2, 3])
def test_what_zarr_cannot_unpack_is_refused_only_where_it_has_a_role(version: int, tmp_path: Path) -> None:
    """Pictures that are packed otherwise than omp unpacks, and an array of Python's objects, which nobody asks for."""
    path = write_zarr(tmp_path / "d.zarr", recorded(channels=3) | {"camera": recorded()["img"]}, version)
    for name in ("camera", "notes"):
        head = path / "data" / name / zarr_layout.ARRAY_HEADS[version]
        head.parent.mkdir(exist_ok=True)
        document = json.loads((path / "data" / "camera" / head.name).read_text())
        if version == 2:
            document["compressor"] = {"id": "imagecodecs_brotli", "level": 9}
            document |= {"dtype": "|O", "filters": [{"id": "pickle"}]} if name == "notes" else {}
        else:
            document["codecs"].append({"name": "imagecodecs_jpegxl", "configuration": {}})
            document |= {"data_type": {"name": "of_no_kind"}} if name == "notes" else {}
        head.write_text(json.dumps(document))
    for store in (path, packed(path, tmp_path / "d.zip")):
        assert "left out: camera (23, 12, 16, 3), notes (23, 12, 16, 3)" in read(store).said
        with pytest.raises(DataError, match=r"data/camera is packed with 'imagecodecs_.*', which omp") as refused:
            read(store, img="camera")
        assert "write it anew with blosc" in refused.value.hint
        with pytest.raises(DataError, match=r"notes is \(23, 12, 16, 3\) object, expected"):
            read(store, img="notes")


def test_what_comes_after_the_episodes_asked_for_is_not_read(tmp_path: Path) -> None:
    """The last byte of the last array is another one, which a look at all of it tells by its checksum."""
    path = write_npz(tmp_path / "d.npz", recorded())
    with zipfile.ZipFile(path) as archive:
        last = archive.infolist()[-1]
    content = bytearray(path.read_bytes())
    end = content.index(last.filename.encode()) + content[content.index(last.filename.encode()) :].index(b"\x93NUMPY")
    content[end + last.file_size - 1] ^= 1
    path.write_bytes(content)
    np.testing.assert_array_equal(read(path, 2).episodes[1]["state"], recorded()["state"][9:15])
    with pytest.raises(DataError, match="damaged"):
        read(path)


def pickle_of(ran: Path) -> bytes:
    """A pickle that makes a file when it is loaded, written by hand: the project imports no pickle."""
    return f"cos\nmkdir\n(V{ran}\ntR.".encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"action": np.zeros((22, 3), np.float32)}, "action has 22 frames, the episodes end at frame 23"),
        ({"state": np.zeros((23, 2, 2), np.float32)}, r"state is \(23, 2, 2\) float32, expected a number or a vector"),
        ({"point_cloud": np.zeros((23, 8, 2), np.float32)}, r"point_cloud is \(23, 8, 2\)"),
        ({"point_cloud": np.zeros((23, 3, 40), np.float32)}, r"point_cloud is \(23, 3, 40\)"),
        ({"state": np.full((23, 2), "x")}, "state is"),
    ],
    ids=["short", "dimensions", "two numbers a point", "coordinates first", "text"],
)
def test_arrays_that_do_not_fit_are_named(change: dict[str, np.ndarray], words: str, tmp_path: Path) -> None:
    for path in (write_npz(tmp_path / "d.npz", recorded() | change), write_npy(tmp_path / "d", recorded() | change)):
        with pytest.raises(DataError, match=words):
            read(path)


@pytest.mark.parametrize("counted", ["observations", "actions"])
def test_one_observation_more_than_actions_in_every_episode_is_left_out(counted: str, tmp_path: Path) -> None:
    """Whichever of the two the ends are of."""
    arrays, last = recorded(channels=3), np.cumsum(LENGTHS) - 1
    arrays["action"] = np.delete(arrays["action"], last, axis=0)
    lengths = LENGTHS if counted == "observations" else tuple(length - 1 for length in LENGTHS)
    path = write_npz(tmp_path / "d.npz", arrays, lengths)
    for limit in (None, 2):
        found = read(path, limit)
        assert [len(e["action"]) for e in found.episodes] == [length - 1 for length in LENGTHS][:limit]
        for episode in found.episodes:
            assert {len(array) for array in episode.values()} == {len(episode["action"])}
        np.testing.assert_array_equal(found.episodes[1]["state"], arrays["state"][9:14])
        np.testing.assert_array_equal(found.episodes[1]["img"], arrays["img"][9:14])
        np.testing.assert_array_equal(found.episodes[1]["action"], arrays["action"][8:13])
        assert any("one observation more than actions" in sentence for sentence in found.said)
    arrays["img"] = arrays["img"][:-1]
    with pytest.raises(DataError, match="frames, the episodes end at frame") as refused:
        read(write_npz(tmp_path / "n.npz", arrays, lengths))
    assert "one observation more is taken where every episode has it" in refused.value.hint


def test_ends_that_do_not_increase_are_refused(tmp_path: Path) -> None:
    faults = (
        ((9, 0, 14), "episode 1 would begin at frame 9 and end before 9"),
        ((0, 23), "episode 0 would begin at frame 0 and end before 0"),
    )
    for number, (lengths, words) in enumerate(faults):
        with pytest.raises(DataError, match=f"episode_ends is not increasing: {words}"):
            read(write_zarr(tmp_path / f"{number}.zarr", recorded(), lengths=lengths))


def test_damage_is_one_line(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "d.zarr", recorded())
    head = path / "data" / "state" / ".zarray"
    good = head.read_text()
    head.write_text(json.dumps({**json.loads(good), "shape": [10**12, 4]}))
    with pytest.raises(DataError, match="state has 1000000000000 frames"):
        read(path)
    head.write_text(good[:50])
    with pytest.raises(DataError, match="damaged, or not a zarr store"):
        read(path)
    head.write_text(good)
    (path / "data" / "state" / "0.0").write_bytes(b"nothing")
    with pytest.raises(DataError, match="damaged, or not a zarr store"):
        read(path)
    bare = zarr.create_group(str(tmp_path / "bare.zarr"))
    bare.create_array("data/state", data=np.zeros((3, 2), np.float32))
    with pytest.raises(DataError, match="no group meta"):
        read(tmp_path / "bare.zarr")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"none of meta/info\.json"):
        read(tmp_path / "empty")


def test_a_codec_that_runs_code_is_never_asked(tmp_path: Path) -> None:
    """In a store of one's own just as well: anyone may have written it."""
    ran = tmp_path / "ran"
    episodes = [{"state": np.zeros((5, 2), np.float32), "action": np.zeros((5, 1), np.float32)}]
    spec = {"suite": "own", "task": "t", "action_dim": 1, "state_dim": 2, "max_steps": 5, "control_hz": 1.0}
    write_store(tmp_path / "own" / STORE, episodes, {"spec": spec, "recipe": {}})
    for path, look in (
        (write_zarr(tmp_path / "d.zarr", recorded()), read),
        (tmp_path / "own" / STORE, read_store),
    ):
        head = path / "data" / "state" / ".zarray"
        good = json.loads(head.read_text())
        head.write_text(json.dumps({**good, "compressor": {"id": "base64"}}))
        with pytest.raises(DataError, match="packed with 'base64', which omp does not unpack"):
            look(path)
        (path / "data" / "state" / good.get("dimension_separator", ".").join("00")).write_bytes(pickle_of(ran))
        for place in ({"compressor": {"id": "pickle"}}, {"filters": [{"id": "pickle"}]}):
            head.write_text(json.dumps({**good, **place}))
            with pytest.raises(DataError, match="pickle"):
                look(path)
    assert not ran.exists()


def test_links_out_of_a_store_are_not_followed(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "d.zarr", recorded())
    chunk = path / "data" / "state" / "0.0"
    chunk.rename(tmp_path / "elsewhere")
    chunk.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="is a link, which omp does not follow"):
        read(path)


def test_a_codec_is_imagecodecs_by_its_whole_name() -> None:
    for name in ("png", "imagecodecs_tiff"):
        with pytest.raises(DataError, match=f"packed with '{name}', which omp does not unpack"):
            refuse_codecs("here", {"compressor": {"id": name}})
