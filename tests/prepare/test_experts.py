"""Experts of files: read without running anything, rolled out as scripted ones are, hostile files refused."""

from __future__ import annotations

import builtins
import hashlib
import io
import os
import pickle
import sys
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.store import read_store
from omp_cli.core.experts.dapg import KNOWN, read_dapg
from omp_cli.core.experts.mlp import read_npz
from omp_cli.core.experts.pickled import taken_apart
from tests.cli.test_bad_input import refused
from tests.conftest import Omp
from tests.data.server import Behaviour, serving

PUBLIC = os.environ.get("OMP_CLI_DAPG")
"""A folder with hand_dapg's files and the same as npz, if there is one."""
ADROIT = pytest.mark.skipif(find_spec("gymnasium_robotics") is None, reason="gymnasium-robotics is not installed")


def arrays(inputs: int, outputs: int, width: int = 5) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = [(width, inputs), (width, width), (outputs, width)]
    found = {f"w{i}": random.normal(size=shape).astype(np.float32) for i, shape in enumerate(shapes)}
    found |= {f"b{i}": random.normal(size=shape[0]).astype(np.float32) for i, shape in enumerate(shapes)}
    for side, dim in (("in", inputs), ("out", outputs)):
        found |= {f"{side}_shift": random.normal(size=dim).astype(np.float32)}
        found |= {f"{side}_scale": random.uniform(0.5, 2, size=dim).astype(np.float32)}
    return found


@pytest.fixture(autouse=True)
def _work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_CLI_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OMP_CLI_CATALOGUE", raising=False)


class Calls:
    """Pickled as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.fixture
def mjrl(monkeypatch: pytest.MonkeyPatch) -> dict[str, type]:
    """The classes of a package that is not installed, for as long as a file of it is made."""
    classes = {}
    for module, name in (("mjrl.policies.gaussian_mlp", "MLP"), ("mjrl.utils.fc_network", "FCNetwork")):
        classes[name] = type(name, (), {"__module__": module})
        made = ModuleType(module)
        setattr(made, name, classes[name])
        monkeypatch.setitem(sys.modules, module, made)
        monkeypatch.setitem(sys.modules, "mjrl", ModuleType("mjrl"))
        monkeypatch.setitem(sys.modules, module.rpartition(".")[0], ModuleType(module.rpartition(".")[0]))
    return classes


def tensor(values: np.ndarray) -> Calls:
    """As PyTorch 1.0 pickled it."""
    x = torch.from_numpy(np.ascontiguousarray(values))
    stored = io.BytesIO()
    torch.save(
        torch.storage.TypedStorage(wrap_storage=x.untyped_storage(), dtype=x.dtype, _internal=True),
        stored,
        _use_new_zipfile_serialization=False,
    )
    storage = Calls(torch.storage._load_from_bytes, stored.getvalue())
    return Calls(torch._utils._rebuild_tensor_v2, storage, 0, tuple(x.shape), x.stride(), False, OrderedDict())


def bare(kind: type, **state: Any) -> Any:
    made = kind.__new__(kind)
    made.__dict__.update(state)
    return made


def published(classes: dict[str, type], found: dict[str, np.ndarray]) -> bytes:
    """A file in hand_dapg's layout."""
    layers = OrderedDict()
    for i in range(sum(name.startswith("w") for name in found)):
        pair = (("weight", f"w{i}"), ("bias", f"b{i}"))
        parameters = OrderedDict(
            (ours, Calls(torch._utils._rebuild_parameter, tensor(found[name]), True, OrderedDict()))
            for ours, name in pair
        )
        layers[str(i)] = bare(torch.nn.Linear, _parameters=parameters)
    modules = OrderedDict(fc_layers=bare(torch.nn.ModuleList, _modules=layers))
    shifts = {name: tensor(found[name]) for name in found if "_s" in name}
    network = bare(classes["FCNetwork"], _modules=modules, nonlinearity=Calls(getattr, "", "tanh"), **shifts)
    return pickle.dumps(bare(classes["MLP"], model=network, n=3), protocol=3)


def test_a_published_policy_and_its_arrays_act_alike(tmp_path: Path, mjrl: dict[str, type]) -> None:
    found = arrays(7, 3)
    np.savez(tmp_path / "a.npz", **found, log_std=np.zeros(3))
    (tmp_path / "a.pickle").write_bytes(published(mjrl, found))
    seen = np.linspace(-1, 1, 7)
    x = (seen - found["in_shift"]) / (found["in_scale"] + 1e-8)
    for i in (0, 1):
        x = np.tanh(found[f"w{i}"] @ x + found[f"b{i}"])
    wanted = found["out_scale"] * (found["w2"] @ x + found["b2"]) + found["out_shift"]
    for expert in (read_npz(tmp_path / "a.npz"), read_dapg(tmp_path / "a.pickle")):
        np.testing.assert_allclose(expert.action(seen), wanted, rtol=1e-5)


