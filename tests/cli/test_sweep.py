"""``omp sweep``: every line is checked before one runs; real jobs on the toy, then nothing twice."""

import sys
from pathlib import Path
from typing import Any

import pytest

from omp_cli.commands.lines import resolve
from omp_cli.core.base import papers
from omp_cli.core.base.manifest import read_manifest
from omp_cli.core.sweep.config import read_sweep
from tests.cli.test_bad_input import refused
from tests.conftest import TINY, Omp

SWEEP = f"""
seeds = [3]
tasks = ["reach"]
prepare = "toy --demos 3 --points 48"
pretrain = {["--steps", "10", *TINY]}
eval = "--episodes 2 --max-steps 9"
[variants."omp, dde"]
pretrain = "--derivative dde"
finetune = "--iterations 1 --envs 2 --nfe 3 --max-steps 9 --set evaluation.every=0"
"""
OUT = Path("runs/sweep/s")
EVAL = "reach/omp-dde/seed3/eval"
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "sweeps"


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    path = tmp_path / "s.toml"
    path.write_text(SWEEP)
    return path


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("--derivative dde", "--derivativ dde", ("variant 'omp, dde': omp pretrain", "--derivativ")),
        ("--derivative dde", "--derivative ddt", ("omp pretrain", "derivative", "ddt")),
        ("--derivative dde", "--method opm", ("unknown method 'opm'", "did you mean")),
        ("--derivative dde", "--method consistency", ("consistency", "--teacher")),
        ("--derivative dde", "--set method.epsilonn=1", ("method.epsilonn", "epsilon")),
        ("--derivative dde", "there", ("omp pretrain DATA", "argument", "there")),
        ('["reach"]', '["rech"]', ("omp prepare toy", "'rech'", "reach")),
        ("--points 48", "--points 4x", ("omp prepare", "--points")),
        ("--points 48", "--set collect.demoz=2", ("collect.demoz", "demos")),
        ("--iterations 1", "--iteration 1", ("variant 'omp, dde': omp finetune", "--iteration")),
        (
            "--iterations 1",
            "--algorithm dppo",
            ("omp finetune", "algorithm dppo", "cannot start from a policy of method omp"),
        ),
        ("--iterations 1", "--set algorithm.clipp=1", ("omp finetune", "algorithm.clipp", "clip")),
        ("--max-steps 9", "--nfe 0", ("omp eval", "--nfe")),
        ("--max-steps 9", "--set episodez=1", ("omp eval", "episodez")),
    ],
)
def test_a_wrong_word_is_told_before_anything_runs(
    omp: Omp, file: Path, old: str, new: str, words: tuple[str, ...]
) -> None:
    file.write_text(SWEEP.replace(old, new))
    refused(omp("sweep", file), 2, *words)
    assert [path.name for path in file.parent.iterdir()] == ["s.toml"]


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_line_of_the_examples_is_right(omp: Omp, example: Path) -> None:
    planned = omp("sweep", example, "--dry-run", "--json")
    assert planned.code == 0, planned.err
    assert {job["state"] for job in planned.json["jobs"]} == {"waiting"}


def test_rows_of_the_table_are_what_they_are_called() -> None:
    """One net, encoder and schedule; the methods' settings are those of light, of the papers' presets, or their own."""
    config = read_sweep(EXAMPLES / "metaworld34.toml")

    def settings(words: tuple[str, ...]) -> dict[str, Any]:
        return {key: entry["value"] for key, entry in resolve("pretrain", ("DATA", *words)).items()}

    def method(found: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in found.items() if key.startswith("method.")}

    rows = {name: settings((*config.pretrain, *row.pretrain)) for name, row in config.variants.items()}
    light, last = rows["light"], rows.pop("light-1 on the papers' data")
    assert light == settings(("--preset", "light"))
    assert not any(row.eval for row in config.variants.values()), "each decides with its method's number of evaluations"
    assert {frozenset(found.items() - method(found).items()) for found in map(hashable, rows.values())} == {
        frozenset(hashable(light).items() - method(hashable(light)).items())
    }
    paper = method(settings(("--preset", "omp-paper")))
    assert method(rows["omp"]) == paper
    assert method(rows["omp, dde"]) == paper | {"method.derivative": "dde"}
    assert paper["method.alignment.weight"] > 0 < paper["method.dispersion.weight"]
    for row, term in (("omp", "alignment"), ("omp", "dispersion"), ("omp, dde", "alignment")):
        without, whole = method(rows[f"{row} without {term}"]), method(rows[row])
        assert without[f"method.{term}.weight"] == 0
        changed = {key for key in whole if without[key] != whole[key]}
        assert changed <= {f"method.{term}.weight", f"method.{term}.on"}
    for name, meant in papers.claims()["rows"].items():
        assert {**rows[name], **meant, "nfe": None} == {**rows[name], "nfe": None}, name
    for name in ("mp1", "flowpolicy", "dp3"):
        assert method(rows[name]) == method(settings(("--method", name))), name
    assert method(rows["mp1"])["method.dispersion.form"] == "max_normalised"
    assert last == settings(("--preset", "light-1")) | {"encoder.origin": "world"}
    data = resolve("prepare", (*config.prepare, *config.variants["light-1 on the papers' data"].prepare))
    assert (data["suite.cloud.frame"]["value"], data["collect.raw_actions"]["value"]) == ("dp3", True)


