"""LeRobot folders of both layouts: the same episodes, the right picture at every frame, damage as one line."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

pytest.importorskip("av")
pytest.importorskip("pyarrow")

from omp_cli.core.base.errors import DataError, MissingDependency, UsageError
from omp_cli.core.base.files import LFS_POINTER
from omp_cli.core.data.readers.base import sniff
from omp_cli.core.data.readers.lerobot import LerobotConfig
from omp_cli.core.data.readers.lerobot_folder import Folder
from omp_cli.core.data.readers.pictures import resized
from omp_cli.core.data.readers.video import decoded_image
from omp_cli.core.data.store import read_store
from tests.cli.test_bad_input import refused
from tests.conftest import Omp
from tests.data.lerobot import CAMERAS, FPS, Episode, png, write_lerobot, write_video
from tests.data.test_readers import read

INFO = "meta/info.json"
TOP = "observation.images.top"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``v2.1`` and ``v3.0`` with the same two episodes; not to be written to."""
    root = tmp_path_factory.mktemp("lerobot")
    for version in ("v2.1", "v3.0"):
        write_lerobot(root / version, version)
    return root


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Episode]:
    return write_lerobot(tmp_path_factory.mktemp("written") / "f", lengths=(7, 10), kind="image")


def nearest(picture: np.ndarray, episodes: list[Episode], camera: str) -> tuple[int, int, float]:
    """Episode, frame and mean error of the picture that is most like this one."""
    errors = [
        (float(np.abs(picture.astype(int) - theirs).mean()), number, k)
        for number, episode in enumerate(episodes)
        for k, theirs in enumerate(episode[f"observation.images.{camera}"])
    ]
    error, number, k = min(errors)
    return number, k, error


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_every_frame_has_its_numbers_and_its_pictures(folders: Path, written: list[Episode], version: str) -> None:
    found = read(folders / version / INFO, "robomimic", "lift")
    assert [len(e["action"]) for e in found.episodes] == [7, 10]
    for number, (theirs, ours) in enumerate(zip(written, found.episodes, strict=True)):
        np.testing.assert_array_equal(ours["state"], theirs["observation.state"])
        np.testing.assert_array_equal(ours["action"], theirs["action"])
        np.testing.assert_array_equal(ours["reward"], theirs["next.reward"])
        np.testing.assert_array_equal(ours["success"], theirs["next.success"])
        np.testing.assert_array_equal(ours["terminal"], theirs["next.done"])
        assert ours["img"].dtype == np.uint8
        for k, picture in enumerate(ours["img"]):
            for camera, name in enumerate(CAMERAS):
                which = nearest(picture[..., 3 * camera : 3 * camera + 3], written, name)
                assert which[:2] == (number, k), "the picture of that frame and no other"
                assert which[2] < 3.0, "within the codec's loss; the next frame differs by 6.7"
    spec = found.spec
    assert (spec.state_dim, spec.action_dim, spec.image, spec.control_hz) == (6, 7, (32, 48, 6), FPS)
    assert (spec.end_effector, spec.max_steps) == (None, 400)
    assert found.notes["codebase_version"] == version
    assert found.notes["instructions"] == ["lift the cube"]
    assert found.notes["cameras"] == list(CAMERAS)


def test_both_layouts_hold_the_same_and_the_second_episode_can_be_read_alone(folders: Path) -> None:
    old, new = (read(folders / version / INFO, "robomimic", "lift") for version in ("v2.1", "v3.0"))
    for ours, theirs in zip(old.episodes, new.episodes, strict=True):
        for name in ("state", "action", "reward", "success", "terminal"):
            np.testing.assert_array_equal(ours[name], theirs[name])
        assert np.abs(ours["img"].astype(int) - theirs["img"]).mean() < 3
    assert len(read(folders / "v3.0" / INFO, "robomimic", "lift", limit=1).episodes) == 1


