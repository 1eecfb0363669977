"""``omp export``, and what is said of an export that is damaged."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import omp_cli as api
from omp_cli.core.base.files import LFS_POINTER, seal_of, sha256_of
from omp_cli.core.base.manifest import check_artifacts, read_manifest, write_manifest
from omp_cli.core.checkpoint import find_checkpoints
from omp_cli.core.deploy import export, program
from omp_cli.core.deploy.program import ONNX_PACKAGES, missing_packages
from omp_cli.core.deploy.writing import READERS, SAMPLES, read_pt2
from omp_cli.core.report.collect import read_evaluations
from tests.cli.test_bad_input import refused
from tests.conftest import Omp, in_process

HAS_ONNX = not missing_packages(ONNX_PACKAGES)
FORMATS = ["pt2", "onnx"] if HAS_ONNX else ["pt2"]


@pytest.fixture(scope="module")
def policy(workshop: Path) -> Path:
    """The workshop's run, exported with defaults."""
    in_process(workshop, "export", "run", "--out", "policy")
    return workshop / "policy"


def test_files_signature_and_parity(policy: Path) -> None:
    manifest = read_manifest(policy)
    check_artifacts(policy, manifest)
    assert {a.path for a in manifest.artifacts} == {*(f"policy.{kind}" for kind in FORMATS), "policy.json"}
    assert set(manifest.metrics["files"]) == set(FORMATS)
    for row in manifest.metrics["files"].values():
        assert row["max_rel"] <= row["tolerance"] == 1e-4
        assert row["inputs"] == SAMPLES
    assert manifest.metrics["unclipped"] > 0.2, "clipped actions would agree whatever the graph"
    document = json.loads((policy / "policy.json").read_text())
    shapes = {x["name"]: (x["shape"], x["dtype"]) for x in document["inputs"]}
    assert shapes == {
        "noise": ([1, 4, 2], "float32"),
        "state": ([1, 2, 5], "float32"),
        "point_cloud": ([1, 2, 48, 3], "float32"),
    }
    assert document["output"]["shape"] == [1, 3, 2]
    assert (document["control_hz"], document["execute"], document["nfe"]) == (20.0, 3, 1)
    assert document["checkpoint_sha256"] == manifest.inputs[0].sha256
    assert document["files"] == {f"policy.{kind}": sha256_of(policy / f"policy.{kind}") for kind in FORMATS}
    module = torch.export.load(policy / "policy.pt2").module()
    assert module(torch.zeros(1, 4, 2), torch.zeros(1, 2, 5), torch.zeros(1, 2, 48, 3)).shape == (1, 3, 2)


BROKEN: dict[str, Any] = {
    "a list": [],
    "no inputs": {"inputs": 3},
    "inputs of text": {"inputs": ["noise"]},
    "no noise": {"inputs": []},
    "a huge input": {"inputs": [{"name": "noise", "dtype": "float32", "shape": ["batch", 10**12, 2]}]},
    "a shape of text": {"inputs": [{"name": "noise", "dtype": "float32", "shape": ["x"]}]},
    "another type": {"inputs": [{"name": "noise", "dtype": "object", "shape": [1]}]},
    "no rate": {"control_hz": None},
    "rate 0": {"control_hz": 0},
    "execute": {"execute": "4"},
}


@pytest.mark.parametrize("how", [*BROKEN, "not JSON", "nested", "cut", "a pointer", "another file"])
def test_a_damaged_export_is_told_in_one_line(omp: Omp, workshop: Path, policy: Path, tmp_path: Path, how: str) -> None:
    name = "policy.onnx" if HAS_ONNX else "policy.pt2"
    file, about = (Path(shutil.copy(policy / part, tmp_path)) for part in (name, "policy.json"))
    if how in BROKEN:
        document = json.loads(about.read_text())
        document = {**document, **BROKEN[how]} if isinstance(BROKEN[how], dict) else BROKEN[how]
        if isinstance(document, dict):  # damaged, though its seal says that it is not
            document["seal"] = seal_of(document)
        about.write_text(json.dumps(document))
    elif how in ("not JSON", "nested"):
        about.write_text("{" if how == "not JSON" else "[" * 200_000)
    else:
        other = LFS_POINTER + b"\n" if how == "a pointer" else b"PK\x03\x04 nothing of the kind"
        file.write_bytes(file.read_bytes()[:1000] if how == "cut" else other)
    refused(omp("deploy", file, "--replay", workshop / "toy", "--out", tmp_path / "d"), 3, str(tmp_path))


