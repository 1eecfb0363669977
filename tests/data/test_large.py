"""Data that memory has no place for: the same data set, the same policy, and next to nothing of it in memory."""

import errno
import mmap
import os
import shutil
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import zarr

from omp_cli.core.base.errors import DataError, RunFailed
from omp_cli.core.checkpoint import open_run
from omp_cli.core.data import large, store
from omp_cli.core.data.large import ReadAhead, Selected, gathered, held, kept_in, parts_of, room, selected
from omp_cli.core.data.readers import stored
from omp_cli.core.data.readers.frames import Frames as Shown
from omp_cli.core.data.split import episodes_of
from omp_cli.core.data.store import STORE, content_hash, read_attributes, read_store, write_store
from omp_cli.core.rl.replay_buffer import demonstrated
from omp_cli.core.train import observed
from tests.conftest import TINY, Omp
from tests.data.arrays import recorded, write_npz, write_zarr
from tests.data.lerobot import write_lerobot
from tests.train.test_loop import same, trainer, weights


@pytest.fixture
def scarce(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardly any memory is free, and every array counts as large."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1 << 20, total=4 << 30))
    monkeypatch.setattr(large, "_SMALL", 0)
    monkeypatch.setattr(large, "_SLAB", 1 << 16)
    monkeypatch.setattr(large, "AT_ONCE", 1 << 15)
    monkeypatch.setattr(store, "MAPPED_FROM", 1)


def mapped(array: Any) -> bool:
    return isinstance(array, np.memmap)


def test_memory_is_used_while_a_quarter_of_it_stays_free(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(available=16 << 20, total=32 << 20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert not mapped(room((8 << 20,), np.uint8))
    assert mapped(room(((8 << 20) + 1,), np.uint8))
    memory.available = 8 << 20
    assert not mapped(room(((1 << 20) - 1,), np.uint8))
    full = np.arange(1 << 18)
    found = held(full)
    assert mapped(found)
    np.testing.assert_array_equal(found, full)


def test_what_is_mapped_leaves_no_file(scarce: None, tmp_path: Path) -> None:
    with kept_in(tmp_path):
        first, second = room((100, 7), np.float32), room((3, 5), np.int64)
        larger = room((1 << 17,), np.uint8)
        assert list(tmp_path.iterdir()) == []
    for value, array in enumerate((first, second, larger)):
        array[:] = value
    assert [set(x.ravel().tolist()) for x in (first, second, larger)] == [{0}, {1}, {2}]
    assert (first.shape, first.dtype, second.shape, second.dtype) == ((100, 7), np.float32, (3, 5), np.int64)


def test_a_full_disk_is_told_before_it_is_written_to(
    scarce: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with kept_in(tmp_path), pytest.raises(RunFailed, match=r"neither into memory nor here \(no space left") as caught:
        room((2 << 20,), np.uint8)
    assert str(tmp_path) in caught.value.message
    assert "TMPDIR" in caught.value.hint
    with kept_in(tmp_path):
        assert not mapped(room((1000,), np.uint8)), "then all of memory counts"


def test_a_small_disk_has_small_arrays(scarce: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nearly_full(descriptor: int, offset: int, size: int) -> None:
        if size > 1 << 14:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", nearly_full)
    with kept_in(tmp_path):
        assert mapped(room((1 << 14,), np.uint8))


def test_a_large_chunk_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a store in a .zip, or compressed: parts are whole chunks, and one of them has to fit into memory."""
    monkeypatch.setattr(large, "AT_ONCE", 10)
    monkeypatch.setattr(stored, "AT_ONCE", 10)
    asked: list[tuple[int, int]] = []

    def between(start: int, stop: int) -> np.ndarray:
        asked.append((start, stop))
        return np.zeros((stop - start, 6), np.uint8)

    whole = stored.Stored.sliced((20, 6), np.dtype(np.uint8), None, between, 8)
    assert gathered(whole.in_parts(20), 20, np.uint8).shape == (20, 6)
    assert asked == [(0, 8), (8, 16), (16, 20)]
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=30, total=1 << 30))
    with pytest.raises(DataError, match="a chunk of img, which is read as a whole, takes 384 bytes"):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 30))
        array = stored.Stored((8, 4, 4, 3), np.dtype(np.uint8), None, lambda n: np.zeros((n, 4, 4, 3)), None, 8)
        Shown("d", {"img": array}, 8, 8).pictures("img", [], None)


def test_episodes_that_do_not_fit_are_never_stored(tmp_path: Path, scarce: None) -> None:
    """A frame too many would move all later episodes against their actions, with a hash that is right."""
    good = {"state": np.zeros((5, 3), np.float32), "action": np.zeros((5, 2), np.float32)}
    for bad in ({"state": np.zeros((6, 3), np.float32)}, {"state": np.zeros((5, 4), np.float32)}):
        with pytest.raises(DataError, match="episode 1: state is"):
            write_store(tmp_path / STORE, [good, {**good, **bad}, good], {})
        assert not (tmp_path / STORE).exists()


def test_chosen_frames_are_those_of_the_array(scarce: None) -> None:
    array = room((30, 4, 2), np.float32)
    array[:] = np.random.default_rng(0).normal(size=array.shape)
    rows = np.array([3, 4, 9, 10, 29, 0])
    found, expected = selected(array, rows), array[rows]
    assert isinstance(found, Selected)
    assert (len(found), found.shape, found.ndim, found.dtype, found.nbytes) == (6, (6, 4, 2), 3, np.float32, 192)
    for index in (2, slice(1, 4), np.array([[0, 5], [2, 2]]), (slice(0, 2), 1), (np.array([4, 1]), slice(None), 0)):
        np.testing.assert_array_equal(found[index], expected[index])
    np.testing.assert_array_equal(np.asarray(found), expected)
    np.testing.assert_array_equal(np.asarray(found, np.float64), expected)
    again = selected(found, np.array([5, 0, 1]))
    assert isinstance(again, Selected)
    np.testing.assert_array_equal(np.asarray(again), array[[0, 3, 4]])
    assert np.asarray(selected(array, np.array([], np.int64))).shape == (0, 4, 2)
    part = selected(array, np.arange(5, 9))
    assert mapped(part)
    assert np.shares_memory(part, array)  # type: ignore[arg-type]
    assert type(selected(np.asarray(array), rows)) is np.ndarray


def test_frames_are_asked_for_ahead_in_runs_of_pages(scarce: None) -> None:
    """Of a part of a mapped array, and of frames of it that are not side by side."""
    array = room((400, 1000), np.float32)
    asked: list[tuple[int, int]] = []

    class File:
        def madvise(self, advice: int, start: int, length: int) -> None:
            assert start % mmap.PAGESIZE == 0
            asked.append((start, start + length))

    rows = np.array([7, 8, 9, 350, 2])
    for part, frames, expected in (
        (array, np.array([[3, 4], [4, 5], [20, 20]]), [(3, 6), (20, 21)]),
        (array[100:], np.array([0, 2]), [(100, 101), (102, 103)]),
        (selected(array, rows), np.array([0, 1, 3, 4]), [(2, 3), (7, 9), (350, 351)]),
    ):
        coming = ReadAhead(part)
        assert coming.reads
        coming(frames)  # the machine's own
        coming._file, asked[:] = File(), []  # type: ignore[assignment]
        coming(frames)
        begin = array.ctypes.data - np.frombuffer(array._mmap, np.uint8).ctypes.data  # type: ignore[attr-defined]
        assert asked == [
            ((begin + 4000 * first) // mmap.PAGESIZE * mmap.PAGESIZE, begin + 4000 * last) for first, last in expected
        ]
    assert not ReadAhead(np.zeros((3, 2))).reads


@pytest.mark.parametrize("lengths", [(5,), (3, 4, 1, 9), (7, 7)])
def test_blocks_are_the_parts_cut_anew(lengths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "AT_ONCE", 50)
    parts = [np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32) for n in lengths]
    whole = np.concatenate(parts)
    places = list(parts_of(whole.shape, whole.dtype, 2))
    assert [place.stop - place.start for place in places[:-1]] == [4] * (len(places) - 1)
    blocks = list(store._blocks(parts, places, whole.dtype))
    for place, block in blocks:
        np.testing.assert_array_equal(block, whole[place])
    assert sum(len(block) for _, block in blocks) == len(whole)
    np.testing.assert_array_equal(gathered(iter(parts), len(whole), np.float64), whole)


@pytest.mark.parametrize("form", ["zarr", "npz", "lerobot"])
def test_scarce_memory_changes_no_data_set(
    form: str, omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Depth, clouds, pictures that are resized, and several cameras; by the hash of the contents."""
    arrays = recorded()
    path, more = tmp_path / f"robot.{form}", list[Any]()
    if form == "lerobot":
        write_lerobot(path, kind="image")
    else:
        depth = np.random.default_rng(1).integers(500, 900, (len(arrays["state"]), 12, 16)).astype(np.uint16)
        arrays |= {"second_img": arrays["img"][::-1].copy()} | ({"depth": depth} if form == "zarr" else {})
        arrays |= {} if form == "npz" else {"point_cloud": arrays["point_cloud"]}
        (write_zarr if form == "zarr" else write_npz)(path, arrays)
        more = ["--hz", 10, "--points", 16, "--set", "format.size=8"]
        more += ["--set", 'format.img=["img","second_img"]', "--set", "format.state=state", "--set", "format.depth=[]"]
    line = ("prepare", "own", path, "--task", "pour", *more)
    assert (done := omp(*line, "--out", tmp_path / "plenty")).code == 0, done.err
    plenty = read_store(tmp_path / "plenty")
    request.getfixturevalue("scarce")
    assert (done := omp(*line, "--out", tmp_path / "scarce")).code == 0, done.err
    little = read_store(tmp_path / "scarce")
    assert plenty.sha256 == little.sha256
    assert plenty.provenance["episode_steps"] == little.provenance["episode_steps"]
    assert not any(map(mapped, plenty.arrays.values()))
    assert all(map(mapped, little.arrays.values()))
    assert {path.name for path in (tmp_path / "scarce").iterdir()} == {
        path.name for path in (tmp_path / "plenty").iterdir()
    }


def test_depth_in_a_file_becomes_clouds_wherever_it_lies(
    omp: Omp, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    random = np.random.default_rng(0)
    arrays = {key: recorded()[key] for key in ("state", "action")}
    arrays["depth"] = random.integers(500, 900, (len(arrays["state"]), 1, 12, 16)).astype(np.uint16)
    write_zarr(tmp_path / "robot.zarr", arrays)
    camera = ("camera.depth_scale=0.001", "camera.intrinsics=[10,10,8,6]", "format.depth=depth")
    line = (
        "prepare",
        "own",
        tmp_path / "robot.zarr",
        "--hz",
        10,
        "--points",
        32,
        *(x for s in camera for x in ("--set", s)),
    )
    assert (done := omp(*line, "--out", tmp_path / "plenty")).code == 0, done.err
    request.getfixturevalue("scarce")
    assert (done := omp(*line, "--out", tmp_path / "scarce")).code == 0, done.err
    assert read_store(tmp_path / "plenty").sha256 == read_store(tmp_path / "scarce").sha256


def test_a_mapped_array_is_its_file_and_any_zarr_reads_it(scarce: None, toy: Path) -> None:
    data = read_store(toy)
    write_store(toy.parent / "d" / STORE, _episodes(data), data.provenance)
    found = read_store(toy.parent / "d")
    assert found.sha256 == data.sha256 == content_hash({**_named(data)})
    for name, array in found.arrays.items():
        assert mapped(array)
        file = found.path / "data" / name / ".".join("0" * array.ndim)
        np.testing.assert_array_equal(np.fromfile(file, array.dtype).reshape(array.shape), data.arrays[name])
        np.testing.assert_array_equal(zarr.open_group(str(found.path), mode="r")[f"data/{name}"][:], array)  # type: ignore[index]
    assert read_attributes(found.path)["recipe"] == data.provenance["recipe"]


def test_a_mapped_file_that_was_cut_or_changed_is_refused(scarce: None, toy: Path) -> None:
    data = read_store(toy)
    write_store(toy.parent / "d" / STORE, _episodes(data), data.provenance)
    file = toy.parent / "d" / STORE / "data" / "point_cloud" / "0.0.0"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match="content does not match its hash"):
        read_store(toy.parent / "d")
    file.write_bytes(content[:-4])
    with pytest.raises(DataError, match="zarr: damaged"):
        read_store(toy.parent / "d")
    file.unlink()
    with pytest.raises(DataError, match="content does not match its hash"):
        read_store(toy.parent / "d")


def test_large_data_are_not_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written, read and held out in parts: 48 MB of pictures, in a few at a time."""
    monkeypatch.setattr(store, "MAPPED_FROM", 16 << 20)
    monkeypatch.setattr(large, "AT_ONCE", 1 << 20)
    spec = {"suite": "toy", "task": "reach", "action_dim": 2, "state_dim": 3, "image": [100, 100, 3]}
    spec |= {"max_steps": 10, "control_hz": 20.0}

    class Episode(dict[str, np.ndarray]):
        """Pictures are made when they are asked for."""

        def __getitem__(self, name: str) -> np.ndarray:
            if name == "img":
                return np.full((200, 100, 100, 3), len(self), np.uint8)
            return np.zeros((200, 2 if name == "action" else 3), np.float32)

    episodes = [Episode(state=np.empty(0), action=np.empty(0), img=np.empty(0)) for _ in range(8)]
    tracemalloc.start()
    try:
        write_store(tmp_path / STORE, episodes, {"spec": spec, "recipe": {}})
        found = read_store(tmp_path)
        part = episodes_of(found, (0, 2, 5))
        taken = part.arrays["img"][np.array([0, 250, 599])]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.arrays["img"].nbytes == 48_000_000
    assert part.arrays["img"].shape == (600, 100, 100, 3)
    assert taken.shape == (3, 100, 100, 3)
    assert peak < 16_000_000  # an episode is 6 MB


@pytest.mark.parametrize("on_host", [False, True])
def test_a_policy_of_mapped_data_is_the_same(
    on_host: bool, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Also where episodes are held out, and where the device has no room for the arrays."""
    options = {"train__hold_out": 0.4, "train__validate_every": 4}
    trainer(toy, tmp_path / "a", **options).run()
    data = read_store(toy)
    request.getfixturevalue("scarce")
    write_store(tmp_path / "d" / STORE, _episodes(data), data.provenance)
    if on_host:
        monkeypatch.setattr(observed, "has_room", lambda *_: False)
    made = trainer(tmp_path / "d", tmp_path / "b", **options)
    assert isinstance(made.dataset.arrays["point_cloud"], Selected)
    made.run()
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    whole = trainer(tmp_path / "d", tmp_path / "c")
    trainer(toy, tmp_path / "e").run()
    assert mapped(whole.dataset.arrays["point_cloud"])
    whole.run()
    assert same(weights(tmp_path / "c"), weights(tmp_path / "e"))


def test_commands_take_mapped_data(scarce: None, omp: Omp, toy: Path, tmp_path: Path) -> None:
    data = read_store(toy)
    shutil.rmtree(toy / STORE)
    write_store(toy / STORE, _episodes(data), data.provenance)
    done = omp("pretrain", toy, "--steps", 5, *TINY, "--hold-out", 0.4, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert "not writable" not in done.err
    for line in (
        ("eval", tmp_path / "run", "--offline"),
        ("view", toy, "--out", tmp_path / "view"),
        ("memprofile", "--checkpoint", tmp_path / "run", "--out", tmp_path / "profile"),
        ("deploy", tmp_path / "run", "--replay", toy, "--seconds", "0.5"),
        ("prepare", "own", toy, "--task", "reach", "--out", tmp_path / "again"),
    ):
        done = omp(*line)
        assert done.code == 0, (line, done.err)
        assert "not writable" not in done.err
    policy = open_run(tmp_path / "run")[-1].load("ema")
    torch.manual_seed(0)
    drawn = demonstrated(open_run(tmp_path / "run")[-1], policy, "environment", False).sample(5)
    assert drawn.obs["point_cloud"].shape[0] == 5


def _episodes(data: store.Dataset) -> list[dict[str, np.ndarray]]:
    ends = data.episode_ends.tolist()
    return [
        {name: np.asarray(array[begin:end]) for name, array in data.arrays.items()}
        for begin, end in zip([0, *ends], ends, strict=False)
    ]


def _named(data: store.Dataset) -> dict[str, np.ndarray]:
    arrays = {f"data/{name}": np.asarray(array) for name, array in data.arrays.items()}
    return arrays | {"meta/episode_ends": data.episode_ends}