@pytest.mark.parametrize("version", ["v2.0", "v3.0"])
def test_pictures_in_the_table_come_back_bit_for_bit(tmp_path: Path, version: str) -> None:
    episodes = write_lerobot(tmp_path / "f", version, kind="image")
    found = read(tmp_path / "f" / INFO, "robomimic", "lift")
    for theirs, ours in zip(episodes, found.episodes, strict=True):
        expected = np.concatenate([theirs[f"observation.images.{name}"] for name in CAMERAS], axis=3)
        np.testing.assert_array_equal(ours["img"], expected)


def test_what_is_taken_can_be_chosen(folders: Path, written: list[Episode]) -> None:
    path = folders / "v3.0" / INFO
    one = read(path, "robomimic", "lift", cameras=["wrist"], size=16, state=["observation.state", "action"])
    assert (one.spec.image, one.spec.state_dim) == ((16, 16, 3), 13)
    whole = written[1]["observation.images.wrist"][4].astype(float)  # blocks of 2 x 3 pixels
    averaged = whole.reshape(16, 2, 16, 3, 3).mean(axis=(1, 3))
    assert np.abs(one.episodes[1]["img"][4] - averaged).mean() < 4
    none = read(path, "robomimic", "lift", cameras=[], instruction="lift the cube")
    assert none.spec.image is None
    for options, words in (
        ({"cameras": ["tpo"]}, "no pictures of camera 'tpo'"),
        ({"state": ["observation.stat"]}, "no feature 'observation.stat'"),
        ({"action": TOP}, "expected a vector of numbers"),
        ({"instruction": "lift the cup"}, "no episode with the instruction"),
    ):
        with pytest.raises(UsageError, match=words):
            read(path, "robomimic", "lift", **options)


def test_an_action_can_be_made_of_several_features(folders: Path, written: list[Episode]) -> None:
    path = folders / "v2.1" / INFO
    found = read(path, "robomimic", "lift", cameras=[], action="action,next.reward", state="observation.state")
    action = np.concatenate([written[1]["action"], written[1]["next.reward"][:, None]], axis=1)
    np.testing.assert_array_equal(found.episodes[1]["action"], action)
    assert found.names["action"] == (*(f"action[{i}]" for i in range(7)), "next.reward[0]")
    config = LerobotConfig(action="action")  # type: ignore[arg-type]  # as old recipes have it
    assert (config.action, config.model_dump(mode="json")["action"]) == (("action",), "action")