def test_a_command_that_needs_a_checkpoint_says_that_an_export_is_none(
    omp: Omp, workshop: Path, policy: Path, tmp_path: Path
) -> None:
    named = r"policy that omp export wrote, where a run or a checkpoint is needed"
    for path in (policy, policy / "policy.pt2", policy / "policy.json"):
        refused(omp("eval", "--offline", path), 3, named, "name what it was made of", "step-")
    copied = Path(shutil.copy(policy / "policy.json", tmp_path))
    refused(omp("bench-latency", copied), 3, named, "omp deploy, omp serve and omp.load take an export")


def test_an_export_is_evaluated_as_its_checkpoint_is(omp: Omp, run: Path, policy: Path, tmp_path: Path) -> None:
    line = ("--episodes", 5, "--seed", 3, "--workers", 2, "--json")  # of whom one idles at the end; the graph takes one
    wanted = omp("eval", run, *line, "--out", tmp_path / "a").json["result"]
    done = omp("eval", policy / "policy.pt2", *line, "--out", tmp_path / "b")
    assert done.code == 0, done.err
    found = done.json["result"]
    for key in ("checkpoint_step", "weights", "nfe", "success_any"):
        assert found[key] == wanted[key]
    assert found["by_episode"]["steps"] == wanted["by_episode"]["steps"]
    assert found["by_episode"]["return"] == pytest.approx(wanted["by_episode"]["return"], rel=1e-3)
    assert found["runtime"] == "torch.export"
    manifest = read_manifest(tmp_path / "b")
    assert {i.kind: Path(i.path).name for i in manifest.inputs} == {
        "checkpoint": find_checkpoints(run)[-1].name,
        "export": "policy.pt2",
    }
    assert [e.label for e in read_evaluations([tmp_path / "a", tmp_path / "b"]).evaluations] == [
        "omp dde",
        "omp dde by policy.pt2",
    ]


def test_its_evaluation_goes_on_with_it(omp: Omp, policy: Path, tmp_path: Path) -> None:
    """And not with another file of its name."""
    line = ("eval", policy / "policy.pt2", "--max-steps", 8, "--workers", 1, "--episodes")
    assert omp(*line, 3, "--out", tmp_path / "whole").code == 0
    assert omp(*line, 1, "--out", tmp_path / "e").code == 0
    done = omp("eval", "--resume", tmp_path / "e", "--episodes", 3, "--workers", 1)
    assert done.code == 0, done.err
    later = ("seconds_by_part", "worker_seconds_by_part", "resumed_at_episode")
    of = [read_manifest(tmp_path / name).metrics for name in ("whole", "e")]
    one, two = ({key: value for key, value in metrics.items() if key not in later} for metrics in of)
    assert one == two
    assert one["runtime"] == "torch.export"
    manifest = read_manifest(tmp_path / "e")
    other = [i.model_copy(update={"sha256": "0" * 64}) if i.kind == "export" else i for i in manifest.inputs]
    write_manifest(tmp_path / "e", manifest.model_copy(update={"inputs": other}))
    refused(omp("eval", "--resume", tmp_path / "e", "--episodes", 4), 2, "policy.pt2, which it evaluates, is gone")


def test_what_does_not_go_with_an_export_is_refused(omp: Omp, policy: Path, tmp_path: Path) -> None:
    for option in (("--nfe", 7), ("--weights", "raw"), ("--precision", "bf16"), ("--curve", 2)):
        refused(omp("eval", policy / "policy.pt2", *option), 2, option[0][2:], "finished graph", "name the run")
    for part in ("policy.pt2", "policy.json", "manifest.json"):
        shutil.copy(policy / part, tmp_path)
    document = json.loads((tmp_path / "policy.json").read_text())
    document = {**document, "checkpoint_sha256": "another"}
    (tmp_path / "policy.json").write_text(json.dumps({**document, "seal": seal_of(document)}))
    refused(omp("eval", tmp_path / "policy.pt2"), 3, "the checkpoint that it was made of is not at", "omp.evaluate(")
    (tmp_path / "manifest.json").unlink()
    refused(omp("eval", tmp_path / "policy.pt2"), 3, "that it was made of is told by a manifest.json", "omp.evaluate(")


@pytest.mark.skipif(not HAS_ONNX, reason="needs the extra export")
def test_the_file_that_describes_an_export_stands_for_it(policy: Path) -> None:
    assert api.load(policy / "policy.json", device="cpu").decider.path == policy / "policy.onnx"


def test_a_pickle_has_to_be_named(omp: Omp, workshop: Path, policy: Path, tmp_path: Path) -> None:
    for part in ("policy.pt2", "policy.json"):
        shutil.copy(policy / part, tmp_path)
    refused(omp("deploy", tmp_path, "--replay", workshop / "toy"), 3, "policy.onnx", "no such file")


