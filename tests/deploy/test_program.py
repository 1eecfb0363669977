"""A decision of every kind of policy as a file of its own."""

from __future__ import annotations

import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from omp_cli.core.base.errors import RunFailed
from omp_cli.core.deploy import program
from omp_cli.core.deploy.base import Inputs
from omp_cli.core.deploy.graph import Decision, example_inputs, fresh_policy
from omp_cli.core.deploy.parity import Difference
from omp_cli.core.deploy.program import ONNX_PACKAGES, exported, missing_packages, write_onnx, write_pt2
from omp_cli.core.deploy.writing import READERS, Format, compared
from omp_cli.core.encoders import ENCODERS
from omp_cli.core.policy import PolicyConfig
from omp_cli.core.spec import Rotation, Spec
from tests.deploy.everything import EVERYTHING

needs_onnx = pytest.mark.skipif(bool(missing_packages(ONNX_PACKAGES)), reason="needs the extra export")


def decision(encoder: str, nfe: int = 2) -> Decision:
    parts = {"method": {"name": "omp"}, "net": {"name": "film-mlp", "hidden": 16, "depth": 1}}
    return Decision(fresh_policy(PolicyConfig.model_validate({**parts, "encoder": {"name": encoder}}), EVERYTHING), nfe)


@cache
def fixed(encoder: str) -> tuple[Decision, ExportedProgram]:
    """A decision and its graph for batch 1, made once."""
    module = decision(encoder)
    return module, exported(module, example_inputs(module.policy, 1))


def read_back(kind: Format, file: Path, inputs: list[Inputs], module: Decision) -> Difference:
    """How far a file's answers lie from a module's; RunFailed where that is too far."""
    return compared(kind, READERS[kind](file, inputs), [module(*x) for x in inputs])


def samples(module: Decision, *batches: int) -> list[Inputs]:
    return [example_inputs(module.policy, batch, seed) for seed, batch in enumerate(batches)]


@pytest.mark.parametrize("encoder", ENCODERS.names())
def test_every_encoder_survives_a_file(encoder: str, tmp_path: Path) -> None:
    module, graph = fixed(encoder)
    inputs = samples(module, 1, 1, 1)
    found = read_back("pt2", write_pt2(graph, tmp_path / "a.pt2"), inputs, module)
    assert found.accepted
    assert found.inputs == 3


@pytest.mark.parametrize("encoder", ENCODERS.names())
def test_a_decision_copies_nothing_from_the_host(encoder: str) -> None:
    """Such a copy waits for the device, and a CUDA graph cannot hold it. Export shows it as a lifted constant."""
    _, graph = fixed(encoder)
    assert not [name for name in graph.constants if "lifted_tensor" in name]


TURNED = Spec(
    suite="own",
    task="turn",
    state_dim=9,
    action_dim=12,
    max_steps=10,
    control_hz=10.0,
    state_rotations=(Rotation(first=2, kind="angle", near=(3.0,)), Rotation(first=5, kind="quaternion")),
    action_rotations=(
        Rotation(first=0, kind="axis-angle"),
        Rotation(first=3, kind="quaternion", near=(0.5, 0.5, 0.5, 0.5)),
        Rotation(first=8, kind="euler", degrees=True, near=(180.0, 0.0, 0.0)),
        Rotation(first=11, kind="angle"),
    ),
)
"""Rotations of every kind."""


RELATIVE = {"relative": ["8=5", "0=5", "11=2", "7=1"], "relative_state": ["5", "2", "0"]}


@pytest.mark.parametrize("chunk", [{}, RELATIVE], ids=["absolute", "relative"])
@pytest.mark.parametrize("kind", ["pt2", pytest.param("onnx", marks=needs_onnx)])
def test_rotations_survive_a_file(kind: Format, chunk: dict[str, Any], tmp_path: Path) -> None:
    parts = {"method": {"name": "omp"}, "net": {"name": "film-mlp", "hidden": 16, "depth": 1}}
    config = PolicyConfig.model_validate({**parts, "encoder": {"name": "state"}, "chunk": chunk})
    module = Decision(fresh_policy(config, TURNED), 2)
    graph, inputs = exported(module, example_inputs(module.policy, 1)), samples(module, 1, 1, 1)
    assert inputs[0][0].shape[-1] == 12 + 3 + 2 + 3 + 1
    assert module(*inputs[0]).shape[-1] == 12
    assert not [name for name in graph.constants if "lifted_tensor" in name], "copied from the host"
    file = tmp_path / f"a.{kind}"
    assert (write_pt2(graph, file) if kind == "pt2" else write_onnx(graph, file, module.inputs)) == file
    answers = READERS[kind](file, inputs)
    assert compared(kind, answers, [module(*x) for x in inputs], TURNED.action_rotations).accepted


@needs_onnx
def test_pictures_go_into_onnx_as_bytes(tmp_path: Path) -> None:
    import onnxruntime

    module, graph = fixed("light-vit")
    inputs = samples(module, 1, 1, 1)
    file = write_onnx(graph, tmp_path / "a.onnx", module.inputs)
    assert read_back("onnx", file, inputs, module).accepted
    arguments = onnxruntime.InferenceSession(str(file)).get_inputs()
    assert {x.name: (x.type, x.shape) for x in arguments} == {
        "noise": ("tensor(float)", [1, 4, 4]),
        "state": ("tensor(float)", [1, 2, 9]),
        "img": ("tensor(uint8)", [1, 2, 24, 24, 3]),
    }
    assert list(tmp_path.iterdir()) == [file], "the weights are inside"
    assert str(Path(program.__file__).parent).encode() not in file.read_bytes()


def test_a_file_tells_nothing_of_the_machine_that_made_it(tmp_path: Path) -> None:
    graphs = (fixed("state")[1], exported(decision("state"), example_inputs(decision("state").policy, 1)))
    one, two = (write_pt2(graph, tmp_path / f"{i}.pt2") for i, graph in enumerate(graphs))
    assert one.read_bytes() == two.read_bytes(), "same policy, same file"
    with zipfile.ZipFile(one) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert str(Path(program.__file__).parents[2]).encode() not in content
    assert str(Path(torch.__file__).parent).encode() not in content


def test_a_file_of_another_policy_is_refused(tmp_path: Path) -> None:
    other, graph = decision("state", nfe=1), fixed("state")[1]
    inputs = samples(other, 1, 1, 1)
    with pytest.raises(RunFailed, match="max rel"):
        read_back("pt2", write_pt2(graph, tmp_path / "a.pt2"), inputs, other)


def test_what_does_not_fit_into_one_onnx_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "PROTOBUF_BYTES", 100)
    with pytest.raises(RunFailed, match="do not fit"):
        write_onnx(exported(nn.Linear(8, 8), (torch.ones(1, 8),)), tmp_path / "a.onnx", ["x"])
    assert not list(tmp_path.iterdir())