def test_pictures_that_memory_cannot_hold_are_refused(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither memory nor the disk has a place for them."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=40_000, total=1))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    with pytest.raises(DataError, match=r"takes .* 40,000 bytes of memory and 10,000 bytes of the disk") as caught:
        read(folders / "v3.0" / INFO, "robomimic", "lift")
    assert "format.size" in caught.value.hint
    read(folders / "v3.0" / INFO, "robomimic", "lift", size=8)


def edited(features: dict[str, Any] | None = None, **values: object) -> Callable[[Path], None]:
    """Other values in info.json; a feature that is None is taken out."""

    def edit(root: Path) -> None:
        document = json.loads((root / INFO).read_text())
        merged = {**document["features"], **(features or {})}
        kept = {key: feature for key, feature in merged.items() if feature is not None}
        (root / INFO).write_text(json.dumps({**document, **values, "features": kept}))

    return edit


def videos(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.mp4") if TOP in str(path))


def reencoded(frames: slice, drop: int | None = None) -> Callable[[Path], None]:
    """The last episode's (v3: the only) video of the first camera with other frames."""

    def edit(root: Path) -> None:
        write_video(videos(root)[-1], np.full((30, 32, 48, 3), 90, np.uint8)[frames], drop)

    return edit


def cut(pattern: str) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        path = sorted(root.rglob(pattern))[-1]
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return edit


def dropped_rows(root: Path) -> None:
    from pyarrow import parquet

    path = sorted((root / "data").rglob("*.parquet"))[-1]
    table = parquet.read_table(path)
    parquet.write_table(table.slice(0, len(table) - 2), path)


LIST, TASK = "meta/episodes.jsonl", '{"task_index": 0}'


def lines(change: Callable[[list[str]], list[str]], name: str = LIST) -> Callable[[Path], None]:
    """Other lines in a list; one that is not there yet begins with none."""

    def edit(root: Path) -> None:
        path = root / name
        found = path.read_text().splitlines() if path.is_file() else []
        path.write_text("\n".join(change(found)) + "\n")

    return edit


def row(number: int, **values: object) -> Callable[[Path], None]:
    """Other values in a row of the list of episodes, of either layout."""

    def edit(root: Path) -> None:
        if (root / LIST).is_file():
            rows = [json.loads(line) for line in (root / LIST).read_text().splitlines()]
            rows[number] |= values
            (root / LIST).write_text("".join(json.dumps(r) + "\n" for r in rows))
            return
        import pyarrow as pa
        from pyarrow import parquet

        path = next((root / "meta").rglob("*.parquet"))
        rows = parquet.read_table(path).to_pylist()
        rows[number] |= values
        parquet.write_table(pa.Table.from_pylist(rows), path)

    return edit


def column(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Another last table of frames."""

    def edit(root: Path) -> None:
        from pyarrow import parquet

        path = sorted((root / "data").rglob("*.parquet"))[-1]
        parquet.write_table(change(parquet.read_table(path)), path)

    return edit


def replaced(name: str, values: Any) -> Callable[[Any], Any]:
    return lambda table: table.set_column(table.schema.get_field_index(name), name, [values])


def pointer(pattern: str) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        sorted(root.rglob(pattern))[-1].write_bytes(LFS_POINTER + b"\noid sha256:12\nsize 5\n")

    return edit


DAMAGE: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "no video": ("v2.1", lambda root: videos(root)[1].unlink(), "episode_000001.mp4: no such file"),
    "no video 3": ("v3.0", lambda root: videos(root)[0].unlink(), "file-000.mp4: no such file"),
    "too few": ("v2.1", reencoded(slice(9)), "has no picture for frame 9 of 10"),
    "too few 3": ("v3.0", reencoded(slice(15)), "has no picture for frame 8 of 10"),
    "too many": ("v2.1", reencoded(slice(11)), "goes on after the last of 10 frames"),
    "a gap": ("v2.1", reencoded(slice(10), 3), "has no picture for frame 3 of 10"),
    "a gap 3": ("v3.0", reencoded(slice(17), 9), "has no picture for frame 2 of 10"),
    "cut video": ("v2.1", cut("*.mp4"), "damaged, or not a picture or video"),
    "cut table": ("v2.1", cut("data/**/*.parquet"), "damaged or cut short"),
    "cut list": ("v3.0", cut("meta/**/*.parquet"), "damaged or cut short"),
    "rows": ("v3.0", dropped_rows, "episode 1 has 8 frames or a gap, meta says 10"),
    "version": ("v2.1", edited(codebase_version="v1.6"), "codebase_version 'v1.6', this omp reads v2.0, v2.1, v3.0"),
    "not json": ("v2.1", lambda root: (root / INFO).write_text("{"), "not a JSON file"),
    "fps": ("v2.1", edited(fps=None), "fps is missing"),
    "template": ("v2.1", edited(video_path="videos/{camera}.mp4"), "info.json is damaged: {camera}, expected"),
    "outside": ("v2.1", edited(data_path="../{episode_index}.parquet"), "leads out of the folder"),
    "no list": ("v2.1", lambda root: (root / "meta/episodes.jsonl").unlink(), "episodes.jsonl: no such file"),
    "bad line": ("v2.1", lines(lambda rows: [rows[0][:-1], rows[1]]), "episodes.jsonl, line 1: not JSON"),
    "cut line": ("v2.1", lines(lambda rows: [rows[0], rows[1][:9]]), "episodes.jsonl, line 2: not JSON"),
    "bad task": (
        "v2.1",
        lines(lambda _: ['{"task_index": 0}', "{"], "meta/tasks.jsonl"),
        "tasks.jsonl, line 2: not JSON",
    ),
    "task twice": (
        "v2.1",
        lines(lambda _: ['{"task_index": 0}'] * 2, "meta/tasks.jsonl"),
        "task_index 0 is there twice",
    ),
    "stats": ("v2.1", lines(lambda _: ["[]"], "meta/episodes_stats.jsonl"), "episodes_stats.jsonl, line 1: a list"),
    "all stats": ("v2.1", lines(lambda _: ["{"], "meta/stats.json"), "stats.json: not JSON"),
    "twice": ("v2.1", lines(lambda rows: [*rows, rows[1]]), "has episode 1 twice"),
    "twice 3": ("v3.0", row(1, episode_index=0), "has episode 0 twice"),
    "missing": ("v2.1", lines(lambda rows: rows[1:]), "lacks episode 0"),
    "fewer": ("v2.1", edited(total_episodes=3), "has 2 episodes, info.json says 3"),
    "frames": ("v3.0", edited(total_frames=18), "has 17 frames, info.json says 18"),
    "total": ("v2.1", edited(total_episodes="2"), "total_episodes is the text '2', expected a whole number"),
    "length": ("v2.1", row(1, length=11), "episode 1 has 10 frames or a gap, meta says 11"),
    "length 3": ("v3.0", row(0, length=6), "episode 0 has 7 frames or a gap, meta says 6"),
    "huge length": ("v2.1", row(1, length=10**12), "meta says 1000000000000"),
    "no length": ("v2.1", row(1, length=None), "episodes.jsonl, line 2: length is null"),
    "index": ("v2.1", row(1, episode_index=True), "line 2: episode_index is true or false"),
    "nested tasks": ("v2.1", row(1, tasks=[["x"]]), "line 2: one of tasks is a list, expected text"),
    "tasks": ("v2.1", row(1, tasks="x"), "line 2: tasks is the text 'x', expected a list"),
    "a gap in frames": ("v2.1", column(replaced("frame_index", [0, 1, 2, 3, 4, 5, 6, 7, 8, 10])), "or a gap"),
    "another's frames": ("v2.1", column(replaced("episode_index", [1] * 9 + [5])), "episode 1 has 9 frames"),
    "struct": ("v2.1", column(replaced("action", [{"a": 1}] * 10)), "column 'action'"),
    "column twice": ("v2.1", column(lambda t: t.append_column("action", t["action"])), "twice the column 'action'"),
    "width": ("v2.1", column(replaced("action", [[1.0, 2.0]] * 10)), "has 2 numbers a frame, info.json says 7"),
    "reward": ("v2.1", edited({"next.reward": {"dtype": "float32", "shape": [2]}}), "has 1 numbers a frame"),
    "times": ("v2.1", column(replaced("timestamp", [0.0] * 10)), "each after the one before"),
    "deep": ("v2.1", lambda root: (root / INFO).write_text("[" * 200_000), "nested too deeply"),
    "a list": ("v2.1", lambda root: (root / INFO).write_text("[]"), "info.json is a list, expected a JSON object"),
    "utf-8": ("v2.1", lambda root: (root / LIST).write_bytes(b"\xff\xfe"), "episodes.jsonl, line 1: not UTF-8"),
    "spaces": ("v2.1", edited(data_path="{episode_index:>2000000000}"), "data_path '{episode_index:>2000000000}'"),
    "digits": ("v2.1", edited(data_path="{episode_chunk:0999999999d}"), "of info.json is damaged"),
    "attribute": ("v2.1", edited(data_path="{episode_index.__class__}"), "of info.json is damaged"),
    "item": ("v2.1", edited(data_path="{episode_index[0]}"), "of info.json is damaged"),
    "in a width": ("v2.1", edited(data_path="{episode_index:{episode_index}}"), "of info.json is damaged"),
    "brace": ("v2.1", edited(data_path="{"), "of info.json is damaged"),
    "number": ("v2.1", edited(data_path=7), "data_path is missing in info.json, or of another kind"),
    "long": ("v2.1", edited(data_path="a" * 5000), "too long for a file's name"),
    "absolute": ("v2.1", edited(video_path="/etc/passwd"), "leads out of the folder"),
    "chunks": ("v2.1", edited(chunks_size=0), "chunks_size is the number 0, expected a whole number from 1 on"),
    "infinite fps": ("v2.1", edited(fps=float("inf")), "fps is a number out of all bounds"),
    "feature": ("v2.1", edited({"x": 3}), "feature 'x' is the number 3, expected an object"),
    "times of a clip": ("v3.0", row(1, **{f"videos/{TOP}/from_timestamp": -1.0}), "expected a number from 0 on"),
    "file of a clip": ("v3.0", row(1, **{f"videos/{TOP}/file_index": -1}), "file_index is the number -1"),
    "LFS video": ("v2.1", pointer("*.mp4"), "a Git LFS pointer, not the file itself"),
    "LFS table": ("v2.1", pointer("data/**/*.parquet"), "a Git LFS pointer, not the file itself"),
    "LFS list": ("v2.1", pointer("episodes.jsonl"), "a Git LFS pointer, not the file itself"),
    "LFS info": ("v2.1", pointer("info.json"), "a Git LFS pointer, not the file itself"),
    "no table": ("v3.0", lambda root: shutil.rmtree(root / "data"), "file-000.parquet: no such file"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_one_line_about_the_file(folders: Path, tmp_path: Path, how: str) -> None:
    version, break_, words = DAMAGE[how]
    root = tmp_path / "f"
    shutil.copytree(folders / version, root)
    break_(root)
    with pytest.raises(DataError) as error:
        read(root / INFO, "robomimic", "lift")
    assert str(root) in error.value.message
    assert words in error.value.message
    assert "\n" not in error.value.message


def test_a_list_with_a_mark_and_other_line_ends_is_whole(folders: Path, tmp_path: Path) -> None:
    root = shutil.copytree(folders / "v2.1", tmp_path / "f")
    text = (root / LIST).read_text().replace("lift the cube", "lift\u2028the cube")
    rows = [json.dumps(json.loads(line), ensure_ascii=False) for line in text.split("\n") if line]
    (root / LIST).write_bytes(("\ufeff" + "\r\n".join(rows) + "\r\n\r\n").encode())
    edited(total_episodes=2, total_frames=17)(root)
    found = read(root / INFO, "robomimic", "lift")
    assert len(found.episodes) == 2
    assert found.notes["instructions"] == ["lift\u2028the cube"]


def nvidia(root: Path, seconds: float) -> None:
    """As NVIDIA's GR1 folder: no frame_index, timestamps that begin later than the videos."""
    from pyarrow import parquet

    for path in (root / "data").rglob("*.parquet"):
        table = parquet.read_table(path)
        times = np.array(table["timestamp"].to_pylist()) + seconds
        table = table.set_column(table.schema.get_field_index("timestamp"), "timestamp", [times])
        parquet.write_table(table.drop_columns(["frame_index"]), path)


@pytest.mark.parametrize("seconds", [0.1, -0.05])
@pytest.mark.parametrize("version", ["v2.0", "v3.0"])
def test_times_that_are_off_by_the_same_everywhere_are_shifted(
    folders: Path, written: list[Episode], tmp_path: Path, version: str, seconds: float
) -> None:
    """Also without frame_index: then "index" orders the frames."""
    root = shutil.copytree(folders / ("v2.1" if version < "v3" else version), tmp_path / "f")
    nvidia(root, seconds)
    found = read(root / INFO, "robomimic", "lift")
    for number, episode in enumerate(found.episodes):
        np.testing.assert_array_equal(episode["action"], written[number]["action"])
        for k, picture in enumerate(episode["img"]):
            assert nearest(picture[..., :3], written, "top")[:2] == (number, k)
    assert f"camera top: the timestamps of 2 of 2 episodes begin {seconds:+.3f} s off" in found.said[0]
    assert len(found.said) == 2


def test_times_that_are_off_without_a_picture_a_frame_are_damage(folders: Path, tmp_path: Path) -> None:
    root = shutil.copytree(folders / "v2.1", tmp_path / "f")
    nvidia(root, 0.1)
    reencoded(slice(9))(root)
    with pytest.raises(DataError, match=r"episode_000001\.mp4 has no picture for frame"):
        read(root / INFO, "robomimic", "lift")


def test_a_camera_without_files_is_named_and_so_are_the_others(folders: Path, omp: Omp, tmp_path: Path) -> None:
    root = shutil.copytree(folders / "v2.1", tmp_path / "f")
    edited({"observation.images.side": {"dtype": "video", "shape": [32, 48, 3]}})(root)
    line = ("prepare", "robomimic", "--task", "lift", "--file", root, "--out", tmp_path / "d")
    refused(omp(*line), 3, "a camera side, the folder does not", '--set \'format.cameras=["top", "wrist"]\'')
    done = omp(*line, "--set", f'format.cameras=["{TOP}", "wrist"]')
    assert done.code == 0, done.err
    assert read_store(tmp_path / "d").spec.image == (32, 48, 6)
    with pytest.raises(UsageError, match="camera 'top' is named twice"):
        read(root / INFO, "robomimic", "lift", cameras=["top", TOP])


def test_cameras_of_one_short_name_keep_their_whole_ones(folders: Path, tmp_path: Path) -> None:
    root = shutil.copytree(folders / "v2.1", tmp_path / "f")
    edited({"observation.top": {"dtype": "video", "shape": [32, 48, 3]}})(root)
    shutil.copytree(root / f"videos/chunk-000/{TOP}", root / "videos/chunk-000/observation.top")
    assert read(root / INFO, "robomimic", "lift").notes["cameras"] == [TOP, "wrist", "observation.top"]


def test_a_feature_that_its_table_lacks_is_named(folders: Path, tmp_path: Path) -> None:
    shutil.copytree(folders / "v2.1", tmp_path / "f")
    edited(features={"observation.effort": {"dtype": "float32", "shape": [6]}})(tmp_path / "f")
    with pytest.raises(DataError, match=r"episode_000000.parquet: no column 'observation.effort'"):
        read(tmp_path / "f" / INFO, "robomimic", "lift", state=["observation.effort"])
    edited(features={"action": None})(tmp_path / "f")
    with pytest.raises(UsageError, match="no feature 'action'"):
        read(tmp_path / "f" / INFO, "robomimic", "lift")


def test_cameras_of_two_sizes_want_one(folders: Path, tmp_path: Path) -> None:
    shutil.copytree(folders / "v3.0", tmp_path / "f")
    write_video(videos(tmp_path / "f")[0], np.zeros((17, 24, 24, 3), np.uint8))
    with pytest.raises(UsageError, match="pictures are 32x48, those of top 24x24"):
        read(tmp_path / "f" / INFO, "robomimic", "lift")
    assert read(tmp_path / "f" / INFO, "robomimic", "lift", size=24).spec.image == (24, 24, 6)


def test_a_size_means_the_same_in_every_format() -> None:
    """FFmpeg's area averaging, of videos and packed pictures, and that of arrays; FFmpeg blurs spots of colour."""
    grey = np.repeat(np.random.default_rng(0).integers(0, 256, (48, 64, 1), np.uint8), 3, axis=2)
    rows, columns = np.mgrid[:48, :64]
    coloured = np.stack([5 * rows, 4 * columns, 3 * rows + columns], axis=2).astype(np.uint8)
    said: list[str] = []
    for size in (16, 20, 31):
        for picture in (grey, coloured):
            theirs = decoded_image(png(picture), size, "p").astype(int)
            np.testing.assert_allclose(resized(picture[None], size, "p", said)[0], theirs, atol=2)
    assert said[0] == "p: pictures of 48x64 are resized to 16x16, which changes their proportions"


def test_a_size_of_no_pictures_is_refused(folders: Path, tmp_path: Path) -> None:
    shutil.copytree(folders / "v2.1", tmp_path / "f")
    edited({f"observation.images.{camera}": None for camera in CAMERAS})(tmp_path / "f")
    with pytest.raises(UsageError, match=r"format\.size is the size of pictures, and none are found"):
        read(tmp_path / "f" / INFO, "robomimic", "lift", size=24)


def test_features_that_are_not_taken_are_said(folders: Path, tmp_path: Path) -> None:
    shutil.copytree(folders / "v2.1", tmp_path / "f")
    effort, counter = ({"dtype": "float32", "shape": [n], "names": None} for n in (6, 1))
    edited({"observation.effort": effort, "timestamp": counter, "note": {"dtype": "string"}})(tmp_path / "f")
    (said,) = read(tmp_path / "f" / INFO, "robomimic", "lift", cameras=["wrist"]).said
    assert said == f"left out: {TOP} (32, 48, 3), observation.effort (6,), note"


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ({"x": 1, "y": 0, **{str(n): n for n in range(2, 7)}}, "y"),
        ({"x": 1, "y": 1, **{str(n): n for n in range(2, 7)}}, "action[0]"),
        ({str(n): n for n in range(6)}, "action[0]"),
        ({"arm": ["a", "b", "c", "d", "e", "f"], "hand": ["g"]}, "a"),
    ],
    ids=["by place", "a place twice", "too few", "by kind"],
)
def test_names_of_numbers_in_an_object(folders: Path, tmp_path: Path, names: dict[str, Any], first: str) -> None:
    root = shutil.copytree(folders / "v2.1", tmp_path / "f")
    edited({"action": {"dtype": "float32", "shape": [7], "names": names}})(root)
    assert Folder(root / INFO).channel_names("action")[0] == first


def test_of_the_first_episodes_only_their_files_have_to_be_there(folders: Path, omp: Omp, tmp_path: Path) -> None:
    root = shutil.copytree(folders / "v2.1", tmp_path / "f")
    for path in [*root.rglob("episode_000001.mp4"), *root.rglob("episode_000001.parquet")]:
        path.unlink()
    line = ("prepare", "own", root, "--set", "format.size=16")
    refused(omp(*line, "--out", tmp_path / "all"), 3, "episode_000001.parquet: no such file")
    done = omp(*line, "--demos", 1, "--out", tmp_path / "d")
    assert done.code == 0, done.err
    files = read_store(tmp_path / "d").provenance["recipe"]["files"]
    assert not [name for name in files if "episode_000001" in name]
    assert len(files) == 2 + 1 + len(CAMERAS)


def test_an_error_names_the_folder_once_and_says_what_to_do(folders: Path, omp: Omp, tmp_path: Path) -> None:
    root = shutil.copytree(folders / "v2.1", tmp_path / "f")
    write_video(videos(root)[0], np.zeros((8, 32, 48, 3), np.uint8))
    done = omp("prepare", "own", root, "--out", tmp_path / "d")
    refused(done, 3, "goes on after the last of 7 frames", "leave the camera out")
    assert done.err.count(str(root)) == 1


def test_depth_is_left_out(folders: Path, omp: Omp, tmp_path: Path) -> None:
    shutil.copytree(folders / "v3.0", tmp_path / "f")
    depth = {"dtype": "video", "shape": [32, 48, 3], "info": {"video.is_depth_map": True}}
    edited(features={TOP: depth})(tmp_path / "f")
    found = read(tmp_path / "f" / INFO, "robomimic", "lift")
    assert found.notes["cameras"] == ["wrist"]
    assert found.said == (f"depth is left out: {TOP}",)
    line = ("prepare", "own", tmp_path / "f", "--out", tmp_path / "d", "--set")
    refused(
        omp(*line, "format.depth=top"),
        2,
        "unknown setting format.depth",
        "arrays, episodes, groups, rlds, robomimic, rosbag, zarr",
    )
    refused(omp(*line, "format.cameras=top"), 2, "it is a depth camera", "format.depth")


def test_without_the_packages_it_is_one_line(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package, name in (("av", "PyAV"), ("pyarrow", "pyarrow")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(MissingDependency, match=f"{name} is not installed") as caught:
                read(folders / "v2.1" / INFO, "robomimic", "lift")
            assert caught.value.hint == "pip install 'omp-cli[lerobot]'"


def test_from_a_folder_to_a_policy(folders: Path, omp: Omp, tmp_path: Path) -> None:
    root = shutil.copytree(folders / "v3.0", tmp_path / "cubes")
    assert sniff(root / INFO) == "lerobot"
    line = ("prepare", "robomimic", "--task", "lift", "--file", root, "--set", "format.size=16")
    done = omp(*line, "--out", tmp_path / "d")
    assert done.code == 0, done.err
    assert "reach" not in done.out
    data = read_store(tmp_path / "d")
    recipe = data.provenance["recipe"]
    assert data.provenance["rollout_suite"] == {"name": "own"}, "nothing says that a simulator shows this state"
    assert (recipe["source"], recipe["format"]["name"], recipe["format"]["size"]) == ("cubes", "lerobot", 16)
    tables = {INFO, "meta/episodes/chunk-000/file-000.parquet", "data/chunk-000/file-000.parquet"}
    pictures = {f"videos/observation.images.{name}/chunk-000/file-000.mp4" for name in CAMERAS}
    assert set(recipe["files"]) == tables | pictures
    assert omp(*line, "--out", tmp_path / "d", "--json").json["result"]["reused"] is True
    parts = ("--encoder", "state", "--net", "residual-mlp", "--method", "dmpo", "--set", "net.hidden=32")
    trained = omp("pretrain", tmp_path / "d", *parts, "--steps", 2, "--batch-size", 4, "--out", tmp_path / "run")
    assert trained.code == 0, trained.err
    videos(root)[0].unlink()
    refused(omp(*line, "--out", tmp_path / "e"), 3, "file-000.mp4: no such file")


def test_actions_of_other_units_are_taken_as_they_are_and_said(folders: Path, omp: Omp, tmp_path: Path) -> None:
    from pyarrow import compute, parquet

    root = shutil.copytree(folders / "v3.0", tmp_path / "degrees")
    path = root / "data/chunk-000/file-000.parquet"
    table = parquet.read_table(path)
    actions = np.array(table["action"].to_pylist()) * 90
    position = table.schema.get_field_index("action")
    parquet.write_table(table.set_column(position, "action", [actions.tolist()]), path)
    assert compute.sum(table["frame_index"]).as_py() == 21 + 45
    line = ("prepare", "robomimic", "--task", "lift", "--file", root, "--set", "format.cameras=[]")
    done = omp(*line, "--out", tmp_path / "d")
    assert done.code == 0, done.err
    reach = np.abs(actions).max()
    assert f"actions of lift reach {reach:.3g}" in done.out
    np.testing.assert_allclose(read_store(tmp_path / "d").arrays["action"], actions, rtol=1e-6)
