"""One file per episode: ALOHA's folders, plain and packed, folders of npz and of subfolders; what does not fit."""

import builtins
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from omp_cli.core.base.errors import DataError, MissingDependency, UsageError
from omp_cli.core.data.readers import FORMATS, Recording, packed
from omp_cli.core.data.readers.base import sniff
from omp_cli.core.prepare.joined import read_inputs, with_files
from omp_cli.core.prepare.leaving_out import without
from omp_cli.core.prepare.origin import located
from omp_cli.core.suites.own.source import OwnFilesConfig
from tests.data.arrays import LENGTHS, recorded, write_aloha, write_npz
from tests.data.formats import write_d4rl, write_robomimic
from tests.data.test_arrays import SUBJECT, Silent, read

STATE, IMAGES = "observations/qpos", "observations/images"
Episodes = list[dict[str, np.ndarray]]


def joined(recording: Recording, name: str) -> np.ndarray:
    return np.concatenate([episode[name] for episode in recording.episodes])


def test_a_folder_of_aloha_is_read_without_being_told(tmp_path: Path) -> None:
    lengths = (3, 2, 4, 2, 2, 2, 2, 2, 2, 2, 5)
    written = write_aloha(tmp_path / "cup", lengths)
    found = read(tmp_path / "cup")
    assert sniff(tmp_path / "cup") == "episodes"
    assert FORMATS.get("episodes").label(tmp_path / "cup") == "cup"
    assert [len(e["action"]) for e in found.episodes] == list(lengths), "episode_10 comes after episode_9"
    np.testing.assert_array_equal(joined(found, "action"), np.concatenate([e["action"] for e in written]))
    np.testing.assert_array_equal(
        joined(found, "state"), np.concatenate([e[STATE] for e in written]).astype(np.float32)
    )
    for place, camera in enumerate(("top", "wrist")):
        pictures = np.concatenate([e[f"{IMAGES}/{camera}"] for e in written])
        np.testing.assert_array_equal(joined(found, "img")[..., 3 * place : 3 * place + 3], pictures)
    assert found.cameras == ("top", "wrist")
    assert found.names["state"][0] == f"{STATE}[0]"
    said = " ".join(found.said)
    assert "11 files are an episode each, by the numbers in their names: episode_0.hdf5 to episode_10.hdf5" in said
    assert f"left out: observations/qvel ({sum(lengths)}, 14)" in said
    one = read(tmp_path / "cup", img=[f"{IMAGES}/wrist"])
    assert (one.cameras, one.spec.image) == (("wrist",), (32, 48, 3))
    assert read(tmp_path / "cup", img=[]).spec.image is None


def test_pictures_are_resized_episode_by_episode(tmp_path: Path) -> None:
    written = write_aloha(tmp_path / "cup")
    found = read(tmp_path / "cup", size=16)
    pictures = np.concatenate([e[f"{IMAGES}/wrist"] for e in written])
    means = pictures.reshape(-1, 16, 2, 16, 3, 3).mean((2, 4))
    np.testing.assert_allclose(joined(found, "img")[..., 3:], means, atol=0.51)
    assert sum("resized to 16x16" in sentence for sentence in found.said) == 2, "once a camera"


def test_packed_pictures_are_those_that_were_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    written, again = write_aloha(tmp_path / "cup", compress=True), write_aloha(tmp_path / "two", compress=True)
    unpacked: list[str] = []
    decoded = packed.decoded_image
    monkeypatch.setattr(
        packed, "decoded_image", lambda row, size, where: unpacked.append(where) or decoded(row, size, where)
    )
    found = read(tmp_path / "cup")
    pictures = np.concatenate([e[f"{IMAGES}/top"] for e in written]).astype(int)
    inner = (slice(None), slice(10, 22), slice(12, 22))
    assert np.abs(joined(found, "img")[..., :3].astype(int) - pictures)[inner].max() < 16, "red is not blue"
    assert found.spec.image == (32, 48, 6)
    assert any("pictures are unpacked" in sentence for sentence in found.said)
    assert len(unpacked) == 2 * (sum(LENGTHS) + 1), "each once, and the first one for its size"
    for number in range(len(again)):  # as texts of bytes, and as rows of different lengths
        with h5py.File(tmp_path / "two" / f"episode_{number}.hdf5", "a") as file:
            for camera, kind in (("top", "S"), ("wrist", h5py.vlen_dtype(np.uint8))):
                rows = [row.tobytes().rstrip(b"\0") for row in file[f"{IMAGES}/{camera}"][()]]
                del file[f"{IMAGES}/{camera}"]
                if kind == "S":
                    file[f"{IMAGES}/{camera}"] = np.array(rows)
                else:
                    ragged = file.create_dataset(f"{IMAGES}/{camera}", (len(rows),), kind)
                    for place, row in enumerate(rows):
                        ragged[place] = np.frombuffer(row, np.uint8)
    np.testing.assert_array_equal(joined(read(tmp_path / "two"), "img"), joined(found, "img"))


