"""A policy decides with its method's own number of evaluations unless told, and every command says where from."""

import json
import shutil
from pathlib import Path

import pytest

from omp_cli.core.base import config as c
from omp_cli.core.base.presets import preset_document
from omp_cli.core.checkpoint import open_checkpoint
from omp_cli.core.measure.latency.subjects import from_document, from_presets
from omp_cli.core.policy import usual_nfe
from omp_cli.core.train.config import PretrainConfig
from tests.cli.test_finetune import QUICK
from tests.conftest import TINY, Omp, in_process


@pytest.fixture(scope="module")
def diffusion(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps of dp on the toy; not to be written to."""
    folder = tmp_path_factory.mktemp("diffusion")
    line = ("pretrain", workshop / "toy", "--method", "dp", "--steps", 3, *TINY, "--out", "run")
    in_process(folder, *line)
    return folder / "run"


def _meta(run: Path) -> Path:
    return sorted((run / "checkpoints").glob("step-*"))[-1] / "policy.json"


def test_a_checkpoint_keeps_the_number(diffusion: Path, workshop: Path) -> None:
    assert json.loads(_meta(diffusion).read_text())["nfe"] == 10
    assert json.loads(_meta(workshop / "run").read_text())["nfe"] == 1


def test_eval_takes_it_and_says_so(omp: Omp, diffusion: Path, tmp_path: Path) -> None:
    shown = omp("eval", diffusion, "--dry-run", "--json").json["config"]["nfe"]
    assert shown == {"value": 10, "source": "checkpoint"}
    done = omp("eval", diffusion, "--episodes", 1, "--max-steps", 3, "--workers", 1, "--json", "--out", tmp_path / "e")
    assert done.json["result"]["nfe"] == 10
    asked = omp("eval", diffusion, "--nfe", 2, "--dry-run", "--json").json["config"]["nfe"]
    assert asked == {"value": 2, "source": "flag"}


def test_other_commands_take_it_too(omp: Omp, diffusion: Path) -> None:
    assert omp("export", diffusion, "--dry-run", "--json").json["config"]["nfe"]["value"] == 10
    tuned = omp("finetune", diffusion, "--dry-run", "--json").json["config"]["nfe"]
    assert tuned == {"value": 10, "source": "checkpoint"}
    assert "(NFE 10)" in omp("bench-latency", "--checkpoint", diffusion, "--dry-run", "--json").json["rows"]


def test_a_checkpoint_of_an_earlier_omp_takes_its_methods(omp: Omp, diffusion: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(_meta(diffusion).parent, tmp_path / "old"))
    document = json.loads((old / "policy.json").read_text())
    del document["nfe"], document["files"], document["seal"]
    (old / "policy.json").write_text(json.dumps(document))
    shown = omp("eval", old, "--dry-run", "--json").json["config"]["nfe"]
    assert shown == {"value": 10, "source": "method dp"}
    assert open_checkpoint(old).load("ema").nfe == 10


def test_every_preset_is_timed_with_its_methods_number() -> None:
    for subject in from_presets(()):
        document = {k: v for k, v in preset_document("pretrain", subject.name).items() if k != "bench"}
        config = c.validated(PretrainConfig, document).policy()
        assert usual_nfe(config) in subject.nfe, subject.name
        assert from_document("plain", document).nfe == (usual_nfe(config),)


def test_a_policy_is_fine_tuned_again_with_the_number_of_before(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    first = omp("finetune", workshop / "run", *QUICK, "--nfe", 2, "--out", tmp_path / "tuned")
    assert first.code == 0, first.err
    again = omp("finetune", tmp_path / "tuned", "--dry-run", "--json").json["config"]["nfe"]
    assert again == {"value": 2, "source": "checkpoint"}
    fresh = omp("finetune", workshop / "run", "--dry-run", "--json").json["config"]["nfe"]
    assert fresh["value"] == 1
    assert omp("eval", tmp_path / "tuned", "--dry-run", "--json").json["config"]["nfe"]["value"] == 2
