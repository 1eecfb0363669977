"""A policy from an export knows what the one from its run knows."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omp_cli.core.base.errors import DataError
from omp_cli.core.base.files import seal_of, sha256_of, write_json
from omp_cli.core.checkpoint import CheckpointMeta, open_checkpoint
from omp_cli.core.data.reference import Reference
from omp_cli.core.deploy import exported
from omp_cli.core.deploy.config import ExportConfig
from omp_cli.core.deploy.decider import Decider
from omp_cli.core.deploy.deciders import OfCheckpoint
from omp_cli.core.deploy.export import signature
from omp_cli.core.deploy.exported import OfExport
from omp_cli.core.deploy.frames import Signature
from omp_cli.core.deploy.player import Player
from omp_cli.core.deploy.writing import decision_of
from omp_cli.core.policy import Policy
from omp_cli.core.policy_config import PolicyConfig
from omp_cli.core.spec import Channels, Rotation, Spec
from omp_cli.core.suites.own.suite import OwnSuite
from omp_cli.core.train.saving import copied_states, save_checkpoint

TOY = Spec(suite="toy", task="reach", action_dim=2, state_dim=3, max_steps=7, control_hz=20.0, image=(16, 16, 6))
OWN = TOY.model_copy(
    update={
        "suite": "own",
        "action_channels": Channels(names=("shoulder", "elbow"), unit="deg", low=(-90.0, 0.0), high=(90.0, 45.5)),
        "state_channels": Channels(names=("a", "b", "c"), low=(0.0,) * 3, high=(1.0,) * 3),
        "cameras": ("top", "wrist"),
        "action_rotations": (Rotation(first=1, kind="angle", degrees=True, near=(20.0,)),),
    }
)
SUITES = {
    "toy": {"name": "toy"},
    "own": {"name": "own", "cameras": ["top", "wrist"], "state": [{"name": "joints", "width": 3}]},
}
PARTS = {
    "method": {"name": "meanflow"},
    "encoder": {"name": "light-vit", "width": 16, "depth": 1},
    "net": {"name": "residual-mlp", "hidden": 16},
}
OF_ONE_KIND = ("kind", "path", "device", "against_float32")
"""What a checkpoint has and a graph does not."""


ACTIONS = {"shape": [1, 4, 2], "rotations": [{"first": 1, "kind": "angle"}]}


def document_of(folder: Path, spec: Spec, actions: Any = ((-1.0, -1.0), (1.0, 1.0))) -> tuple[Any, dict[str, Any]]:
    """A run's policy, of data with these actions, and ``policy.json`` of its export."""
    config = PolicyConfig.model_validate(PARTS)
    policy = Policy(config, spec).eval()
    policy.action_limits.fit(policy.action_limits.learned(torch.tensor(actions)))
    meta = CheckpointMeta(
        step=1,
        policy=config.model_dump(mode="json"),
        spec=spec,
        suite=SUITES[spec.suite],
        dataset_sha256="",
        start_states=[],
        reference=Reference.of(np.zeros(2), np.zeros((16, 16, 6), np.uint8)).model_dump(mode="json"),
    )
    checkpoint = open_checkpoint(save_checkpoint(folder / "checkpoints", meta, copied_states(policy, policy, {})))
    chosen = ExportConfig(nfe=policy.nfe)
    decision, samples = decision_of(policy, chosen)
    (folder / "policy.pt2").write_bytes(b"a graph")
    document = signature(checkpoint, chosen, decision, samples[0], decision(*samples[0]), folder)
    return OfCheckpoint(checkpoint, "ema", torch.device("cpu"), None), document