def test_packed_pictures_that_are_none_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    write_aloha(tmp_path / "cup", compress=True)
    for place, content, words in (
        ((1, 3), b"ffconcat version 1.0\nfile '/etc/passwd'", "episode_1.hdf5: .*top, frame 3 is neither a JPEG nor"),
        ((1, 3), b"\xff\xd8\xff" + bytes(9), "top, frame 3"),
        ((0, 0), b"", "episode_0.hdf5: .*top, frame 0 is neither a JPEG nor a PNG"),
    ):
        with h5py.File(tmp_path / "cup" / f"episode_{place[0]}.hdf5", "a") as file:
            rows = file[f"{IMAGES}/top"]
            rows[place[1]] = np.frombuffer(content.ljust(rows.shape[1], b"\0"), np.uint8)
        with pytest.raises(DataError, match=words):
            read(tmp_path / "cup")
    plain = builtins.__import__

    def bare(name: str, *args: Any) -> Any:
        if name == "av":
            raise ImportError(name)
        return plain(name, *args)

    write_aloha(tmp_path / "two", compress=True)
    monkeypatch.setattr(builtins, "__import__", bare)
    with pytest.raises(MissingDependency, match="PyAV is not installed") as missing:
        read(tmp_path / "two")
    assert "omp-cli[lerobot]" in (missing.value.hint or "")
    assert len(read(tmp_path / "two", img=[]).episodes) == len(LENGTHS)


def write_droid(folder: Path) -> np.ndarray:
    for number, frames in enumerate(LENGTHS):
        (folder / f"traj_{number}").mkdir(parents=True)
        with h5py.File(folder / f"traj_{number}" / "trajectory.h5", "w") as file:
            file["action/joint_position"] = np.full((frames, 7), number)
            file["observation/joint_positions"] = np.full((frames, 7), -number)
    (folder / "failed").mkdir()
    return np.repeat(np.arange(len(LENGTHS)), LENGTHS)


def test_a_folder_per_episode_is_read_by_the_names_of_its_arrays(tmp_path: Path) -> None:
    numbers = write_droid(tmp_path / "d")
    with pytest.raises(UsageError, match=r"none is the state; it has: action/joint_position, observation/joint"):
        read(tmp_path / "d")
    found = read(tmp_path / "d", state="observation/joint_positions", action="action/joint_position")
    np.testing.assert_array_equal(joined(found, "action")[:, 0], numbers)
    assert found.said[:2] == (
        "3 files are an episode each, by the numbers in their names: traj_0/trajectory.h5 to traj_2/trajectory.h5",
        "folders without a file of an episode are left out: failed",
    )
    shutil.copy(tmp_path / "d/traj_0/trajectory.h5", tmp_path / "d/traj_0/other.h5")
    with pytest.raises(DataError, match="of no known format"):
        read(tmp_path / "d")


def write_many(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    """One npz for each episode of the arrays."""
    folder.mkdir()
    for number, end in enumerate(np.cumsum(LENGTHS)):
        part = {name: values[end - LENGTHS[number] : end] for name, values in arrays.items()}
        np.savez(folder / f"{number}.npz", **part)  # type: ignore[arg-type]
    return folder


def test_files_of_npz_are_the_episodes_of_one_npz(tmp_path: Path) -> None:
    arrays = recorded() | {"timestamp": np.arange(sum(LENGTHS)) / 20}
    many, one = read(write_many(tmp_path / "d", arrays)), read(write_npz(tmp_path / "d.npz", arrays))
    assert (many.hz, one.hz) == (20, 20)
    for ours, other in zip(many.episodes, one.episodes, strict=True):
        assert ours.keys() == other.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], other[name])
    (tmp_path / "d" / "._0.npz").write_bytes(b"of another system")
    assert len(read(tmp_path / "d").episodes) == len(LENGTHS)


