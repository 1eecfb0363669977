"""``omp eval --offline``: recorded episodes in the place of an environment."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from omp_cli.core.checkpoint import open_run
from omp_cli.core.data.store import read_store
from omp_cli.core.measure.offline import episodes
from omp_cli.core.measure.offline.config import OfflineConfig
from omp_cli.core.measure.offline.tables import offline_tables
from omp_cli.core.policy import Policy
from omp_cli.core.suites.base import SUITES
from tests.cli.test_bad_input import refused
from tests.conftest import TINY, Omp, in_process
from tests.data.arrays import recorded, write_npz


@pytest.fixture(scope="module")
def held(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run (``run``) that held three of the toy's eight episodes out; not to be written to."""
    folder = tmp_path_factory.mktemp("held")
    line = ("pretrain", workshop / "toy", "--steps", 20, *TINY, "--hold-out", 0.4, "--set", "train.validate_every=10")
    in_process(folder, *line, "--out", "run")
    return folder / "run"


def test_figures_files_and_manifest(omp: Omp, held: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise AssertionError("no simulator is asked for anything")

    monkeypatch.setattr(SUITES, "build", gone)
    ran = omp("eval", held, "--offline", "--samples", 4, "--json", "--out", tmp_path / "e")
    assert ran.code == 0, ran.err
    offline = ran.json["result"]["offline"]
    assert (offline["on"], len(offline["episodes"]), offline["samples"]) == ("held-out", 3, 4)
    assert set(offline["errors"]) == {"sample", "mean_of_samples", "samples", "last_action", "mean_of_data"}
    for name in ("sample", "mean_of_samples", "last_action", "mean_of_data"):
        error = offline["errors"][name]
        assert error["relative"]["low"] <= error["relative"]["value"] <= error["relative"]["high"]
        assert len(error["by_dimension"]) == 2
        assert len(error["by_step"]) == 3
    rows = [json.loads(line) for line in (tmp_path / "e" / "episodes.jsonl").read_text().splitlines()]
    assert [row["episode"] for row in rows] == offline["episodes"]
    assert (tmp_path / "e" / "actions.png").read_bytes().startswith(b"\x89PNG")
    manifest = json.loads((tmp_path / "e" / "manifest.json").read_text())
    assert manifest["metrics"]["offline"] == offline
    assert [i["kind"] for i in manifest["inputs"]] == ["checkpoint", "dataset"]


def test_the_baselines_are_those_of_the_data(omp: Omp, held: Path, workshop: Path, tmp_path: Path) -> None:
    """By hand, from the store alone."""
    found = omp("eval", held, "--offline", "--samples", 2, "--json", "--out", tmp_path / "e").json["result"]["offline"]
    data = read_store(workshop / "toy")
    starts = np.concatenate([[0], data.episode_ends])
    actions = [data.arrays["action"][a:b].astype(np.float64) for a, b in itertools.pairwise(starts)]
    known = np.concatenate([x for index, x in enumerate(actions) if index not in found["episodes"]])
    mean, std = known.mean(0), known.std(0)
    still, flat = [], []
    for x in (actions[index] for index in found["episodes"]):
        for frame in range(len(x)):
            before = x[frame - 1] if frame else mean
            for action in x[frame : frame + 3]:
                still.append(((action - before) / std) ** 2)
                flat.append(((action - mean) / std) ** 2)
    for name, squares in (("last_action", still), ("mean_of_data", flat)):
        assert found["errors"][name]["relative"]["value"] == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-5)
    assert found["spread"] == pytest.approx(std, rel=1e-5)