def opened(folder: Path, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> OfExport:
    document["seal"] = seal_of({key: value for key, value in document.items() if key != "seal"})
    write_json(folder / "policy.json", document)
    assert document["files"] == {"policy.pt2": sha256_of(folder / "policy.pt2")}
    monkeypatch.setattr(exported, "_pt2", lambda *_: None)
    return OfExport(folder / "policy.pt2", torch.device("cpu"))


@pytest.mark.parametrize("spec", [TOY, OWN], ids=["of a suite", "of one's own"])
def test_an_export_knows_what_its_run_knows(spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, document = document_of(tmp_path, spec)
    other = opened(tmp_path, document, monkeypatch)
    for field in fields(Signature):
        if field.name != "batch":  # a graph is made for one
            found, wanted = (getattr(decider.signature, field.name) for decider in (other, one))
            assert found == wanted, field.name
            assert wanted or spec is TOY, f"{field.name} is not compared"
    for name in Decider.__annotations__.keys() - {"signature", *OF_ONE_KIND}:
        assert getattr(other, name) == getattr(one, name) is not None, name


def test_actions_of_a_suite_beyond_one_are_told_from_the_data_and_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment of a plugin may have bounds of its own."""
    one, document = document_of(tmp_path, TOY, ((-3.0, 0.0), (5.0, 10.0)))
    other = opened(tmp_path, document, monkeypatch)
    for decider in (one, other):
        low, high = decider.signature.action_range
        assert (low, high) == (pytest.approx((-3, 0), abs=1e-5), pytest.approx((5, 10), abs=1e-5))
    assert "as toy takes it, -3 to 10;" in document["output"]["unit"]


def test_a_number_that_never_changes_is_within_its_bound(tmp_path: Path) -> None:
    one, document = document_of(tmp_path, TOY, ((-0.5, 1.0), (0.5, 1.0)))
    assert one.signature.action_range == ((-1, -1), (1, 1))
    assert "-1 to 1;" in document["output"]["unit"]


def test_what_an_older_export_does_not_say_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, document = document_of(tmp_path, TOY)
    for name in ("max_steps", "reference"):
        del document[name]
    for end in ("low", "high"):
        del document["output"][end]
    found = opened(tmp_path, document, monkeypatch)
    assert (found.signature.max_steps, found.reference) == (None, None)
    assert found.signature.action_range is None


def test_an_export_knows_whether_noise_plays_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, document = document_of(tmp_path, TOY)
    assert document["generative"] is True
    assert opened(tmp_path, document | {"generative": False}, monkeypatch).generative is False
    del document["generative"]
    assert opened(tmp_path, document, monkeypatch).generative is True, "as every export of an earlier omp"


@pytest.mark.parametrize(
    "change",
    [
        {"output": {**ACTIONS, "low": [0.0], "high": [1.0, 2.0]}},
        {"output": {**ACTIONS, "low": [0.0, "x"], "high": [1.0, 2.0]}},
        {"output": {**ACTIONS, "low": [0.0, 1.0]}},
        {"output": {**ACTIONS, "shape": []}},
        {"output": {**ACTIONS, "rotations": []}},
        {"output": {**ACTIONS, "rotations": [{"first": 5, "kind": "angle"}]}},
        {"max_steps": "many"},
        {"weights": "best"},
        {"reference": 3},
    ],
)
def test_what_is_not_as_omp_writes_it_is_told(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, document = document_of(tmp_path, OWN)
    with pytest.raises(DataError, match="not as omp export writes it"):
        opened(tmp_path, document | change, monkeypatch)


def test_a_suite_is_built_once_for_a_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, document = document_of(tmp_path, OWN)
    made: list[OwnSuite] = []
    plain = OwnSuite.__init__
    monkeypatch.setattr(OwnSuite, "__init__", lambda self, config: made.append(self) or plain(self, config))
    for make in (
        lambda: OfCheckpoint(one.checkpoint(), "ema", one.device, None),
        lambda: opened(tmp_path, document, monkeypatch),
    ):
        made.clear()
        player = Player(make())
        player.as_read({"joints": np.zeros(3), "img": np.zeros((16, 16, 6), np.uint8)})
        assert len(made) == 1