def test_no_more_files_are_read_than_the_episodes_need(tmp_path: Path) -> None:
    write_aloha(tmp_path / "cup")
    (tmp_path / "cup" / "episode_2.hdf5").write_bytes(b"nothing")
    found = read(tmp_path / "cup", 2)
    assert [len(e["action"]) for e in found.episodes] == list(LENGTHS[:2])
    assert found.notes["episodes_in_file"] == 3
    reader = FORMATS.build(FORMATS.parse({"name": "episodes"}))
    assert [file.name for file in reader.files(tmp_path / "cup", 2)] == ["episode_0.hdf5", "episode_1.hdf5"]
    with pytest.raises(DataError, match=r"episode_2\.hdf5"):
        read(tmp_path / "cup")


def test_a_frame_that_has_no_action_is_left_out_and_told(tmp_path: Path) -> None:
    written = write_aloha(tmp_path / "cup", more=1)
    found = read(tmp_path / "cup")
    np.testing.assert_array_equal(found.episodes[1]["state"], written[1][STATE][:-1].astype(np.float32))
    assert found.episodes[1]["img"].shape[0] == LENGTHS[1]
    assert any(s.startswith(f"{STATE}, {IMAGES}/top, {IMAGES}/wrist: the last frame") for s in found.said)
    assert any("one observation more than actions" in sentence for sentence in found.said)
    changed(tmp_path / "cup" / "episode_1.hdf5", STATE, written[1][STATE][:-1])
    with pytest.raises(DataError, match=r"episode_0\.hdf5: observations/qpos has 10 frames, expected 9") as refused:
        read(tmp_path / "cup")
    assert "one observation more is taken where every episode has it" in refused.value.hint
    for number, episode in enumerate(written):
        changed(tmp_path / "cup" / f"episode_{number}.hdf5", STATE, episode[STATE][:-1])
    some = read(tmp_path / "cup")
    np.testing.assert_array_equal(some.episodes[1]["state"], found.episodes[1]["state"])
    np.testing.assert_array_equal(some.episodes[1]["img"], found.episodes[1]["img"])
    write_aloha(tmp_path / "two", more=2)
    with pytest.raises(DataError, match=r"episode_0\.hdf5: observations/qpos has 11 frames, expected 9"):
        read(tmp_path / "two")


def changed(path: Path, name: str, values: np.ndarray | None) -> None:
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        if values is not None:
            file[name] = values


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        (f"{IMAGES}/wrist", None, r"it has no observations/images/wrist; it has: action, observations/images/top"),
        ("action", np.zeros((6, 7)), r"its action is \(6, 7\) float64, there \(9, 14\) float32"),
        ("action", np.zeros((6, 14), "S3"), "its action is"),
        (f"{IMAGES}/top", np.zeros((6, 4, 4, 3), np.uint8), r"its observations/images/top is \(6, 4, 4, 3\)"),
        ("action", np.zeros((0, 14), np.float32), "action has 0"),
    ],
    ids=["camera", "width", "text", "size", "empty"],
)
def test_files_that_differ_from_the_first_are_named(
    name: str, values: np.ndarray | None, words: str, tmp_path: Path
) -> None:
    write_aloha(tmp_path / "cup")
    changed(tmp_path / "cup" / "episode_1.hdf5", name, values)
    with pytest.raises(DataError, match=rf"episode_1\.hdf5: .*{words}"):
        read(tmp_path / "cup")


def test_pictures_of_floats_that_differ_from_most_are_named_by_file(tmp_path: Path) -> None:
    written = write_aloha(tmp_path / "cup")
    for number, episode in enumerate(written):
        pictures = episode[f"{IMAGES}/top"].astype(np.float32)
        changed(tmp_path / "cup" / f"episode_{number}.hdf5", f"{IMAGES}/top", pictures / (255 if number == 1 else 1))
    with pytest.raises(
        DataError, match=r"episode_1\.hdf5: observations/images/top has values .*episode_0\.hdf5 they are"
    ):
        read(tmp_path / "cup")
    pictures[2, 0, 0, 0] = np.nan
    changed(tmp_path / "cup" / "episode_2.hdf5", f"{IMAGES}/top", pictures)
    with pytest.raises(
        DataError, match=r"episode_2\.hdf5: .*/top has values that are not finite, first at its frame 2"
    ):
        read(tmp_path / "cup")


