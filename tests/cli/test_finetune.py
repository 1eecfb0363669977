"""``omp finetune`` through its entry point: what it writes, what it refuses, how it stops and goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from omp_cli.core.base.files import seal_of, sha256_of
from omp_cli.core.base.manifest import check_artifacts, read_manifest, write_manifest
from omp_cli.core.base.run import BEST, CHECKPOINTS
from omp_cli.core.checkpoint import META, MODEL, checkpoints_in, open_checkpoint
from omp_cli.core.rl.environments import TrainingEnvs
from omp_cli.core.rl.held_out import EVALUATIONS
from omp_cli.core.rl.inputs import START
from omp_cli.core.train.trackers import METRICS
from tests.cli.test_bad_input import refused
from tests.conftest import Omp, in_process, omp_process

LEARNS = ("--envs", 4, "--max-steps", 12, "--set", "algorithm.decisions=3", "--set", "algorithm.batch_size=8")
LEARNS = (*LEARNS, "--set", "algorithm.warmup=1")
SMALL = (*LEARNS, "--set", "evaluation.every=1", "--set", "evaluation.episodes=2")
QUICK = (*SMALL, "--iterations", 2, "--workers", 1)
ONE = ("--episodes", 2, "--max-steps", 12, "--workers", 1)


@pytest.fixture(scope="module")
def tuned(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy run after two iterations with two evaluations of the network per decision; not to be written to."""
    folder = tmp_path_factory.mktemp("tuned")
    in_process(folder, "finetune", workshop / "run", *QUICK, "--nfe", 2, "--out", "tuned")
    return folder / "tuned"


def test_a_run_in_which_the_policy_does_not_learn_says_so(omp: Omp, run: Path, tmp_path: Path) -> None:
    line = ("finetune", run, *LEARNS, "--workers", 1, "--iterations", 1, "--set", "evaluation.every=0")
    done = omp(*line, "--out", tmp_path / "f")
    assert (done.code, "the policy stays as it is: algorithm.warmup=1" in done.err) == (0, True), done.err
    assert "stays as it is" not in omp(*line, "--iterations", 2, "--out", tmp_path / "g").err