def hashable(found: dict[str, Any]) -> dict[str, Any]:
    return {key: str(value) for key, value in found.items()}


def test_options_that_do_not_go(omp: Omp, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(omp("sweep", file, "--engine", "slurm"), 2, "unknown engine", "local")
    refused(omp("sweep", file, "--address", "auto"), 2, "--engine ray")
    refused(omp("sweep", file, "--seed", 1), 2, "--seed", "file")
    refused(omp("sweep", file.with_name("none.toml")), 3, "no such file")
    monkeypatch.setitem(sys.modules, "ray", None)
    refused(omp("sweep", file, "--engine", "ray"), 4, "Ray is not installed", "pip install")


def test_a_sweep_may_compare_actions_with_recorded_ones(omp: Omp, file: Path) -> None:
    file.write_text(SWEEP.replace("--episodes 2 --max-steps 9", "--offline --samples 4"))
    planned = omp("sweep", file, "--dry-run", "--json")
    assert planned.code == 0, planned.err
    lines = [job["line"] for job in planned.json["jobs"] if job["command"] == "eval"]
    assert len(lines) == 2
    for line in lines:
        assert resolve("eval", line[line.index("eval") + 1 :])["samples"]["value"] == 4


def test_jobs_run_and_are_kept(omp: Omp, file: Path) -> None:
    planned = omp("sweep", file, "--dry-run", "--json").json
    assert not OUT.exists()
    assert [(job["command"], job["state"]) for job in planned["jobs"]] == [
        ("prepare", "waiting"),
        ("pretrain", "waiting"),
        ("eval", "waiting"),
        ("finetune", "waiting"),
        ("eval", "waiting"),
    ]
    done = omp("sweep", file, "--json", "--workers", 1)
    assert done.code == 0, done.err
    assert done.json["result"]["states"]["finished"] == 5
    assert done.json["run_dir"] == str(OUT)
    assert "jobs: 5/5" in done.err
    policy = OUT / "reach" / "omp-dde" / "seed3"
    tested = read_manifest(policy / "eval")
    assert tested.config["label"].value == "omp, dde"
    assert tested.metrics["success_any"]["episodes"] == 2
    assert read_manifest(policy).seeds == {"seed": 3}
    assert {job["name"]: job["seconds"] for job in done.json["result"]["jobs"]}[EVAL] == tested.wall_seconds
    tuned = policy / "finetune"
    assert read_manifest(tuned).seeds == {"seed": 3}
    after = read_manifest(tuned / "eval")
    assert after.config["label"].value == "omp, dde, fine-tuned"
    assert (after.metrics["nfe"], after.metrics["policy"]["finetuned_by"]) == (3, "dmpo")
    for judged, of in ((tested, policy), (after, tuned)):
        assert judged.metrics["policy"]["training"]["train_seconds"] == read_manifest(of).metrics["train_seconds"]

    again = omp("sweep", file)
    assert again.code == 0, again.err
    assert "5 of 5 jobs finished" in again.out
    assert read_manifest(policy / "eval").started_at == tested.started_at
    file.write_text(SWEEP.replace("--derivative dde", "--derivative forward"))
    refused(omp("sweep", file), 2, str(policy), "method.derivative 'dde'", "'forward'", "--out")
    file.write_text(SWEEP.replace("--demos 3", "--demos 4"))
    refused(omp("sweep", file, "--dry-run"), 2, str(policy), "dataset")
    file.write_text(SWEEP.replace("--derivative dde", "--derivative dde --batch-size 32"))
    assert omp("sweep", file).code == 0, "32 is the preset's"


def test_a_failed_job_is_reported(omp: Omp, file: Path) -> None:
    OUT.mkdir(parents=True)
    (OUT / "data").write_text("in the way")
    done = omp("sweep", file, "--workers", 1)
    refused(done, 1, "1 of 5 jobs failed, 4 need them", "logs")
    assert "failed: data/reach" in done.err
    assert "output folder" in done.out
    assert "blocked" in done.out
    failed = omp("sweep", file, "--json").json
    assert failed["error"]["code"] == 1
    assert failed["run_dir"] == str(OUT)
    (job,) = (job for job in failed["result"]["jobs"] if job["state"] == "failed")
    assert job["name"].startswith("data/reach")