def with_nan(file: Path) -> None:
    with h5py.File(file) as opened:
        pictures = opened[f"{IMAGES}/top"][()].astype(np.float32)
    pictures[2, 1, 1, 1] = np.nan
    changed(file, f"{IMAGES}/top", pictures)


FAULTS: dict[str, Callable[[Path], Any]] = {
    "other arrays": lambda file: changed(file, f"{IMAGES}/wrist", None),
    "another width": lambda file: changed(file, "action", np.zeros((6, 7), np.float32)),
    "another length": lambda file: changed(file, STATE, np.zeros((5, 14))),
    "no frames": lambda file: changed(file, "action", np.zeros((0, 14), np.float32)),
    "cut short": lambda file: file.write_bytes(file.read_bytes()[:3000]),
    "empty": lambda file: file.write_bytes(b""),
    "a number that is not finite": with_nan,
}


def read_together(folders: list[Path], leave_out: tuple[int, ...], limit: int | None = None) -> Recording:
    """As ``omp prepare own`` does."""
    reader = FORMATS.build(FORMATS.parse({"name": sniff(folders[0])}))
    values = {"suite": "own", "task": "t", "source": "s", "format": {"name": "episodes"}, "leave_out": leave_out}
    config = OwnFilesConfig.model_validate(values)
    inputs = with_files(folders, reader, limit)
    return without(read_inputs(reader, inputs, SUBJECT, limit, config, Silent()), leave_out)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", [0, 1])
def test_an_episode_that_no_reader_takes_can_be_left_out(fault: str, place: int, tmp_path: Path) -> None:
    written = write_aloha(tmp_path / "cup")
    if fault == "a number that is not finite":
        for number, episode in enumerate(written):
            floats = episode[f"{IMAGES}/top"].astype(np.float32)
            changed(tmp_path / "cup" / f"episode_{number}.hdf5", f"{IMAGES}/top", floats)
    FAULTS[fault](tmp_path / "cup" / f"episode_{place}.hdf5")
    if place:  # the first one is what others are compared with
        with pytest.raises(DataError, match=r"episode_1\.hdf5") as refused:
            read_together([tmp_path / "cup"], ())
        assert refused.value.hint.endswith("leave this episode out: --set leave_out=1")
    found = read_together([tmp_path / "cup"], (place,))
    assert found.numbers == (1 - place, 2)
    assert found.name(1) == "episode 2"
    for kept, episode in zip(found.numbers, found.episodes, strict=True):
        np.testing.assert_array_equal(episode["action"], written[kept]["action"])
    assert f"left out of 3 episodes, as leave_out says: {place}" in found.said


