"""What a checkpoint's hashes, its seal and its run's manifest say is compared whenever it is read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from omp_cli.core.base.config import validated
from omp_cli.core.base.errors import DataError
from omp_cli.core.base.run import CHECKPOINTS, Run
from omp_cli.core.checkpoint import EMA, META, MODEL, TRAINING, Checkpoint, CheckpointMeta, open_checkpoint, open_run
from omp_cli.core.deploy.graph import fresh_policy
from omp_cli.core.policy import PolicyConfig
from omp_cli.core.spec import Spec
from omp_cli.core.train.saving import copied_states, save_checkpoint

SPEC = Spec(suite="toy", task="push", action_dim=2, state_dim=4, max_steps=10, control_hz=10.0)
CONFIG = {"method": {"name": "omp"}, "net": {"name": "film-mlp", "hidden": 8}, "encoder": {"name": "state"}}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint of a run that has not finished."""
    config = validated(PolicyConfig, CONFIG)
    policy = fresh_policy(config, SPEC)
    values: dict[str, Any] = {"policy": config.model_dump(mode="json"), "spec": SPEC, "suite": {"name": "toy"}}
    meta = CheckpointMeta(step=3, **values, dataset_sha256="0" * 64, start_states=["a"])
    states = copied_states(policy, policy, {"step": torch.zeros(1)})
    return save_checkpoint(tmp_path / "run" / CHECKPOINTS, meta, states)


def as_before(path: Path) -> None:
    """Make it a checkpoint of an omp that wrote no hashes."""
    document = json.loads((path / META).read_text())
    del document["files"], document["seal"]
    (path / META).write_text(json.dumps(document, indent=2) + "\n")


def finished(path: Path) -> Path:
    """Give the checkpoint's run the manifest of a success; returns its folder."""
    folder = path.parent.parent
    with Run(folder, "pretrain", {}, {}) as run:
        run.artifact(path)
    return folder


def flip(file: Path) -> None:
    """Change the last byte: of a weight, in a file of weights."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def edit(path: Path, **changed: Any) -> None:
    document = json.loads((path / META).read_text())
    (path / META).write_text(json.dumps({**document, **changed}, indent=2) + "\n")


def read(path: Path) -> Checkpoint:
    found = open_checkpoint(path)
    found.load("ema")
    found.load("raw")
    found.tensors(TRAINING)
    return found


def test_a_whole_checkpoint_is_read(saved: Path) -> None:
    assert read(saved).meta.files.keys() == {MODEL, EMA, TRAINING}
    assert open_run(finished(saved))[-1].load("ema") is not None


@pytest.mark.parametrize("name", [MODEL, EMA, TRAINING])
def test_a_flipped_byte_is_found_without_a_manifest(saved: Path, name: str) -> None:
    flip(saved / name)
    with pytest.raises(DataError, match=rf"{name}: content does not match its hash"):
        read(saved)


CHANGES: list[Callable[[Path], None]] = [
    lambda path: edit(path, start_states=[]),
    lambda path: edit(path, step=4),
    lambda path: edit(path, spec={**SPEC.model_dump(mode="json"), "max_steps": 1000}),
    lambda path: edit(path, spec={**SPEC.model_dump(mode="json"), "task": "../../../etc/passwd"}),
    lambda path: edit(path, files={}),
    lambda path: edit(path, seal=""),
]


@pytest.mark.parametrize("change", CHANGES)
def test_an_edited_description_is_found(saved: Path, change: Callable[[Path], None]) -> None:
    change(saved)
    with pytest.raises(DataError, match=r"policy.json: content does not match its hash"):
        open_checkpoint(saved)


def test_one_consistent_checkpoint_in_the_place_of_another_is_found_by_the_manifest(saved: Path) -> None:
    folder = finished(saved)
    read(saved)
    as_before(saved)
    with pytest.raises(DataError, match="manifest of its run"):
        open_run(folder)[-1].load("ema")


def test_old_checkpoints_stay_readable_and_are_checked_by_their_manifest(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_before(saved)
    read(saved)
    folder = finished(saved)
    assert open_run(folder)[-1].load("ema") is not None
    flip(saved / EMA)
    monkeypatch.chdir(saved.parent)
    for path in (saved, Path(saved.name)):
        with pytest.raises(DataError, match="manifest of its run"):
            open_checkpoint(path).load("ema")


def test_a_checkpoint_that_was_copied_stands_on_its_own(saved: Path, tmp_path: Path) -> None:
    finished(saved)
    copy = saved.rename(tmp_path / "elsewhere")
    open_checkpoint(copy).load("ema")
    flip(copy / EMA)
    with pytest.raises(DataError, match="does not match its hash"):
        open_checkpoint(copy).load("ema")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", [MODEL, EMA, TRAINING])
def test_numbers_that_are_not_finite_are_refused_where_they_are_read(saved: Path, name: str, value: float) -> None:
    as_before(saved)
    tensors = load_file(saved / name)
    key = next(iter(tensors))
    tensors[key].view(-1)[0] = value
    save_file(tensors, saved / name)
    with pytest.raises(DataError, match=f"{key} holds numbers that are not finite"):
        read(saved)


def test_too_little_memory_is_no_damage(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: object) -> None:
        raise OSError("Cannot allocate memory (os error 12)")

    monkeypatch.setattr("safetensors.torch.load_file", short)
    with pytest.raises(Exception, match="out of memory") as error:
        open_checkpoint(saved).load("ema")
    assert error.value.exit_code == 1  # type: ignore[attr-defined]


def test_the_run_of_a_checkpoint_wherever_one_stands(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = saved.parent.parent
    assert open_checkpoint(saved).run == run
    monkeypatch.chdir(saved.parent)
    assert open_checkpoint(Path(saved.name)).run == run, "not the folder that one stands in"
    monkeypatch.chdir(saved)
    assert open_checkpoint(Path()).run == run
    with pytest.raises(DataError, match="manifest"):
        open_checkpoint(Path()).dataset()
