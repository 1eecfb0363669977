"""The store: diffusion-policy layout that zarr 2 reads, content hash, and every kind of damage as one line."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest

from omp_cli.core.base.errors import DataError, RunFailed
from omp_cli.core.base.run import Run
from omp_cli.core.data.store import STORE, content_hash, read_attributes, read_store, write_store

SPEC = {
    "suite": "toy",
    "task": "reach",
    "action_dim": 2,
    "state_dim": 3,
    "points": 4,
    "end_effector": [0, 1, 2],
    "max_steps": 10,
    "control_hz": 20.0,
}


def episode(frames: int, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "state": random.normal(size=(frames, 3)).astype(np.float32),
        "action": random.normal(size=(frames, 2)).astype(np.float32),
        "point_cloud": random.normal(size=(frames, 4, 3)).astype(np.float32),
    }


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_store(tmp_path / "d" / STORE, [episode(120, 0), episode(7, 1)], {"spec": SPEC, "recipe": {}})
    return tmp_path / "d" / STORE


def test_round_trip(store: Path) -> None:
    for path in (store, store.parent):
        data = read_store(path)
        assert data.episode_ends.tolist() == [120, 127]
        np.testing.assert_array_equal(data.arrays["state"][120:], episode(7, 1)["state"])
        assert data.spec.points == 4


@pytest.mark.parametrize("shade", [0, 255])
def test_a_camera_that_is_off_is_read_again(tmp_path: Path, shade: int) -> None:
    """66 MB of pictures of one value take a few kilobytes on disk, or none."""
    pictures = np.full((120, 480, 384, 3), shade, np.uint8)
    alone = {"image": [480, 384, 3], "points": None, "end_effector": None}
    frames = {key: episode(120, 0)[key] for key in ("state", "action")}
    write_store(tmp_path / STORE, [{**frames, "img": pictures}], {"spec": {**SPEC, **alone}, "recipe": {}})
    np.testing.assert_array_equal(read_store(tmp_path).arrays["img"][119], pictures[119])


def test_a_reader_that_knows_only_zarr_2_gets_the_same_numbers(store: Path) -> None:
    """Ten lines against the format's specification, so no zarr library has a say in it."""
    for name, expected in episode(120, 0).items():
        meta = json.loads((store / "data" / name / ".zarray").read_text())
        assert meta["zarr_format"] == 2
        assert meta["order"] == "C"
        assert meta["filters"] in (None, [])
        assert meta["chunks"] == [100, *expected.shape[1:]]
        assert meta["compressor"]["id"] == "blosc"
        assert meta["compressor"]["cname"] == "zstd"
        first = ".".join(["0"] * expected.ndim)
        raw = numcodecs.get_codec(meta["compressor"]).decode((store / "data" / name / first).read_bytes())
        np.testing.assert_array_equal(
            np.frombuffer(raw, meta["dtype"]).reshape(meta["chunks"]), expected[:100], err_msg=name
        )
    assert json.loads((store / ".zgroup").read_text()) == {"zarr_format": 2}
    assert json.loads((store / "meta" / "episode_ends" / ".zarray").read_text())["dtype"] == "<i8"


def test_the_hash_depends_on_names_types_shapes_and_values() -> None:
    a = np.arange(6, dtype=np.float32)
    variants: list[dict[str, Any]] = [
        {"a": a},
        {"b": a},
        {"a": a.reshape(2, 3)},
        {"a": a.astype(np.float64)},
        {"a": a + 1},
    ]
    assert len({content_hash(v) for v in variants}) == len(variants)
    assert content_hash({"a": a, "b": a}) == content_hash({"b": a, "a": a})


def damage(store: Path, how: str) -> Path:
    """Break a store in one of the ways that happen."""
    attributes = json.loads((store / ".zattrs").read_text())
    if how == "chunk changed":
        chunk = store / "data" / "action" / "0.0"
        chunk.write_bytes(chunk.read_bytes()[:-7] + b"\0" * 7)
    elif how == "value changed":
        import zarr

        zarr.open_group(str(store), mode="r+")["data/state"][3] = 0.5
    elif how == "chunk lost":
        (store / "data" / "state" / "0.0").unlink()
    elif how == "array lost":
        shutil.rmtree(store / "data" / "point_cloud")
    elif how == "metadata cut":
        (store / "data" / "action" / ".zarray").write_text('{"zarr_fo')
    elif how == "attributes lost":
        (store / ".zattrs").unlink()
    elif how == "other schema":
        (store / ".zattrs").write_text(json.dumps({**attributes, "schema_version": 9}))
    elif how == "wrong dimensions":
        (store / ".zattrs").write_text(json.dumps({**attributes, "spec": {**SPEC, "action_dim": 5}}))
    elif how == "spec malformed":
        (store / ".zattrs").write_text(json.dumps({**attributes, "spec": {"suite": 3}}))
    elif how == "not a group":
        shutil.rmtree(store)
        store.parent.joinpath("notes.txt").write_text("hello")
        return store.parent
    elif how == "half-written":
        shutil.rmtree(store)
        (store.parent / ".episodes").mkdir()
        return store.parent
    elif how == "missing":
        return store.parent / "nowhere"
    return store