def test_episodes_that_are_left_out_are_counted_through_all_inputs(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    written = [episode for folder in folders for episode in write_aloha(folder)]
    for file in (folders[0] / "episode_1.hdf5", folders[1] / "episode_0.hdf5"):
        file.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a/episode_1\.hdf5") as first:
        read_together(folders, ())
    assert first.value.hint.endswith("leave_out=1")
    with pytest.raises(DataError, match=r"b/episode_0\.hdf5") as second:
        read_together(folders, (1,))
    assert second.value.hint.endswith("leave_out=1,3")
    found = read_together(folders, (1, 3))
    assert found.numbers == (0, 2, 4, 5)
    for kept, episode in zip(found.numbers, found.episodes, strict=True):
        np.testing.assert_array_equal(episode["action"], written[kept]["action"])
    assert found.name(2) == "episode 4 (episode 1 of b)"
    assert "left out of 6 episodes, as leave_out says: 1 (episode 1 of a), 3 (episode 0 of b)" in found.said
    assert read_together(folders, (1, 3), 5).numbers == (0, 2, 4), "those that are left out count among --demos"
    alone = folders[1] / "episode_0.hdf5"
    with pytest.raises(DataError) as whole:
        read_together([folders[0], alone], (1,))
    assert whole.value.hint.endswith(f"or do not name {alone}, of which nothing else is taken")


def test_the_odd_one_of_episodes_with_one_observation_more_is_named(tmp_path: Path) -> None:
    written = write_aloha(tmp_path / "cup", more=1)
    changed(tmp_path / "cup" / "episode_1.hdf5", STATE, written[1][STATE][:-1])
    with pytest.raises(
        DataError, match=r"most episodes have one more, and .*episode_1.*has 6 for 6 actions"
    ) as refused:
        read_together([tmp_path / "cup"], ())
    assert refused.value.hint.endswith("leave_out=1")
    assert read_together([tmp_path / "cup"], (1,)).numbers == (0, 2)


def test_other_arrays_in_some_files_are_told(tmp_path: Path) -> None:
    write_aloha(tmp_path / "cup")
    changed(tmp_path / "cup" / "episode_1.hdf5", "observations/qvel", None)
    changed(tmp_path / "cup" / "episode_2.hdf5", "observations/qvel", np.zeros((2, 5), "S2"))
    said = read(tmp_path / "cup").said
    assert "episode_1.hdf5 hold other arrays than episode_0.hdf5, whose names count" in said
    assert said[-1] == "left out: observations/qvel (9, 14)"


def test_what_came_of_the_actions_is_taken_where_every_file_has_it(tmp_path: Path) -> None:
    write_aloha(tmp_path / "cup")
    files = sorted((tmp_path / "cup").iterdir())
    for file, found in zip(files, read(tmp_path / "cup").episodes, strict=True):
        changed(file, "reward", np.arange(len(found["action"])))
        changed(file, "success", np.True_)
    found = read(tmp_path / "cup")
    assert [e["reward"].tolist() for e in found.episodes] == [list(range(len(e["action"]))) for e in found.episodes]
    assert "success" not in found.episodes[0], "one number for all of an episode"
    assert found.said[-1] == "left out: observations/qvel (23, 14), success ()"
    changed(files[1], "reward", None)
    assert "reward" not in read(tmp_path / "cup").episodes[0]
    with pytest.raises(DataError, match=r"episode_1\.hdf5: .* it has no reward"):
        read(tmp_path / "cup", reward=["reward"])


def test_cameras_of_two_sizes_are_told_of(tmp_path: Path) -> None:
    write_aloha(tmp_path / "cup", lengths=(4,))
    changed(tmp_path / "cup" / "episode_0.hdf5", f"{IMAGES}/wrist", np.zeros((4, 8, 8, 3), np.uint8))
    with pytest.raises(UsageError, match="wrist: pictures are 8x8, those of observations/images/top 32x48"):
        read(tmp_path / "cup")


def test_a_file_alone_is_an_episode_where_nothing_else_could_be_meant(tmp_path: Path) -> None:
    written = write_aloha(tmp_path / "cup")
    file = tmp_path / "cup" / "episode_1.hdf5"
    assert sniff(file) == "episodes"
    np.testing.assert_array_equal(read(file).episodes[0]["action"], written[1]["action"])
    np.savez(tmp_path / "d.npz", **recorded())  # type: ignore[arg-type]
    with pytest.raises(DataError, match="lacks episode_ends"):
        read(tmp_path / "d.npz")
    forced = FORMATS.build(FORMATS.parse({"name": "episodes"})).read(tmp_path / "d.npz", SUBJECT, None, Silent())
    assert [len(e["action"]) for e in forced.episodes] == [sum(LENGTHS)]


def test_a_folder_of_files_of_another_format_is_none_of_episodes(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "alone"):
        (tmp_path / name).mkdir()
    for number in range(2):
        write_robomimic(tmp_path / "a" / f"{number}.hdf5", (4, 3))
        write_d4rl(tmp_path / "b" / f"{number}.hdf5")
        write_npz(tmp_path / "c" / f"{number}.npz", recorded())
    np.savez(tmp_path / "alone" / "d.npz", **recorded())  # type: ignore[arg-type]
    for name in ("a", "b", "c", "alone"):
        with pytest.raises(DataError, match="of no known format"):
            located(tmp_path / name)


def test_links_out_of_a_file_are_not_followed(tmp_path: Path) -> None:
    write_aloha(tmp_path / "cup")
    with h5py.File(tmp_path / "cup" / "episode_1.hdf5", "a") as file:
        del file["action"]
        file["action"] = h5py.ExternalLink(str(tmp_path / "cup" / "episode_0.hdf5"), "/action")
    with pytest.raises(DataError, match=r"episode_1\.hdf5: 'action' is a link to another file"):
        read(tmp_path / "cup")