HOSTILE = {
    "os.system": pickle.dumps(Calls(os.system, "touch ran"), 3),
    "eval": pickle.dumps(Calls(builtins.eval, "open('ran', 'w')"), 3),
    "getattr chain": b"\x80\x03cbuiltins\ngetattr\nccollections\nOrderedDict\nX\x08\x00\x00\x00__init__\x86R)R.",
    "state of a constructor": b"\x80\x03ccollections\nOrderedDict\n}b.",
    "import by its parts": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x09touch ran\x85R.",
    "an instance": b"(S'touch ran'\nios\nsystem\n.",
    "far memory": b"\x80\x03Nr\xff\xff\xff\xff.",
    "huge bytes": b"\x80\x03B\xff\xff\xff\x7fabc.",
    "huge text": b"\x80\x03X\xff\xff\xff\xffabc.",
    "shared keys": b"\x80\x03}" + b")q\x00" + b"".join(b"h\x00h\x00\x86q\x00" for _ in range(60)) + b"Ns.",
    "a cycle": b"\x80\x03]q\x00h\x00a.",
    "empty stack": b"\x80\x03R.",
    "a mark alone": b"\x80\x03(.",
    "cut short": b"\x80\x03}",
    "an extension": b"\x80\x03\x82\x01.",
    "nested tuples": b"\x80\x03N" + b"\x85" * 200_000 + b".",
    "text of digits": b"\x80\x03L" + b"9" * 100_000 + b"L\n.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_one_line_and_runs_nothing(name: str, omp: Omp, tmp_path: Path) -> None:
    file = tmp_path / "x.pickle"
    file.write_bytes(HOSTILE[name])
    with pytest.raises(DataError) as error:
        read_dapg(file)
    assert str(file) in error.value.message
    assert "\n" not in error.value.message
    assert [p.name for p in tmp_path.iterdir()] == ["x.pickle"]


def test_damage_of_a_published_policy_is_one_line(tmp_path: Path, mjrl: dict[str, type]) -> None:
    content = published(mjrl, arrays(4, 2))
    file = tmp_path / "x.pickle"
    random = np.random.default_rng(0)
    for index in range(300):
        damaged = bytearray(content)
        if index % 3:
            damaged[random.integers(len(content))] = random.integers(256)
        else:
            damaged = damaged[: random.integers(1, len(content))]
        file.write_bytes(damaged)
        try:
            read_dapg(file)  # a changed number is a number still
        except DataError as error:
            assert str(file) in error.message


def test_what_is_known_is_not_called() -> None:
    made = taken_apart(
        io.BytesIO(b"\x80\x03cbuiltins\ngetattr\nX\x01\x00\x00\x00aX\x01\x00\x00\x00b\x86R."), KNOWN, "x"
    )
    assert (made.name, made.arguments) == ("builtins getattr", ("a", "b"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"w1": np.zeros((5, 4))}, "layer 1"),
        ({"w1": None}, "no w1"),
        ({"b0": np.zeros(3)}, "layer 0"),
        ({"w0": np.full((5, 11), np.nan)}, "not finite"),
        ({"in_scale": None}, "belong together"),
        ({"out_shift": np.zeros(9)}, "out_shift"),
        ({"activation": np.array("tahn")}, "tahn"),
        ({"w2": np.array([["a"]])}, "w2"),
        ({"w0": np.array([object()])}, "x.npz"),
    ],
)
def test_arrays_of_no_perceptron_are_one_line(
    omp: Omp, tmp_path: Path, change: dict[str, np.ndarray | None], words: str
) -> None:
    found = {name: value for name, value in {**arrays(11, 3), **change}.items() if value is not None}
    np.savez(tmp_path / "x.npz", **found)
    refused(omp("prepare", "gym", "--task", "hopper-v5", "--expert", "x.npz"), 3, words)


