"""Runtimes: each computes what eager computes, or is listed with the reason; never silently left out."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from omp_cli.core.base.errors import UsageError
from omp_cli.core.deploy import backends
from omp_cli.core.deploy.backends import BACKENDS, Function, checked, dtype_of, find
from omp_cli.core.deploy.base import Inputs
from omp_cli.core.measure.latency.config import RUNTIMES

CPU = torch.device("cpu")


class Mixed(nn.Module):
    """Noise and a picture to one array, as a policy takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.LayerNorm(8), nn.Linear(8, 3))

    def forward(self, noise: Tensor, img: Tensor) -> Tensor:
        """noise (B, 2), img (B, 4) uint8 -> (B, 3)."""
        return self.layers(torch.cat([noise, img.to(noise.dtype) / 255], dim=-1))


def samples(count: int = 3, device: torch.device = CPU) -> list[Inputs]:
    g = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(1, 2, generator=g).to(device),
            torch.randint(0, 256, (1, 4), generator=g, dtype=torch.uint8).to(device),
        )
        for _ in range(count)
    ]


def module(device: torch.device = CPU) -> nn.Module:
    torch.manual_seed(0)
    return Mixed().eval().to(device)


def computes_the_same(name: str, tmp_path: Path, device: torch.device = CPU) -> None:
    net, inputs = module(device), samples(4, device)
    outcome = checked(name, net, inputs, tmp_path)
    assert outcome.status == "ready", outcome.reason
    assert outcome.difference is not None
    assert outcome.difference.inputs == 4
    prepared = outcome.prepared
    assert prepared is not None
    assert prepared.seconds > 0
    with torch.no_grad():
        expected = [net(*x) for x in inputs]
    torch.testing.assert_close(prepared.call(), expected[0])  # the first sample is placed
    prepared.place(*inputs[2])
    torch.testing.assert_close(prepared.call(), expected[2])
    torch.testing.assert_close(prepared.call(), expected[2])
    kept = prepared.run(*inputs[1])
    prepared.run(*inputs[3])
    torch.testing.assert_close(kept, expected[1])  # the next call does not overwrite what run returned
    assert kept.device == inputs[0][0].device


@pytest.mark.parametrize("name", ["eager", "compile", "onnx"])
def test_on_the_cpu(name: str, tmp_path: Path) -> None:
    if reason := find(name).missing(CPU):
        pytest.skip(reason)
    computes_the_same(name, tmp_path)


def test_aoti_is_missing_on_cuda_where_torch_s_own_loader_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.11.0+cu130"))
    assert "signal 11" in str(BACKENDS["aoti"].missing(torch.device("cuda")))
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.12.0+cu130"))
    assert "signal 11" not in str(BACKENDS["aoti"].missing(torch.device("cuda")))


@pytest.mark.skipif(not os.environ.get("OMP_TEST_SLOW"), reason="compiles C++ for up to a minute: OMP_TEST_SLOW=1")
def test_aoti_on_the_cpu(tmp_path: Path) -> None:
    computes_the_same("aoti", tmp_path)
    assert (tmp_path / "aoti.pt2").is_file()


def test_completion_knows_the_backends_by_name() -> None:
    assert tuple(BACKENDS) == RUNTIMES


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", BACKENDS)
def test_on_a_gpu(name: str, tmp_path: Path) -> None:
    device = torch.device("cuda")
    if name == "aoti" and not os.environ.get("OMP_TEST_SLOW"):
        pytest.skip("dies of signal 11 with torch 2.11, and all tests with it: OMP_TEST_SLOW=1")
    if reason := find(name).missing(device):
        pytest.skip(reason)
    computes_the_same(name, tmp_path, device)


@pytest.mark.parametrize("name", ["cudagraph", "compile-cudagraph"])
def test_cuda_graphs_are_missing_on_the_cpu(name: str, tmp_path: Path) -> None:
    outcome = checked(name, module(), samples(), tmp_path)
    assert (outcome.status, outcome.prepared) == ("missing", None)
    assert "NVIDIA GPU" in outcome.reason


def test_what_is_missing_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name))
    outcome = checked("onnx", module(), samples(), tmp_path)
    assert outcome.status == "missing"
    assert "onnxscript" in outcome.reason
    assert "pip install" in outcome.reason
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for name in ("compile", "aoti"):
        assert "compiler" in checked(name, module(), samples(), tmp_path).reason


def test_bfloat16_is_for_torch_alone(tmp_path: Path) -> None:
    net = module().to(torch.bfloat16)
    three = [tuple(x.to(torch.bfloat16) if x.is_floating_point() else x for x in sample) for sample in samples()]
    assert dtype_of(net, three[0]) == torch.bfloat16
    assert dtype_of(module(), three[0]) == torch.float32
    eager = checked("eager", net, three, tmp_path)
    assert eager.status == "ready"
    assert eager.difference is not None
    assert eager.difference.tolerance > 1e-2
    if find("onnx").missing(CPU) is None:
        assert "bfloat16" in checked("onnx", net, three, tmp_path).reason


class Wrong(backends.Eager):
    """Adds an error to all answers but the first."""

    name = "wrong"

    def prepare(self, module: nn.Module, inputs: Inputs, folder: Path) -> Function:
        def shifted(*x: Tensor) -> Tensor:
            return module(*x) + (0.0 if x[0] is inputs[0] else 0.01)

        return Function(shifted, inputs, torch.no_grad)


class Broken(backends.Eager):
    """Does not build."""

    name = "broken"

    def prepare(self, module: nn.Module, inputs: Inputs, folder: Path) -> Function:
        raise RuntimeError("no\nsuch kernel")


def test_another_answer_is_refused_with_the_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "wrong", Wrong())
    outcome = checked("wrong", module(), samples(), tmp_path)
    assert (outcome.status, outcome.prepared) == ("refused", None)
    assert outcome.difference is not None
    assert outcome.difference.max_abs == pytest.approx(0.01, rel=1e-3)
    assert "max abs 0.01" in outcome.reason


def test_a_failure_to_build_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "broken", Broken())
    outcome = checked("broken", module(), samples(), tmp_path)
    assert (outcome.status, outcome.reason) == ("failed", "RuntimeError: no such kernel")


def test_bad_calls(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 3"):
        checked("eager", module(), samples(2), tmp_path)
    with pytest.raises(UsageError, match="onxx") as stop:
        checked("onxx", module(), samples(), tmp_path)
    assert "onnx" in stop.value.hint