def test_any_batch_and_more_steps(omp: Omp, run: Path, tmp_path: Path) -> None:
    line = ("export", run, "--format", "pt2", "--nfe", 3, "--weights", "raw", "--dynamic-batch", "--json")
    done = omp(*line, "--out", tmp_path / "e")
    assert done.code == 0, done.err
    assert (done.json["result"]["batch"], done.json["result"]["nfe"]) == ("any", 3)
    assert list(done.json["result"]["files"]) == ["pt2"]
    assert not (tmp_path / "e" / "policy.onnx").exists()
    document = json.loads((tmp_path / "e" / "policy.json").read_text())
    assert document["inputs"][0]["shape"] == ["batch", 4, 2]


def shifted(file: Path, samples: Any) -> list[Tensor]:
    return [x + 0.01 for x in read_pt2(file, samples)]


def crashing(file: Path, samples: Any) -> list[Tensor]:
    os.kill(os.getpid(), signal.SIGSEGV)
    return []


def hanging(file: Path, samples: Any) -> list[Tensor]:
    time.sleep(60)
    return []


def broken(file: Path, samples: Any) -> list[Tensor]:
    raise ValueError("no such\nkernel")


@pytest.mark.skipif(not HAS_ONNX, reason="there is no other file without the ONNX packages")
def test_a_file_whose_making_crashes_leaves_the_other_and_a_reason(
    omp: Omp, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(READERS, "pt2", crashing)
    done = omp("export", run, "--json", "--out", tmp_path / "e")
    assert done.code == 0, done.err
    assert list(done.json["result"]["files"]) == ["onnx"]
    reason = "signal 11 while policy.pt2 was written and read back"
    assert reason in done.json["result"]["left_out"]["pt2"]
    assert reason in done.err
    assert {p.name for p in (tmp_path / "e").iterdir()} == {"manifest.json", "policy.json", "policy.onnx"}
    check_artifacts(tmp_path / "e", read_manifest(tmp_path / "e"))


@pytest.mark.parametrize(
    ("reader", "reason"),
    [
        (crashing, "signal 11 while policy.pt2 was written and read back"),
        (hanging, "no answer within 5 s (--set patience=SECONDS gives it longer)"),
        (broken, "policy.pt2: ValueError: no such kernel"),
    ],
)
def test_an_only_file_whose_making_crashes_or_hangs_leaves_nothing_and_a_reason(
    reader: Any, reason: str, omp: Omp, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(READERS, "pt2", reader)
    patience = ("--set", "patience=5") if reader is hanging else ()
    refused(omp("export", run, "--format", "pt2", *patience, "--out", tmp_path / "f"), 1, reason)
    assert [p.name for p in (tmp_path / "f").iterdir()] == ["manifest.json"]
    assert read_manifest(tmp_path / "f").status == "failed"


def test_a_file_that_answers_something_else_is_not_left_behind(
    omp: Omp, run: Path, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(policy, tmp_path / "e")
    monkeypatch.setitem(READERS, "pt2", shifted)
    refused(omp("export", run, "--format", "pt2", "--out", folder), 1, "policy.pt2", "max abs 0.01")
    assert [p.name for p in folder.iterdir()] == ["manifest.json"], "nor one of an earlier export"
    assert read_manifest(folder).status == "failed"


def test_without_the_onnx_packages(omp: Omp, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "missing_packages", lambda names: [n for n in names if n == "onnxscript"])
    done = omp("export", run, "--json", "--out", tmp_path / "e")
    assert done.code == 0, done.err
    assert list(done.json["result"]["files"]) == ["pt2"]
    assert "onnxscript" in done.json["result"]["left_out"]["onnx"]
    assert sum(program.ONNX_INSTALL in line for line in done.err.splitlines()) == 1
    refused(omp("export", run, "--format", "onnx", "--out", tmp_path / "f"), 4, "onnxscript", program.ONNX_INSTALL)
    assert not (tmp_path / "f").exists()


def test_bad_input(omp: Omp, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(omp("export", "nowhere"), 3, "nowhere")
    refused(omp("export"), 3, "no trained run")
    refused(omp("export", run, "--format", "tflite"), 2, "tflite")
    refused(omp("export", run, "--weights", "best"), 2, "weights")
    refused(omp("export", run, "--nfe", 0), 2, "--nfe")
    refused(omp("export", run, "--device", "cuda"), 2, "CPU")
    refused(omp("export", run, "--set", "formt=pt2"), 2, "formt", "format")


def test_dry_run_touches_nothing(omp: Omp, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    shown = omp("export", run, "--nfe", 5, "--format", "pt2", "--dry-run", "--json").json
    assert shown["config"]["nfe"] == {"value": 5, "source": "flag"}
    assert shown["config"]["weights"] == {"value": "ema", "source": "default"}
    assert shown["task"] == "reach"
    assert sorted(tmp_path.rglob("*")) == before