def test_stride_takes_every_so_many_frames(omp: Omp, held: Path, workshop: Path, tmp_path: Path) -> None:
    line = ("eval", held, "--offline", "--samples", 2, "--json")
    found = omp(*line, "--stride", 5, "--out", tmp_path / "e").json["result"]["offline"]
    lengths = np.diff(read_store(workshop / "toy").episode_ends, prepend=0)
    assert found["decisions"] == sum(-(-int(lengths[index]) // 5) for index in found["episodes"])


def test_the_training_episodes_and_other_data(omp: Omp, held: Path, workshop: Path, tmp_path: Path) -> None:
    line = ("eval", held, "--offline", "--samples", 2, "--stride", 9, "--json")
    trained = omp(*line, "--on", "train", "--out", tmp_path / "train")
    assert len(trained.json["result"]["offline"]["episodes"]) == 5
    assert "what the policy was trained on" in trained.err
    omp("prepare", "toy", "--demos", 10, "--points", 48, "--workers", 1, "--out", tmp_path / "more")
    other = omp(*line, "--dataset", tmp_path / "more", "--out", tmp_path / "other")
    assert other.json["result"]["offline"]["on"] == "other data"
    assert len(other.json["result"]["offline"]["episodes"]) == 5, "five of the ten are those that were trained on"
    assert "left out: 5 episodes" in other.err
    wrong = omp(*line, "--dataset", tmp_path / "more", "--on", "train")
    assert wrong.code == 2


def test_a_run_that_held_nothing_out_says_what_to_do(omp: Omp, run: Path, toy: Path, tmp_path: Path) -> None:
    ran = omp("eval", run, "--offline", "--dataset", toy)
    assert ran.code == 3
    assert "held no episode out" in ran.err
    assert "--hold-out 0.1" in ran.err
    assert "--dataset PATH" in ran.err
    alone = Path(shutil.copytree(run, tmp_path / "elsewhere" / "run"))
    (alone / "manifest.json").unlink()
    ran = omp("eval", alone, "--offline")
    assert ran.code == 3
    assert "--dataset PATH" in ran.err


def test_options_of_the_other_kind_are_refused(omp: Omp, held: Path) -> None:
    for option in (("--episodes", 3), ("--video",), ("--workers", 2), ("--curve", 2), ("--max-steps", 3)):
        ran = omp("eval", held, "--offline", *option)
        assert ran.code == 2
        assert f"{option[0]} does not go with --offline" in ran.err
    ran = omp("eval", held, "--samples", 3)
    assert ran.code == 2
    assert "--samples does not go with" in ran.err
    assert "--offline" in ran.err


def test_a_policy_without_noise_has_one_row(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    line = ("pretrain", workshop / "toy", "--method", "gaussian", "--steps", 3, *TINY, "--hold-out", 0.2)
    omp(*line, "--out", tmp_path / "run")
    ran = omp("eval", tmp_path / "run", "--offline", "--stride", 9, "--out", tmp_path / "e")
    assert ran.code == 0, ran.err
    assert "one sample" not in ran.out
    errors = json.loads((tmp_path / "e" / "manifest.json").read_text())["metrics"]["offline"]["errors"]
    assert set(errors) == {"policy", "last_action", "mean_of_data"}


def test_a_dry_run_names_the_episodes(omp: Omp, held: Path) -> None:
    shown = omp("eval", held, "--offline", "--dry-run", "--json").json
    assert len(shown["episodes"].split(", ")) == 3
    assert shown["config"]["nfe"] == {"value": 1, "source": "checkpoint"}


def test_a_report_shows_it_also_alone(omp: Omp, held: Path, tmp_path: Path) -> None:
    line = ("eval", held, "--offline", "--samples", 2, "--stride", 9)
    omp(*line, "--out", tmp_path / "runs" / "first")
    omp(*line, "--label", "<mine>", "--out", tmp_path / "runs" / "second")
    ran = omp("report", tmp_path / "runs", "--rename", "<mine>=<ours>", "--json", "--out", tmp_path / "report")
    assert ran.code == 0, ran.err
    rows = ran.json["result"]["offline"]
    assert [row["title"] for row in rows] == ["omp dde", "<ours>"]
    assert rows[0]["errors"] == rows[1]["errors"]
    text = (tmp_path / "report" / "report.md").read_text()
    assert "Action error on recorded episodes" in text
    assert text.count("last action repeated") == 1, "the two were judged on the same episodes"
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "&lt;ours&gt;" in page
    assert "2 of omp eval --offline" in page
    in_environment = omp("eval", held, "--episodes", 2, "--max-steps", 3, "--workers", 1, "--out", tmp_path / "runs/e")
    assert in_environment.code == 0
    both = omp("report", tmp_path / "runs", "--out", tmp_path / "both")
    assert both.code == 0, both.err
    assert "Action error on recorded episodes" in both.out


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a robot's data set of three motors (``data``) and a run on it that held episodes out (``run``)."""
    folder = tmp_path_factory.mktemp("robot")
    arrays = recorded()
    arrays["action"][:, 2] = -1.5
    write_npz(folder / "arm.npz", arrays)
    line = ("prepare", "own", folder / "arm.npz", "--hz", 10, "--set", "format.cloud=[]", "--set", "action_unit=rad")
    in_process(folder, *line, "--out", "data")
    state = ("--preset", "dmpo-state", "--set", "encoder.hidden=8", "--set", "net.hidden=16", "--batch-size", 8)
    in_process(folder, "pretrain", "data", *state, "--steps", 3, "--hold-out", 0.3, "--out", "run")
    return folder


def test_actions_have_the_names_and_the_unit_of_the_data(omp: Omp, robot: Path, tmp_path: Path) -> None:
    ran = omp("eval", robot / "run", "--offline", "--samples", 2, "--out", tmp_path / "e")
    assert ran.code == 0, ran.err
    assert "Error by action dimension, in rad" in ran.out
    offline = json.loads((tmp_path / "e" / "manifest.json").read_text())["metrics"]["offline"]
    assert offline["names"] == ["action[0]", "action[1]", "action[2]"]
    assert offline["unit"] == "rad"
    assert "action[2]" in ran.out
    del offline["names"], offline["unit"]  # as manifests of before
    table = offline_tables({"offline": offline, "selection": "last", "checkpoint_step": 3})[1]
    assert [row[0] for row in table.rows] == ["0", "1", "2"]


def test_a_motor_that_never_moved_is_not_moved(omp: Omp, robot: Path, tmp_path: Path) -> None:
    """Three steps teach nothing, so what the policy says is noise; of a motor that always stood still it is not."""
    ran = omp("eval", robot / "run", "--offline", "--samples", 4, "--json", "--out", tmp_path / "e")
    errors = ran.json["result"]["offline"]["errors"]["sample"]["by_dimension"]
    assert errors[0]["value"] > 0.01
    assert errors[2]["value"] < 1e-4


def test_data_in_another_unit_are_refused_and_other_names_are_told(omp: Omp, robot: Path, tmp_path: Path) -> None:
    arrays = recorded(lengths=(7, 5))
    write_npz(tmp_path / "arm.npz", {**arrays, "command": arrays["action"]}, (7, 5))
    line = ("prepare", "own", tmp_path / "arm.npz", "--hz", 10, "--set", "format.cloud=[]")
    omp(*line, "--set", "action_unit=deg", "--out", tmp_path / "deg")
    omp(*line, "--set", "format.action=command", "--out", tmp_path / "named")
    ran = omp("eval", robot / "run", "--offline", "--dataset", tmp_path / "deg")
    assert ran.code == 2
    assert "its actions are in deg, the policy's in rad" in ran.err
    ran = omp("eval", robot / "run", "--offline", "--dataset", tmp_path / "named", "--out", tmp_path / "e")
    assert ran.code == 0, ran.err
    assert "command[0] for action[0] and 2 more" in ran.err
    replay = ("deploy", robot / "run", "--hz", 5000, "--replay")
    refused(omp(*replay, tmp_path / "deg"), 2, "its actions are in deg, the policy's in rad")
    ran = omp(*replay, tmp_path / "named", "--out", tmp_path / "d")
    assert "command[0] for action[0] and 2 more" in ran.err


def test_no_network_is_built_to_learn_what_a_policy_reads(
    omp: Omp, robot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def built(*_: object) -> None:
        raise AssertionError("a policy was built")

    checkpoint = open_run(robot / "run")[-1]
    write_npz(tmp_path / "arm.npz", recorded(lengths=(7, 5)), (7, 5))
    omp("prepare", "own", tmp_path / "arm.npz", "--hz", 10, "--set", "format.cloud=[]", "--out", tmp_path / "more")
    monkeypatch.setattr(Policy, "__init__", built)
    found = episodes.reference_episodes(checkpoint, OfflineConfig(dataset=tmp_path / "more"), lambda _: None)
    assert found.which == "other data"