def test_document_and_manifest(omp: Omp, run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    done = omp("finetune", run, *QUICK, "--out", folder, "--json")
    assert done.code == 0, done.err
    assert (done.json["schema_version"], done.json["command"]) == (1, "finetune")
    manifest = read_manifest(Path(done.json["run_dir"]))
    check_artifacts(folder, manifest)
    assert (manifest.command, manifest.status, manifest.seeds) == ("finetune", "succeeded", {"seed": 0})
    assert manifest.metrics == done.json["result"]
    newest = checkpoints_in(run / CHECKPOINTS)[-1]
    checkpoint, data = manifest.inputs
    assert (checkpoint.kind, checkpoint.path) == ("checkpoint", str(newest))
    assert checkpoint.sha256 == open_checkpoint(newest).sha256()
    assert (data.kind, data.sha256) == ("dataset", open_checkpoint(newest).meta.dataset_sha256)
    best = checkpoints_in(folder / BEST)[0].relative_to(folder)
    assert [a.path for a in manifest.artifacts] == [f"{CHECKPOINTS}/step-00000002", str(best), METRICS, EVALUATIONS]
    result = done.json["result"]
    assert (result["iterations"], result["nfe"], result["envs"], result["workers"]) == (2, 1, 4, 1)
    assert result["env_steps"] == 2 * 4 * 3 * 3, "iterations, environments, decisions, steps each"
    assert [row["step"] for row in result["evaluations"]] == [0, 1, 2]
    assert abs(result["ratio"] - 1) < 0.1
    assert omp("manifest", folder, "--files").code == 0


def test_tables_for_people(omp: Omp, run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    shown = omp("finetune", run, *QUICK, "--verbose", "--out", folder)
    assert shown.code == 0, shown.err
    for words in ("Fine-tuned", "Held-out episodes", f"next: omp eval '{folder}'", "worker_restarts"):
        assert words in shown.out
    for words in ("held-out success", "Where time went", "environments: step", "update", "evaluation"):
        assert words in shown.err


def test_dry_run_shows_sources_and_touches_nothing(
    omp: Omp, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_CLI_ENVS", "6")
    (tmp_path / "c.toml").write_text("iterations = 7\n[algorithm]\nepochs = 3\nbc.weight = 0.5\n")
    line = ("finetune", workshop / "run", "--config", "c.toml", "--set", "algorithm.gamma=0.5", "--sigma", 0.3)
    config = omp(*line, "--dry-run", "--json").json["config"]
    expected = {
        "algorithm.name": ("dmpo", "checkpoint"),
        "algorithm.sigma.value": (0.3, "flag"),
        "algorithm.gamma": (0.5, "--set"),
        "algorithm.epochs": (3, "file c.toml"),
        "algorithm.bc.weight": (0.5, "file c.toml"),
        "envs": (6, "environment"),
        "iterations": (7, "file c.toml"),
        "nfe": (1, "algorithm dmpo"),
        "checkpoint": (str(checkpoints_in(workshop / "run" / CHECKPOINTS)[-1]), "argument"),
    }
    for key, (value, source) in expected.items():
        assert config[key] == {"value": value, "source": source}
    config = omp(*line, "--preset", "gym-dmpo", "--dry-run", "--json").json["config"]
    assert config["algorithm.name"] == {"value": "dmpo", "source": "preset gym-dmpo"}
    assert [p.name for p in tmp_path.iterdir()] == ["c.toml"]


def test_what_cannot_be_begun(omp: Omp, run: Path, tuned: Path, tmp_path: Path) -> None:
    wrong = omp("finetune", run, "--algorithm", "reinflow-r", "--dry-run")
    refused(wrong, 2, "cannot start from a policy of method omp; it takes those of reflow", "--algorithm dmpo")
    refused(omp("finetune", run, "--algorithm", "dmpoo"), 2, "unknown algorithm", "dmpo")
    refused(omp("finetune", run, "--preset", "gym-dmp"), 2, "unknown preset", "gym-dmpo")
    refused(omp("finetune", run, "--set", "algorithm.gama=1"), 2, "unknown setting algorithm.gama", "gamma")
    refused(omp("finetune", run, "--set", "evaluation.evry=1"), 2, "evaluation.evry", "every")
    refused(omp("finetune", run, "--set", "envs=0"), 2, "envs")
    refused(omp("finetune", run, "--set", "algorithm.eta=0.7", "--dry-run"), 2, "algorithm.eta does not count")
    one = ("--envs", 1, "--set", "algorithm.decisions=1", "--dry-run")
    refused(omp("finetune", run, *one), 2, "PPO learns nothing from one decision", "take more")
    refused(omp("finetune", tmp_path / "nowhere"), 3, "no such file or folder")
    refused(omp("finetune", run, "--out", tuned), 2, "holds checkpoints", "--resume")
    before = sha256_of(run)
    refused(omp("finetune", run, "--out", run), 2, "holds checkpoints")
    assert sha256_of(run) == before


def test_without_a_run_there_is_nothing_to_take(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(omp("finetune"), 3, "no trained run", "omp pretrain")


def test_a_suite_without_an_environment(omp: Omp, run: Path, tmp_path: Path) -> None:
    for checkpoint in checkpoints_in(run / CHECKPOINTS):
        document = json.loads((checkpoint / META).read_text())
        document |= {"suite": {"name": "dexart"}}
        (checkpoint / META).write_text(json.dumps(document | {"seal": seal_of(document)}))
    refused(omp("finetune", run, *QUICK, "--out", tmp_path / "f"), 4, "suite dexart", "no environment")
    assert not (tmp_path / "f").exists()


def test_what_cannot_be_resumed(omp: Omp, run: Path, tuned: Path, tmp_path: Path) -> None:
    before = sha256_of(tuned)
    done = omp("finetune", "--resume", tuned)
    assert done.code == 0
    assert "nothing to do" in done.err
    assert "Held-out episodes" in done.out
    assert sha256_of(tuned) == before
    refused(omp("finetune", "--resume", tuned, "--lr", 1e-3), 2, "--resume continues a run as it was configured")
    refused(omp("finetune", run, "--resume", tuned), 2, "--resume")
    refused(omp("finetune", "--resume", run), 2, "a run of omp pretrain, not of omp finetune")
    refused(omp("finetune", "--resume", tmp_path / "nowhere"), 3, "no such file")
    (tmp_path / "early").mkdir()
    write_manifest(tmp_path / "early", read_manifest(tuned).model_copy(update={"status": "failed", "inputs": []}))
    refused(omp("finetune", "--resume", tmp_path / "early"), 2, "before it had copied its checkpoint")


def test_a_run_killed_while_it_copied_its_start_goes_on(omp: Omp, tuned: Path, tmp_path: Path) -> None:
    early = tmp_path / "early"
    (early / START / ".step-00000000.99.tmp").mkdir(parents=True)
    write_manifest(early, read_manifest(tuned).model_copy(update={"status": "running", "metrics": {}}))
    done = omp("finetune", "--resume", early, "--workers", 1)
    assert done.code == 0, done.err
    assert [p.name for p in (early / START).iterdir()] == ["step-00000000"]
    newest = [checkpoints_in(folder / CHECKPOINTS)[-1] for folder in (early, tuned)]
    assert len({sha256_of(path / MODEL) for path in newest}) == 1


def test_a_start_that_was_changed_is_not_gone_on_with(omp: Omp, tuned: Path, tmp_path: Path) -> None:
    early = Path(shutil.copytree(tuned, tmp_path / "early"))
    write_manifest(early, read_manifest(tuned).model_copy(update={"status": "running", "metrics": {}}))
    (start,) = checkpoints_in(early / START)
    document = json.loads((start / META).read_text())
    del document["files"], document["seal"]  # in accord with itself, as an earlier omp would have written it
    (start / META).write_text(json.dumps(document | {"start_states": []}))
    refused(omp("finetune", "--resume", early, "--workers", 1), 3, "not what the run began with")


def as_earlier(config: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run under the names that omp 0.2 gave them."""
    return {key.replace("algorithm.", "method."): value for key, value in config.items()}


def test_a_run_of_an_earlier_omp_goes_on_and_is_read(omp: Omp, tuned: Path, tmp_path: Path) -> None:
    whole, early = read_manifest(tuned), tmp_path / "early"
    shutil.copytree(tuned, early)
    stopped = {"status": "interrupted", "config": as_earlier(whole.config), "metrics": {}, "artifacts": []}
    write_manifest(early, whole.model_copy(update=stopped))
    assert "method.decisions" in json.loads((early / "manifest.json").read_text())["config"]
    assert omp("eval", early, *ONE, "--out", tmp_path / "e").code == 0
    settings = read_manifest(tmp_path / "e").metrics["policy"]["settings"]
    assert settings["finetune.algorithm.decisions"] == 3
    shutil.rmtree(early / CHECKPOINTS)
    done = omp("finetune", "--resume", early, "--workers", 1)
    assert done.code == 0, done.err
    assert read_manifest(early).config == whole.config
    newest = [checkpoints_in(folder / CHECKPOINTS)[-1] for folder in (early, tuned)]
    assert len({sha256_of(path / MODEL) for path in newest}) == 1


def test_names_of_an_earlier_omp_on_the_line(omp: Omp, run: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[method]\nepochs = 3\n")
    line = ("finetune", run, "--config", tmp_path / "c.toml", "--set", "method.gamma=0.5", "--method", "dmpo")
    config = omp(*line, "--dry-run", "--json").json["config"]
    assert config["algorithm.name"] == {"value": "dmpo", "source": "flag"}
    assert config["algorithm.gamma"] == {"value": 0.5, "source": "--set"}
    assert config["algorithm.epochs"]["value"] == 3
    assert not [key for key in config if key.startswith("method")]
    assert "--method" not in omp("finetune", "--help").out
    refused(omp(*line, "--algorithm", "dmpo", "--dry-run"), 2, "--method is the earlier name of --algorithm")
    refused(omp("finetune", run, "--method", "gausian"), 2, "unknown algorithm", "gaussian")


def test_a_new_run_takes_no_start_that_another_left(omp: Omp, run: Path, tuned: Path, tmp_path: Path) -> None:
    """A folder without checkpoints may hold the start of a run of another policy."""
    other = tmp_path / "other"
    shutil.copytree(tuned / START, other / START)
    policy = other / START / "step-00000000" / META
    policy.write_text(policy.read_text() + " ")
    assert omp("finetune", run, *QUICK, "--out", other).code == 0
    assert sha256_of(policy) == sha256_of(tuned / START / "step-00000000" / META)


def test_the_run_is_an_ordinary_one_afterwards(omp: Omp, tuned: Path, tmp_path: Path) -> None:
    for index, path in enumerate((tuned, tuned / BEST, tuned / START, checkpoints_in(tuned / CHECKPOINTS)[0])):
        done = omp("eval", path, *ONE, "--json", "--out", tmp_path / f"e{index}")
        assert done.code == 0, done.err
        assert done.json["result"]["nfe"] == (1 if path.name == START else 2)
    assert done.json["result"]["checkpoint_step"] == 0
    clock = ("--calls", 3, "--blocks", 2, "--set", "warmup=1", "--set", "warmup_seconds=0", "--set", "ticks=3")
    timed = omp("bench-latency", "--checkpoint", tuned, "--backend", "eager", *clock, "--out", tmp_path / "b", "--json")
    assert timed.code == 0, timed.err
    assert {row["nfe"] for row in timed.json["result"]["rows"]} == {2}
    written = omp("export", tuned, "--format", "pt2", "--out", tmp_path / "x", "--json")
    assert written.code == 0, written.err
    assert read_manifest(tmp_path / "x").config["nfe"].model_dump() == {"value": 2, "source": "checkpoint"}
    again = omp("finetune", tuned, *QUICK, "--out", tmp_path / "again")
    assert again.code == 0, again.err


def test_eval_takes_the_nfe_that_the_policy_was_fine_tuned_with(omp: Omp, workshop: Path, tuned: Path) -> None:
    def nfe(*line: object) -> dict[str, object]:
        found: dict[str, object] = omp("eval", *line, "--dry-run", "--json").json["config"]["nfe"]
        return found

    assert nfe(tuned) == {"value": 2, "source": "checkpoint"}
    assert nfe(tuned, "--set", "nfe=3") == {"value": 3, "source": "--set"}
    assert nfe(tuned, "--nfe", 1) == {"value": 1, "source": "flag"}
    assert nfe(workshop / "run") == {"value": 1, "source": "checkpoint"}


def test_terminated_and_continued_to_the_end(
    omp: Omp, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, calls = TrainingEnvs.step, iter(range(99))

    def step(self: TrainingEnvs, *arguments: Any) -> Any:
        if next(calls) == 4:  # of the second iteration
            os.kill(os.getpid(), signal.SIGTERM)
        return honest(self, *arguments)

    folder = tmp_path / "f"
    with monkeypatch.context() as patch:
        patch.setattr(TrainingEnvs, "step", step)
        stopped = omp("finetune", workshop / "run", *QUICK, "--out", folder)
    refused(stopped, 143, "stopped: at iteration 1 of 2", "--resume")
    assert read_manifest(folder).status == "interrupted"
    again = omp("finetune", "--resume", folder, "--json")
    assert again.code == 0, again.err
    assert "continuing at iteration 1 of 2" in again.err
    assert [row["step"] for row in again.json["result"]["evaluations"]] == [0, 1, 2]
    assert read_manifest(folder).status == "succeeded"


def test_killed_after_its_last_checkpoint(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    """Only the manifest was not written yet."""
    folder = tmp_path / "f"
    assert omp("finetune", workshop / "run", *QUICK, "--out", folder).code == 0
    finished = read_manifest(folder)
    write_manifest(folder, finished.model_copy(update={"status": "running", "metrics": {}, "artifacts": []}))
    again = omp("finetune", "--resume", folder, "--json")
    assert again.code == 0, again.err
    assert again.json["result"]["resumed_at_iteration"] == again.json["result"]["iterations"] == 2
    assert again.json["result"]["evaluations"] == finished.metrics["evaluations"]
    manifest = read_manifest(folder)
    assert manifest.inputs == finished.inputs
    assert manifest.artifacts == finished.artifacts
    assert manifest.config == finished.config


def children_of(process: subprocess.Popen[str]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the test finds worker processes in /proc")
def test_killed_and_interrupted_processes(workshop: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    line = (*LEARNS, "--iterations", 9999, "--set", "checkpoint_every=1", "--set", "evaluation.every=0")

    def saved() -> int:
        return max((int(path.name[5:]) for path in checkpoints_in(cut / CHECKPOINTS)), default=0)

    def wait_for(step: int) -> None:
        deadline = time.monotonic() + 120
        while saved() < step:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)

    process = omp_process("finetune", workshop / "run", *line, "--workers", 1, "--out", cut)
    wait_for(2)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)
    assert read_manifest(cut).status == "running"
    (cut / CHECKPOINTS / ".step-00009999.99.tmp").mkdir()  # what a kill in the middle of a write leaves
    step = saved()
    process = omp_process("finetune", "--resume", cut, "--workers", 2)
    wait_for(step + 2)
    for pid in (process.pid, *children_of(process)):  # a terminal's Ctrl-C reaches everybody
        os.kill(pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert f"continuing at iteration {step}" in err
    assert "--resume" in err
    assert read_manifest(cut).status == "interrupted"
    assert [i.kind for i in read_manifest(cut).inputs] == ["checkpoint", "dataset"]
    steps = [json.loads(row)["step"] for row in (cut / METRICS).read_text().splitlines()]
    assert steps == list(range(1, saved() + 1)), "nothing that was done is lost"
    assert not list((cut / CHECKPOINTS).glob(".*"))