DAMAGES = ["chunk changed", "value changed", "chunk lost", "array lost", "metadata cut", "attributes lost"]
DAMAGES += ["other schema", "wrong dimensions", "spec malformed", "not a group", "half-written", "missing"]


@pytest.mark.parametrize("how", DAMAGES)
def test_damage_is_one_line_about_the_data_set(store: Path, how: str) -> None:
    with pytest.raises(DataError) as error:
        read_store(damage(store, how))
    assert error.value.message.startswith("data set ")
    assert "\n" not in error.value.message
    assert error.value.exit_code == 3


def test_a_folder_of_something_else_is_answered_with_a_line_that_can_be_pasted(tmp_path: Path) -> None:
    (folder := tmp_path / "my runs").mkdir()
    with pytest.raises(DataError, match="not a zarr group") as refused:
        read_store(folder)
    assert f"omp prepare own '{folder}' --task NAME" in str(refused.value.hint)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    bad = episode(5, 0)
    bad["action"][2, 1] = np.nan
    write_store(tmp_path / STORE, [bad], {"spec": SPEC, "recipe": {}})
    with pytest.raises(DataError, match="not finite"):
        read_store(tmp_path)


ATTRIBUTE_EDITS: list[dict[str, Any]] = [
    {"start_states": []},
    {"recipe": {"suite": {"name": "other"}}},
    {"spec": {**SPEC, "max_steps": 10_000}},
    {"spec": {**SPEC, "task": "../../../etc/passwd"}},
    {"note": float("nan")},
    {"attributes_sha256": "0" * 64},
]


def edited(store: Path, **changed: Any) -> Path:
    attributes = json.loads((store / ".zattrs").read_text())
    (store / ".zattrs").write_text(json.dumps({**attributes, **changed}))
    return store


@pytest.mark.parametrize("changed", ATTRIBUTE_EDITS)
def test_edited_attributes_are_found(store: Path, changed: dict[str, Any]) -> None:
    edited(store, **changed)
    for read in (read_store, read_attributes):
        with pytest.raises(DataError, match="attributes do not match their hash"):
            read(store)


def test_attributes_are_hashed_as_they_are_read(tmp_path: Path) -> None:
    odd = {"spec": SPEC, "recipe": {}, "limits": (1.0, 0.1 + 0.2, 1e-300), "constants": {10: 0.5, 9: 1.0}, "name": "ä"}
    write_store(tmp_path / STORE, [episode(5, 0)], {**odd, "of others": {"bound": float("inf")}})
    found = read_store(tmp_path).provenance
    assert found["limits"] == [1.0, 0.1 + 0.2, 1e-300]
    assert found["of others"] == {"bound": None}
    assert "NaN" not in (tmp_path / STORE / ".zattrs").read_text()
    assert "Infinity" not in (tmp_path / STORE / ".zattrs").read_text()


def test_an_old_store_stays_readable_and_is_compared_with_the_manifest_beside_it(store: Path) -> None:
    attributes = json.loads((store / ".zattrs").read_text())
    del attributes["attributes_sha256"]
    (store / ".zattrs").write_text(json.dumps(attributes))
    assert read_store(store).sha256 == attributes["content_sha256"]
    with Run(store.parent, "prepare", {}, {}) as run:
        run.artifact(store)
    read_store(store.parent)
    edited(store, start_states=["changed"])
    with pytest.raises(DataError, match="manifest of its run"):
        read_store(store.parent)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "out of memory"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files"),
        (RuntimeError("can't start new thread"), "thread"),
        (PermissionError(errno.EACCES, "Permission denied"), "permission denied"),
        (OSError(errno.EIO, "Input/output error"), "input/output"),
    ],
    ids=repr,
)
def test_what_the_machine_refuses_is_not_called_damage(
    store: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("zarr.open_group", refuse)
    for read in (read_store, read_attributes):
        with pytest.raises(RunFailed, match=words) as caught:
            read(store)
        assert "delete" not in caught.value.hint
        assert str(store) in caught.value.message


def test_held_out_episodes_are_named_by_the_store(tmp_path: Path, store: Path) -> None:
    assert read_store(store).held_out == ()
    episodes = [episode(5, 0), episode(7, 1), episode(6, 2)]
    write_store(tmp_path / "h" / STORE, episodes, {"spec": SPEC, "recipe": {}, "held_out": [0, 2]})
    assert read_store(tmp_path / "h").held_out == (0, 2)
    for number, wrong in enumerate(([3], [-1], [1, 1], [2, 0], [0, 1, 2], "0", [True], 1)):
        write_store(tmp_path / str(number) / STORE, episodes, {"spec": SPEC, "recipe": {}, "held_out": wrong})
        with pytest.raises(DataError, match="held_out is no list of some of its 3 episodes"):
            read_store(tmp_path / str(number))
