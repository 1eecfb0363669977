"""Policies of omp as experts: a run, a checkpoint or an export demonstrates, and the same line makes the same store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from omp_cli.core.base.files import seal_of
from omp_cli.core.data.store import read_store
from omp_cli.core.deploy.deciders import open_decider
from omp_cli.core.deploy.player import Player
from omp_cli.core.deploy.program import ONNX_PACKAGES, missing_packages
from omp_cli.core.experts import read_expert
from omp_cli.core.suites import SUITES
from tests.cli.test_bad_input import refused
from tests.conftest import Omp, in_process

LINE = ("prepare", "toy", "--demos", 2, "--workers", 1, "--set", "collect.max_attempts=400", "--json")


@pytest.fixture(autouse=True)
def _work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def export(workshop: Path) -> Path:
    """The workshop's run, exported; the file to name."""
    in_process(workshop, "export", "run", "--out", "as-expert")
    return workshop / "as-expert" / ("policy.pt2" if missing_packages(ONNX_PACKAGES) else "policy.onnx")


def test_a_run_demonstrates_as_it_is_evaluated(omp: Omp, run: Path, tmp_path: Path) -> None:
    done = omp(*LINE, "--expert", run)
    assert done.code == 0, done.err
    data = read_store(tmp_path / done.json["run_dir"])
    assert data.arrays["point_cloud"].shape[1:] == (48, 3), "recorded as the policy was shown its data"
    expert = data.provenance["expert"]
    checkpoint = open_decider(run)
    assert expert["sha256"] == data.provenance["recipe"]["expert"]["sha256"] == checkpoint.sha256()
    assert expert["kind"] == "a policy of omp, from a checkpoint, weights ema"
    assert (expert["task"], expert["nfe"], expert["execute"]) == ("reach", 1, 3)
    env = SUITES.build(SUITES.parse(data.provenance["recipe"]["suite"])).make("reach")
    steps, begin = data.provenance["episode_steps"], 0
    for seed, count in zip(data.provenance["episode_seeds"], steps, strict=True):
        env.reset(seed)
        player = Player(checkpoint, seed)
        for recorded in data.arrays["action"][begin : begin + count]:
            action = player.act(env.observe(("state", "point_cloud")))
            np.testing.assert_array_equal(np.clip(action, -1, 1), recorded)
            env.step(action)
        begin += count
    manifest = json.loads((tmp_path / done.json["run_dir"] / "manifest.json").read_text())
    assert [(i["kind"], i["sha256"]) for i in manifest["inputs"]] == [("expert", checkpoint.sha256())]


def test_the_same_line_makes_the_same_store(omp: Omp, run: Path, export: Path) -> None:
    contents = {}
    steps = sorted((run / "checkpoints").iterdir())
    for name, expert, workers in (
        ("run", run, 1),
        ("workers", steps[-1], 2),
        ("described", steps[-1] / "policy.json", 1),
        ("earlier", steps[0], 1),
    ):
        done = omp(*LINE, "--expert", expert, "--workers", workers, "--out", f"by-{name}")
        assert done.code == 0, done.err
        contents[name] = done.json["result"]["content_sha256"]
    assert contents["run"] == contents["workers"] == contents["described"]
    assert contents["earlier"] != contents["run"]
    exported = omp(*LINE, "--expert", export, "--out", "by-exported")
    assert exported.code == 0, exported.err
    one, other = (read_store(Path(f"by-{name}")).arrays["action"] for name in ("run", "exported"))
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.skipif(bool(missing_packages(ONNX_PACKAGES)), reason="ONNX is not installed")
def test_an_exported_folder_is_its_graph_and_an_older_one_says_less(omp: Omp, export: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(export.parent, tmp_path / "e"))
    assert omp(*LINE, "--expert", folder, "--out", "a").json["result"]["frames"]
    document = json.loads((folder / "policy.json").read_text())
    assert document.pop("suite_settings")["cloud"] == {"points": 48}
    del document["seal"]
    (folder / "policy.json").write_text(json.dumps({**document, "seal": seal_of(document)}))
    done = omp(*LINE, "--expert", folder, "--out", "b")
    assert read_store(Path("b")).arrays["point_cloud"].shape[1] == 128, done.err


def test_more_points_than_the_policy_reads_do_not_change_what_it_does(omp: Omp, run: Path) -> None:
    assert omp(*LINE, "--expert", run, "--out", "own").code == 0
    more = omp(*LINE, "--expert", run, "--points", 64, "--out", "more")
    assert more.code == 0, more.err
    assert "run has learned with cloud.points 48; here it is 64" in more.err
    assert read_store(Path("more")).arrays["point_cloud"].shape[1] == 64


def test_what_does_not_fit_is_one_line(omp: Omp, run: Path, tmp_path: Path) -> None:
    refused(omp(*LINE, "--expert", run, "--points", 32), 3, "reads 'point_cloud' (48, 3)", "--points 48")
    refused(omp(*LINE, "--expert", run, "--task", "fork"), 3, "reads 'state' (5,), toy/fork shows (7,)")
    gym = ("prepare", "gym", "--demos", 1, "--workers", 1)
    refused(omp(*gym, "--expert", run), 3, "a policy of toy/reach, which cannot demonstrate gym/hopper-v5")
    refused(omp(*LINE, "--expert", tmp_path / "none"), 3, "no such file")
    (tmp_path / "empty").mkdir()
    refused(omp(*LINE, "--expert", "empty"), 3, "no checkpoint in it")
    refused(omp("prepare", "own", "--expert", run), 2, "own has no simulator here")
    next(iter(sorted((run / "checkpoints").iterdir())[-1].glob("ema*"))).write_bytes(b"x")
    refused(omp(*LINE, "--expert", run), 3, "ema.safetensors")


def test_a_policy_of_pictures_sees_them_whether_they_are_stored_or_not(omp: Omp, pictures: Path) -> None:
    tiny = ["--set", "encoder.width=16", "--set", "encoder.depth=1", "--set", "net.hidden=16"]
    trained = omp("pretrain", pictures, "--encoder", "light-vit", "--steps", 1, *tiny, "--out", "seeing")
    assert trained.code == 0, trained.err
    env = SUITES.build(SUITES.parse({"name": "toy"})).make("reach")
    env.reset(5)
    expert = read_expert(Path("seeing"))
    expert.start(env, 5)
    assert set(expert.keys) == {"state", "img"}
    wanted = Player(open_decider(Path("seeing")), 5).act(env.observe(("state", "img")))
    np.testing.assert_array_equal(expert.act(env.observe(("img", "state", "full_state"))), wanted)
    for images in ([], ["--images"]):
        done = omp(*LINE, "--demos", 1, "--expert", "seeing", *images, "--out", f"out{len(images)}")
        assert done.code == 0, done.err
        assert ("img" in read_store(Path(f"out{len(images)}")).arrays) == bool(images)