def test_what_goes_wrong_on_the_line(omp: Omp, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **arrays(9, 3))
    gym = ("prepare", "gym", "--task", "hopper-v5", "--expert")
    refused(omp(*gym, "none.npz"), 3, "no such file")
    (tmp_path / "text").write_text("hello")
    refused(omp(*gym, "text"), 3, "no expert that omp knows")
    refused(omp(*gym, "x.npz", "--demos", 1, "--workers", 1), 3, "reads 9 numbers", "shows 11 or 12")
    for benchmark in ("own", "nosuch"):
        refused(omp("prepare", benchmark, "--expert", "x.npz"), 2, f"{benchmark} has no simulator here")
    refused(omp(*gym, "x.npz", "--file", "y"), 2, "--expert does not go with --file")
    refused(omp(*gym, "x.npz", "--source", "sb3"), 2, "--expert does not go with --source sb3")
    np.savez(tmp_path / "y.npz", **arrays(11, 4))
    refused(omp(*gym, "y.npz", "--demos", 1, "--workers", 1), 3, "acts with 4 numbers", "takes 3")


def test_any_suite_records_an_expert_of_a_file(omp: Omp, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **arrays(11, 3))
    line = ("prepare", "gym", "--task", "hopper-v5", "--expert", "x.npz", "--demos", 2, "--workers", 1, "--json")
    done = omp(*line)
    assert done.code == 0, done.err
    data = read_store(tmp_path / done.json["run_dir"])
    assert (
        data.provenance["recipe"]["expert"]["sha256"] == hashlib.sha256((tmp_path / "x.npz").read_bytes()).hexdigest()
    )
    assert data.provenance["expert"]["kind"] == "a perceptron of an npz file"
    assert data.provenance["returns"]["mean"] == pytest.approx(data.arrays["reward"].sum() / 2, abs=1e-2)
    assert data.arrays["terminal"].sum() == 2, "a hopper that no one has taught falls"
    first = read_npz(tmp_path / "x.npz").action(data.arrays["state"][0])
    np.testing.assert_allclose(data.arrays["action"][0], np.clip(first, -1, 1), atol=1e-6)
    assert omp(*line).json["result"]["reused"]
    np.savez(tmp_path / "x.npz", **arrays(11, 3, width=6))
    assert omp(*line).json["run_dir"] != done.json["run_dir"], "another expert is another data set"


@ADROIT
def test_a_published_expert_is_fetched_verified_and_rolled_out(
    omp: Omp, tmp_path: Path, mjrl: dict[str, type], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = published(mjrl, arrays(39, 28))
    entry = '{{ path = "door-v0.pickle", size = {}, sha256 = "{}" }}'
    good = entry.format(len(content), hashlib.sha256(content).hexdigest())
    with serving(Behaviour(files={"/door-v0.pickle": content})) as address:
        own = f"""schema = 1
        [[group]]
        suite = "adroit"
        format = "expert"
        licence = "Apache-2.0"
        base = "{address}/"
        sets = [{{ task = "door", source = "dapg", files = [%s] }}]
        """
        (tmp_path / "c.toml").write_text(own % good)
        monkeypatch.setenv("OMP_CLI_CATALOGUE", str(tmp_path / "c.toml"))
        line = ("prepare", "adroit", "--task", "door", "--set", "suite.cloud=none", "--workers", 1, "--demos", 1)
        short = ("--set", "collect.max_steps=3", "--set", "collect.max_attempts=2")
        weak = omp(*line, *short, "--source", "dapg")
        assert weak.code == 1, weak.err
        assert "only 0 of 1 demonstrations after 2 attempts" in weak.err, "random weights open no door"
        assert "licence Apache-2.0" in weak.err
        shown = omp(*line, "--dry-run", "--json")
        assert "door-dapg-d1-s0" in shown.json["folder"], "the catalogue's first source of the task is meant"
        (tmp_path / "c.toml").write_text(own % entry.format(len(content), "0" * 64))
        refused(omp(*line, "--source", "dapg", "--out", "other"), 3, "SHA-256")
    refused(omp(*line, "--source", "dapg", "--task", "pem"), 2, "pen")


@ADROIT
@pytest.mark.skipif(not PUBLIC, reason="OMP_CLI_DAPG names no folder with hand_dapg's files")
@pytest.mark.parametrize("task", ["door", "hammer", "pen", "relocate"])
def test_the_published_files_are_their_arrays(task: str) -> None:
    one, other = read_dapg(Path(PUBLIC or "", f"{task}-v0.pickle")), read_npz(Path(PUBLIC or "", f"{task}-expert.npz"))
    seen = np.random.default_rng(0).normal(size=one.inputs)
    np.testing.assert_allclose(one.action(seen), other.action(seen), rtol=1e-6)
