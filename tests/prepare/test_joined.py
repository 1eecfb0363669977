"""Several files become one data set: their episodes count on from one to the next, and what they hold is alike."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import psutil
import pytest

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.progress import Silent
from omp_cli.core.data.catalogue import TaskFacts, read_catalogue
from omp_cli.core.data.readers import FORMATS, Recording, Subject
from omp_cli.core.data.readers.base import spec_of
from omp_cli.core.data.store import read_store
from omp_cli.core.prepare.joined import joined, read_inputs
from omp_cli.core.prepare.named_files import NamedFile, refuse_twice
from omp_cli.core.prepare.origin import from_files
from omp_cli.core.suites.adroit import AdroitConfig, shown
from omp_cli.core.suites.adroit.shown import Shown, show_recording
from omp_cli.core.suites.own.source import OwnFilesConfig
from tests.cli.test_bad_input import refused
from tests.conftest import Omp
from tests.data import formats
from tests.data.arrays import recorded, write_aloha, write_npy, write_npz, write_zarr
from tests.data.bags import write_bags
from tests.data.lerobot import write_lerobot
from tests.data.rlds import episode as of_rlds
from tests.data.rlds import write_rlds

WRITERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "robomimic": ("can", lambda folder: formats.write_robomimic(folder / "d.hdf5", (5, 4, 6))),
    "d4rl": ("hopper-medium", lambda folder: formats.write_d4rl(folder / "d.hdf5")),
    "npz": ("hopper-medium", lambda folder: formats.write_npz(folder / "d.hdf5")),
    "minari": ("mixed", lambda folder: formats.write_minari(folder / "d.hdf5")),
    "zarr": ("can", lambda folder: write_zarr(folder / "d.hdf5", recorded())),
    "arrays": ("can", lambda folder: write_npy(folder / "d.hdf5", recorded())),
    "episodes": ("can", lambda folder: write_aloha(folder / "d.hdf5")),
    "groups": ("can", lambda folder: formats.write_groups(folder / "d.hdf5")),
    "rlds": ("can", lambda folder: write_rlds(folder / "d.hdf5", {"train": [[of_rlds(k, 4 + k) for k in range(3)]]})),
    "rosbag": ("can", lambda folder: write_bags(folder / "d.hdf5")),
    "lerobot": ("lift", lambda folder: write_lerobot(folder / "d.hdf5", kind="image")),
}
"""What writes a file or folder of each format, and a task that it can be of."""
HAS_TO_BE_SAID = {"rosbag": {"state": ["/joints/position"], "action": ["/command"]}}
"""What a format does not say of itself."""
SUITE = {"hopper-medium": "gym", "mixed": "kitchen"}


def session(seed: int, **more: Any) -> dict[str, np.ndarray]:
    """A recording like that of any other day, with other numbers."""
    arrays = {**recorded(channels=3), **more}
    return {**arrays, "state": arrays["state"] + np.float32(seed)}


def days(folder: Path, *names: str) -> list[Path]:
    """A store of three episodes for each day."""
    return [write_zarr(folder / f"{name}.zarr", session(seed)) for seed, name in enumerate(names)]


def said(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("format_", FORMATS.names())
def test_files_of_every_format_are_read_one_after_the_other(format_: str, tmp_path: Path) -> None:
    task, write = WRITERS[format_]
    paths = [tmp_path / "a" / "d.hdf5", tmp_path / "b" / "d.hdf5"]
    for path in paths:
        path.parent.mkdir()
        write(path.parent)
    origin = from_files(read_catalogue(), SUITE.get(task, "robomimic"), task, None, paths)
    assert origin.format == format_, "each is recognised by its content"
    assert origin.source.endswith("-and-1-more")
    subject = replace(origin.subject, hz=10.0)
    reader = FORMATS.build(FORMATS.parse({"name": format_, **HAS_TO_BE_SAID.get(format_, {})}))
    values = {"suite": "robomimic", "task": task, "source": "s", "format": {"name": format_}}
    config = OwnFilesConfig.model_validate(values)

    def read(files: tuple[Path, ...], limit: int | None) -> Any:
        return read_inputs(reader, [NamedFile(file) for file in files], subject, limit, config, Silent())

    one, both = read(origin.files[:1], None), read(origin.files, None)
    count = len(one.episodes)
    assert len(both.episodes) == len(both.starts) == 2 * count
    for place, episode in enumerate(both.episodes):
        assert episode.keys() == one.episodes[0].keys()
        np.testing.assert_array_equal(episode["action"], one.episodes[place % count]["action"])
    assert both.held_out == (*one.held_out, *(count + index for index in one.held_out))
    assert (one.name(1), one.files) == ("episode 1", ()), "one file speaks as it always did"
    assert both.name(count + 1).startswith(f"episode {count + 1} (episode 1 of b/d.hdf5")
    assert (both.spec, both.hz, both.names, both.cameras) == (one.spec, one.hz, one.names, one.cameras)
    assert all(sentence in both.said for sentence in one.said), "what is said of all files is said once"
    few = read(origin.files, count + 1)
    assert len(few.episodes) == count + 1
    assert any(sentence.startswith("nothing is taken of b/d.hdf5") for sentence in read(origin.files, 1).said)


def test_days_of_recording_are_one_data_set_in_one_line(omp: Omp, tmp_path: Path) -> None:
    monday, tuesday = days(tmp_path, "monday", "tuesday")
    line = ("prepare", "own", monday, tuesday, "--hz", 30)
    done = omp(*line, "--demos", 5, "--set", "leave_out=2,4", "--out", tmp_path / "d")
    assert done.code == 0, done.err
    assert "task monday-and-1-more: by the first file's name" in said(done.err)
    text = said(done.out)
    assert "files that are joined, and their episodes: monday.zarr 0 to 2, tuesday.zarr 3 to 4" in text
    assert (
        "left out of 5 episodes, as leave_out says: 2 (episode 2 of monday.zarr), 4 (episode 1 of tuesday.zarr)" in text
    )
    data = read_store(tmp_path / "d")
    assert data.episode_ends.tolist() == [9, 15, 24]
    np.testing.assert_array_equal(data.arrays["state"][15:], session(1)["state"][:9])
    recipe = data.provenance["recipe"]
    assert recipe["joined"] == ["monday.zarr", "tuesday.zarr"], "their order is that of the episodes"
    assert set(recipe["files"]) == {"monday.zarr", "tuesday.zarr"}
    manifest = json.loads((tmp_path / "d" / "manifest.json").read_text())
    assert {i["sha256"] for i in manifest["inputs"]} == set(recipe["files"].values())
    assert [part["episodes"] for part in data.provenance["environment"]["joined"]] == [3, 2]
    words = said(done.out).split("next: omp ")[1].split()
    assert words[:2] == ["pretrain", str(tmp_path / "d")]
    again = omp(*line, "--demos", 5, "--set", "leave_out=2,4", "--out", tmp_path / "d", "--json")
    assert again.json["result"]["reused"] is True
    other = omp(
        "prepare", "own", tuesday, monday, *line[4:], "--demos", 5, "--set", "leave_out=2,4", "--out", tmp_path / "d"
    )
    refused(other, 2, "asked for")


def test_the_files_decide_the_name_of_the_folder(omp: Omp, tmp_path: Path) -> None:
    monday, tuesday, friday = days(tmp_path, "monday", "tuesday", "friday")
    line = ("prepare", "own", "--hz", 30, "--dry-run", "--json")
    told = [omp(*line, *files).json for files in ((monday, tuesday), (tuesday, monday), (monday, friday))]
    folders = {document["folder"] for document in told}
    assert len(folders) == 3
    assert all("-and-1-more" in folder for folder in folders)
    assert told[0]["files"] == [str(monday), str(tuesday)]


def test_a_benchmarks_files_are_joined_too(omp: Omp, tmp_path: Path) -> None:
    formats.write_robomimic(tmp_path / "a.hdf5", (5, 4, 6))
    formats.write_robomimic(tmp_path / "b.hdf5", (7, 5))
    line = ("prepare", "robomimic", "--file", tmp_path / "a.hdf5", "--file", tmp_path / "b.hdf5", "--out")
    done = omp(*line, tmp_path / "d", "--json", "--set", "format.filter=train")
    assert done.code == 0, done.err
    assert (done.json["result"]["task"], done.json["result"]["demos"]) == ("can", 3)
    with h5py.File(tmp_path / "b.hdf5", "a") as file:
        del file["mask/train"]
    refused(omp(*line, tmp_path / "e", "--set", "format.filter=train"), 2, "b.hdf5: no filter key 'train'")
    env = {**formats.ENV, "env_kwargs": {**formats.ENV["env_kwargs"], "robots": ["Sawyer"]}}
    formats.write_robomimic(tmp_path / "b.hdf5", (7, 5), env=env)
    refused(omp(*line, tmp_path / "e"), 3, "b.hdf5: not as ", "its env_kwargs.robots is ['Sawyer'], that one's is")
    formats.write_robomimic(tmp_path / "b.hdf5", (7, 5), env={**formats.ENV, "env_name": "Lift"})
    refused(omp(*line, tmp_path / "e"), 3, "b.hdf5: of task lift, ", "a.hdf5 of can", "--task")


def test_held_out_episodes_move_by_those_before_them(omp: Omp, tmp_path: Path) -> None:
    formats.write_robomimic(tmp_path / "a.hdf5", (5, 4, 6))
    formats.write_robomimic(tmp_path / "b.hdf5", (7, 5))
    line = ("prepare", "own", tmp_path / "a.hdf5", tmp_path / "b.hdf5", "--task", "can")
    assert omp(*line, "--out", tmp_path / "d").code == 0
    assert read_store(tmp_path / "d").held_out == (2, 4)
    assert omp(*line, "--set", "leave_out=0,2", "--out", tmp_path / "e").code == 0
    assert read_store(tmp_path / "e").held_out == (2,)
    with h5py.File(tmp_path / "b.hdf5", "a") as file:
        file["mask/valid"][0] = b"demo_0"
        del file["mask/train"]
    assert omp(*line, "--demos", 4, "--out", tmp_path / "f").code == 0
    assert read_store(tmp_path / "f").held_out == (2, 3), "also where nothing else is taken of a file"
    assert omp(*line[:2], tmp_path / "b.hdf5", "--demos", 1, "--out", tmp_path / "g").code == 0
    assert read_store(tmp_path / "g").held_out == (), "what is all there is has to be trained on"


def test_many_files_say_the_same_once(omp: Omp, tmp_path: Path) -> None:
    lengths = [(4,), (5,), (6,), (7,), (8,)]
    for number, of_one in enumerate(lengths):
        arrays = {**recorded(of_one, channels=3), "load": np.zeros((sum(of_one), 2))}
        write_npz(tmp_path / f"s{number}.npz", arrays, of_one)
    done = omp("prepare", "own", *sorted(tmp_path.glob("s*.npz")), "--hz", 5, "--out", tmp_path / "d")
    assert done.code == 0, done.err
    assert "s0.npz: left out: load (4, 2); so of 4 more files, with other numbers" in said(done.out)
    assert "s4.npz 4" in said(done.out)


def test_sentences_of_one_kind_are_counted_by_file(tmp_path: Path) -> None:
    subject = Subject("own", "t", TaskFacts(max_steps=5, control_hz=20.0))
    episodes = [{"state": np.zeros((3, 2), np.float32), "action": np.zeros((3, 1), np.float32)}]

    def told(*of_each: tuple[str, ...]) -> list[str]:
        spec = spec_of(subject, episodes)
        found = [Recording(episodes, spec, {}, [np.zeros(1)], said=of_one) for of_one in of_each]
        return list(joined("abcdefghijklmnop"[: len(found)], found).said[1:])

    cameras = tuple(f"cam{number}: rounded" for number in range(4))
    assert told((), cameras) == [f"b: {sentence}" for sentence in cameras], "of four things, not of four files"
    assert told(cameras, cameras[:1]) == [cameras[0], *(f"a: {sentence}" for sentence in cameras[1:])]
    assert told(cameras, cameras) == list(cameras)
    few = told(("x 1",), ("x 1",), ("x 2",), ("x 3",), ("x 4",))
    assert few == ["a, b: x 1; so of 3 more files, with other numbers"]


def test_of_many_files_it_is_said_where_all_stand(omp: Omp, tmp_path: Path) -> None:
    write_aloha(tmp_path / "sess", (2,) * 13)
    done = omp("prepare", "own", *sorted((tmp_path / "sess").iterdir()), "--hz", 30, "--out", tmp_path / "d")
    assert done.code == 0, done.err
    assert "environment.joined in the data set's attributes" in said(done.out)
    assert len(read_store(tmp_path / "d").provenance["environment"]["joined"]) == 13


def test_messages_name_the_file_of_an_episode(omp: Omp, tmp_path: Path) -> None:
    monday, tuesday = days(tmp_path, "monday", "tuesday")
    arrays = session(1)
    arrays["state"][10] = np.nan
    broken = write_zarr(tmp_path / "broken.zarr", arrays)
    line = ("prepare", "own", monday, broken, tuesday, "--hz", 30, "--out", tmp_path / "d")
    where = f"{monday} and 2 more: episode 4 (episode 1 of broken.zarr) has values of state"
    refused(omp(*line), 3, where, "--set leave_out=4")
    few = ("--points", 8, "--crop", "5,5,5,6,6,6", "--set", "leave_out=0,1,2")
    refused(omp(*line, *few), 3, "episode 3 (episode 0 of broken.zarr), frame 0: 0 points are left")
    (tmp_path / "tuesday.zarr" / "data" / "state" / ".zarray").write_text("{")
    refused(omp(*line), 3, f"{tuesday}: damaged")


def test_files_that_are_named_twice_or_copied_are_refused(
    omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monday, tuesday, _ = days(tmp_path, "monday", "tuesday", "friday")
    line = ("prepare", "own", "--hz", 30, "--out", tmp_path / "d")
    refused(omp(*line, monday, tuesday, "monday.zarr"), 2, "monday.zarr: named twice, also as ", "would count twice")
    write_zarr(tmp_path / "copy.zarr", session(0))
    refused(omp(*line, monday, "copy.zarr"), 2, f"copy.zarr: a copy of {monday}", "would count twice")
    assert not (tmp_path / "d" / "demos.zarr").exists()
    assert omp(*line, Path("../") / tmp_path.name / "tuesday.zarr", "friday.zarr").code == 0, "wherever they are"
    with pytest.raises(UsageError, match="named twice"):
        refuse_twice([monday, tmp_path / "." / "monday.zarr"])


def test_what_lies_in_another_or_is_shared_is_refused(omp: Omp, tmp_path: Path) -> None:
    write_aloha(tmp_path / "one")
    write_aloha(tmp_path / "two", (7, 5))
    one, two = tmp_path / "one", tmp_path / "two"
    first = one / "episode_0.hdf5"
    line = ("prepare", "own", "--task", "pour", "--hz", 30, "--out", tmp_path / "d")
    refused(omp(*line, one, first), 2, f"{one} and {first} share an episode: {first}", "would count twice")
    refused(omp(*line, first, one), 2, f"{first} and {one} share an episode: {first}")
    copy = two / "episode_9.hdf5"
    copy.write_bytes(first.read_bytes())
    refused(omp(*line, one, two), 2, f"{one} and {two} share an episode: {first} and {copy}")
    (store,) = days(tmp_path, "monday")
    inner = write_zarr(store / "inner.zarr", session(1))
    for files in ((store, inner), (inner, store)):
        refused(omp(*line, *files), 2, f"{inner}: lies in {store}, which is named too", "would count twice")
    assert not (tmp_path / "d" / "demos.zarr").exists()


def test_files_of_which_nothing_is_taken_are_not_hashed(omp: Omp, tmp_path: Path) -> None:
    for name, lengths in (("one", (4, 5, 6)), ("two", (7, 8, 9)), ("three", (3, 3))):
        write_aloha(tmp_path / name, lengths)
    (tmp_path / "two" / "episode_1.hdf5").write_bytes(b"damaged")
    (tmp_path / "three" / "episode_1.hdf5").write_bytes(b"damaged")
    line = ("prepare", "own", tmp_path / "one", tmp_path / "two", tmp_path / "three", "--hz", 30, "--demos", 4)
    done = omp(*line, "--out", tmp_path / "d")
    assert done.code == 0, done.err
    assert "one 0 to 2, two 3 nothing is taken of three" in said(done.out)
    wanted = {"one/episode_0.hdf5", "one/episode_1.hdf5", "one/episode_2.hdf5", "two/episode_0.hdf5"}
    assert set(read_store(tmp_path / "d").provenance["recipe"]["files"]) == wanted
    assert len(json.loads((tmp_path / "d" / "manifest.json").read_text())["inputs"]) == 4


def test_a_data_set_of_omp_is_known_by_what_lies_beside_it(
    omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store,) = days(tmp_path, "demos")
    line = ("prepare", "own", "--hz", 30, "--task", "pour", "--dry-run", "--json")
    assert Path(omp(*line, store).json["folder"]).name == "pour-demos-hz30", "a store of anyone's with that name"
    assert omp("prepare", "own", store, "--hz", 30, "--out", tmp_path / "monday").code == 0
    for words in ((tmp_path / "monday",), (tmp_path / "monday", "--format", "zarr")):
        assert Path(omp(*line, *words).json["folder"]).name == "pour-monday-hz30"
    assert omp("prepare", "own", tmp_path / "monday", "--format", "zarr", "--out", tmp_path / "d").code == 0
    monkeypatch.chdir(tmp_path / "monday" / "demos.zarr")
    assert FORMATS.get("zarr").label(Path()) == "monday"


def test_prepared_data_sets_are_joined(omp: Omp, tmp_path: Path) -> None:
    """A policy of both reads what a robot shows as one of each does, unless a setting makes other arrays of them."""
    names = ("--set", "state_names=a,b,c,d", "--set", "action_unit=rad", "--set", "end_effector=0,1,2")
    for path in days(tmp_path, "monday", "tuesday", "cropped"):
        crop = ("--crop", "-9,-9,-9,9,9,9") if path.stem == "cropped" else ()
        made = omp("prepare", "own", path, "--hz", 30, *names, "--points", 8, *crop, "--out", tmp_path / path.stem)
        assert made.code == 0, made.err
    line = ("prepare", "own", tmp_path / "monday", "--task", "pour")
    done = omp(*line, tmp_path / "tuesday", "--out", tmp_path / "d")
    assert done.code == 0, done.err
    first, both = read_store(tmp_path / "monday"), read_store(tmp_path / "d")
    assert both.suite == first.suite
    assert both.suite["cloud"]["points"] == 8
    assert (both.spec.end_effector, both.spec.cloud_in_fps_order) == ((0, 1, 2), True)
    less = omp(*line, tmp_path / "tuesday", "--set", "format.img=[]", "--out", tmp_path / "less")
    assert less.code == 0, less.err
    assert (read_store(tmp_path / "less").suite, read_store(tmp_path / "less").spec.image) == (first.suite, None)
    other_state = omp(*line, tmp_path / "tuesday", "--set", "format.state=action", "--out", tmp_path / "other_state")
    assert said(other_state.out).count("(cloud) is not taken over") == 1, other_state.err
    assert read_store(tmp_path / "other_state").spec.end_effector is None
    for number, other in enumerate(((tmp_path / "tuesday", "--points", 4), (tmp_path / "cropped",))):
        unlike = omp(*line, *other, "--out", tmp_path / f"unlike{number}")
        assert said(unlike.out).count("(cloud) is not taken over") == 1, unlike.err
        lost = read_store(tmp_path / f"unlike{number}")
        assert lost.spec.end_effector == (0, 1, 2)
        assert lost.suite == {"name": "own", "cloud": {"array": "point_cloud", "points": lost.spec.points}}
    assert both.provenance["recipe"]["source"] == "monday-and-1-more", "by the folder: all stores have one name"
    assert (both.spec.control_hz, both.spec.action_unit, both.spec.points) == (30.0, "rad", 8)
    assert both.spec.state_channels is not None
    assert both.spec.state_channels.names == ("a", "b", "c", "d")
    for name in ("state", "action", "img", "point_cloud"):
        np.testing.assert_array_equal(both.arrays[name][:23], first.arrays[name])
    other = omp(
        "prepare", "own", tmp_path / "tuesday.zarr", "--hz", 30, "--set", "action_unit=deg", "--out", tmp_path / "e"
    )
    assert other.code == 0, other.err
    line = ("prepare", "own", tmp_path / "monday", tmp_path / "e", "--points", 8, "--set", "state_names=a,b,c,d")
    refused(omp(*line), 3, "its unit of action is deg, that one's is rad", "action_unit=")
    line = (*line, "--set", "action_unit=rad")
    refused(omp(*line), 3, "it has no end-effector, that one has [0, 1, 2]", "--set end_effector=0,1,2")
    done = omp(*line, "--set", "end_effector=0,1,2", "--out", tmp_path / "f")
    assert done.code == 0, done.err


def test_clouds_are_in_order_where_all_of_them_are(omp: Omp, tmp_path: Path) -> None:
    for path, crop in zip(days(tmp_path, "sampled", "as_it_was"), (("--crop", "-9,-9,-9,9,9,9"), ()), strict=True):
        made = omp("prepare", "own", path, "--hz", 30, *crop, "--out", tmp_path / path.stem)
        assert made.code == 0, made.err
        assert read_store(tmp_path / path.stem).spec.cloud_in_fps_order == bool(crop)
    for names, ordered in ((("sampled", "as_it_was"), False), (("sampled",), True)):
        line = ("prepare", "own", *(tmp_path / name for name in names), "--task", "pour", "--out", tmp_path / "d")
        assert omp(*line).code == 0
        assert read_store(tmp_path / "d").spec.cloud_in_fps_order == ordered
        shutil.rmtree(tmp_path / "d")


def test_held_out_episodes_of_prepared_data_sets_stay_so(omp: Omp, tmp_path: Path) -> None:
    for name, lengths in (("a", (5, 4, 6)), ("b", (7, 5))):
        formats.write_robomimic(tmp_path / f"{name}.hdf5", lengths)
        made = omp("prepare", "own", tmp_path / f"{name}.hdf5", "--task", "can", "--out", tmp_path / name)
        assert made.code == 0, made.err
    done = omp("prepare", "own", tmp_path / "a", tmp_path / "b", "--task", "can", "--out", tmp_path / "d")
    assert done.code == 0, done.err
    assert read_store(tmp_path / "d").held_out == (2, 4)
    assert "2 of 5 episodes are held out" in said(done.out)


def test_memory_that_other_folders_took_is_not_free(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lerobot(tmp_path / "so1", kind="image")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100_000, total=1))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    refused(omp("prepare", "own", tmp_path / "so1"), 3, "so1: what its cameras show takes", "of the disk of")


def test_what_is_shown_anew_keeps_the_numbers_of_its_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a failure before it is left out: messages and ``leave_out`` count as the files do."""
    subject = Subject("adroit", "door", TaskFacts(max_steps=5, control_hz=20.0))
    episodes = [{"state": np.zeros((3, 39), np.float32), "action": np.zeros((3, 28), np.float32)} for _ in range(3)]
    spec, files = spec_of(subject, episodes), (("a.hdf5", 0), ("b.hdf5", 1))
    recording = Recording(episodes, spec, {}, [np.zeros(1)] * 3, states=[{}] * 3, numbers=(0, 2, 3), files=files)
    seen = [Shown(frames, {}, np.zeros(1), 0.0) for frames in ({}, None, {})]
    monkeypatch.setattr(shown, "in_order", lambda *_: iter(seen))
    monkeypatch.setattr(shown.Adroit, "require", lambda _: None)
    monkeypatch.setattr(shown, "_notes", lambda *_: {})
    found = show_recording(recording, AdroitConfig(), subject, False, None, 1, Silent())
    assert [found.name(place) for place in range(2)] == [
        "episode 0 (episode 0 of a.hdf5)",
        "episode 3 (episode 2 of b.hdf5)",
    ]
