"""omp prepare from public data: the catalogue, downloads from a server of our own, local files, and training on it."""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from omp_cli.core.data.store import read_store
from tests.cli.test_bad_input import refused
from tests.conftest import Omp
from tests.data.formats import write_d4rl, write_minari, write_robomimic
from tests.data.server import Behaviour, serving

CATALOGUE = """
schema = 1
[[group]]
suite = "robomimic"
format = "robomimic"
licence = "MIT"
base = "{base}/"
sets = [
    {{ task = "can", source = "ph", files = [{{ path = "can.hdf5", size = {size}, sha256 = "{sha256}" }}] }},
    {{ task = "lift", source = "ph", files = ["none.hdf5"] }},
]
"""
QUICK = ("--set", "download.wait=0", "--set", "download.tries=2")


@pytest.fixture
def how(tmp_path: Path) -> Behaviour:
    write_robomimic(tmp_path / "can.hdf5")
    return Behaviour(files={"/can.hdf5": (tmp_path / "can.hdf5").read_bytes()})


@pytest.fixture
def served(how: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with a cache of its own and a catalogue whose addresses are this machine's."""
    content = how.files["/can.hdf5"]
    with serving(how) as base:
        text = CATALOGUE.format(base=base, size=len(content), sha256=hashlib.sha256(content).hexdigest())
        (tmp_path / "own.toml").write_text(text)
        monkeypatch.setenv("OMP_CLI_CATALOGUE", str(tmp_path / "own.toml"))
        monkeypatch.setenv("OMP_CLI_CACHE", str(tmp_path / "cache"))
        monkeypatch.chdir(tmp_path)
        yield tmp_path


def test_the_list_needs_no_benchmark_and_can_be_filtered(omp: Omp) -> None:
    shown = omp("prepare", "--list")
    assert shown.code == 0
    for words in ("robomimic", "walker2d-medium", "kitchen", "CC-BY-4.0", "by hand", "~2,500 MB", "not opened"):
        assert words in shown.out
    entries = omp("prepare", "robomimic", "--list", "--task", "can", "--json").json["datasets"]
    assert {(e["suite"], e["task"]) for e in entries} == {("robomimic", "can")}
    assert all(e["urls"] or e["page"] for e in entries)
    refused(omp("prepare", "robomimik", "--list"), 2, "robomimic")
    refused(omp("prepare"), 2, "benchmark", "--list")


def test_download_cut_in_the_middle_then_convert_and_train(
    omp: Omp, how: Behaviour, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how.cut = len(how.files["/can.hdf5"]) // 2
    done = omp("prepare", "robomimic", "--task", "can", "--source", "ph", *QUICK)
    assert done.code == 0, done.err
    assert "MB, licence MIT" in done.err
    assert "connection closed after" in done.err
    assert "data/robomimic/can-ph" in done.out
    assert how.asked[1] == f"bytes={how.cut}-"
    again = omp("prepare", "robomimic", "--task", "can", "--source", "ph", "--offline", "--json")
    assert again.json["result"]["reused"] is True
    provenance = read_store(served / "data/robomimic/can-ph").provenance
    assert provenance["files"][0]["url"].endswith("/can.hdf5")
    assert provenance["catalogue"]["licence"] == "MIT"
    parts = ("--encoder", "state", "--net", "residual-mlp", "--method", "dmpo")
    trained = omp("pretrain", *parts, "--steps", 3, "--batch-size", 8, "--out", served / "run")
    assert trained.code == 0, trained.err
    assert "can-ph (the newest below data/)" in trained.err
    monkeypatch.setitem(sys.modules, "robosuite", None)
    refused(omp("eval", served / "run", "--workers", 1), 4, "robosuite is not installed", "pip install")


def test_pictures_train_too(omp: Omp, tmp_path: Path) -> None:
    write_robomimic(tmp_path / "c.hdf5", cameras=("agentview",))
    line = ("prepare", "robomimic", "--file", tmp_path / "c.hdf5", "--json", "--out", tmp_path / "d")
    done = omp(*line, "--set", "check_pictures=false")  # these are noise
    assert done.json["result"]["image"] == [16, 16, 3]
    assert done.json["result"]["task"] == "can"
    line = ("pretrain", tmp_path / "d", "--preset", "dmpo", "--steps", 2, "--batch-size", 4, "--out", tmp_path / "run")
    trained = omp(*line, "--set", "encoder.width=16", "--set", "train.warmup_steps=0")
    assert trained.code == 0, trained.err


def test_gym_and_kitchen_files(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_d4rl(tmp_path / "h.hdf5")
    done = omp("prepare", "gym", "--task", "hopper-medium", "--file", "h.hdf5", "--demos", 2, "--json")
    assert done.json["run_dir"] == "data/gym/hopper-medium-h-d2"
    assert done.json["result"]["demos"] == 2
    write_minari(tmp_path / "data" / "k")
    kitchen = omp("prepare", "kitchen", "--file", "data/k", "--source", "minari", "--out", tmp_path / "kitchen")
    assert kitchen.code == 0, kitchen.err
    assert "task complete: the usual one of kitchen" in kitchen.err
    assert read_store(tmp_path / "kitchen").spec.max_steps == 450, "as the catalogue says of that source"
    refused(omp("pretrain", tmp_path / "kitchen"), 2, "no point cloud")


def test_what_goes_wrong_is_one_line(omp: Omp, how: Behaviour, served: Path) -> None:
    can = ("prepare", "robomimic", "--task", "can", "--source", "ph", *QUICK)
    refused(omp(*can, "--offline"), 3, "not in the cache")
    refused(omp("prepare", "robomimic", "--task", "lift", "--source", "ph", *QUICK), 3, "not found (404)")
    how.statuses = [(503, {})] * 2
    refused(omp(*can), 1, "service unavailable (503)", "again to continue")
    content = how.files["/can.hdf5"]
    how.files["/can.hdf5"] = content[:-1] + b"?"
    refused(omp(*can), 3, "SHA-256", "kept as")
    how.files["/can.hdf5"] = content[:-1]
    refused(omp(*can), 3, "the catalogue says")
    how.files["/can.hdf5"] = content
    assert omp(*can).code == 0
    (served / "cut.hdf5").write_bytes(content[:5000])
    refused(omp("prepare", "robomimic", "--file", "cut.hdf5"), 3, "cut.hdf5: damaged or cut short")
    refused(omp("prepare", "robomimic", "--file", "none.hdf5"), 3, "none.hdf5: no such file")
    refused(
        omp("prepare", "robomimic", "--file", "can.hdf5", "--points", 5),
        2,
        "--points does not go with data of robomimic",
    )
    refused(omp("prepare", "robomimic", "--file", "can.hdf5", "--task", "lift"), 2, "holds PickPlaceCan")
    refused(omp("prepare", "robomimic", "--file", "can.hdf5", "--set", "format.filtre=x"), 2, "format.filtre", "filter")
    refused(omp("prepare", "robomimic", "--format", "npz"), 2, "--format says how to read --file")
    refused(omp("prepare", "toy", "--file", "can.hdf5"), 2, "no data sets of 'toy'")


def test_dry_run_touches_nothing(omp: Omp, how: Behaviour, served: Path) -> None:
    before = sorted(served.rglob("*"))
    shown = omp("prepare", "robomimic", "--task", "can", "--set", "format.filter=train", "--dry-run", "--json").json
    assert shown["config"]["format.filter"] == {"value": "train", "source": "--set"}
    assert shown["config"]["task"]["source"] == "argument"
    assert shown["files"][0].endswith("/can.hdf5")
    assert shown["licence"] == "MIT"
    assert omp("prepare", "robomimic", "--file", "can.hdf5", "--dry-run").code == 0
    assert sorted(served.rglob("*")) == before
    assert how.asked == []


def test_the_manifest_holds_the_figures(omp: Omp, served: Path) -> None:
    done = omp(
        "prepare", "robomimic", "--file", "can.hdf5", "--set", "format.filter=valid", "--json", "--out", "d"
    ).json
    manifest = json.loads(Path(done["manifest"]).read_text())
    assert manifest["status"] == "succeeded"
    assert manifest["metrics"]["demos"] == 1
    assert manifest["metrics"]["returns"]["mean"] == 2.0
    assert manifest["metrics"]["success_share"] == 1.0
    assert manifest["config"]["format.filter"]["value"] == "valid"
    assert omp("manifest", "d", "--files").code == 0
