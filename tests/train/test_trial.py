"""Parts of the user's own are tried on the first batch: a fault is told with part, file and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from omp_cli.core.base import config as c
from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.layers import Layer, merge
from omp_cli.core.base.plugins import load_plugin
from omp_cli.core.base.presets import preset_layer
from omp_cli.core.base.progress import Silent
from omp_cli.core.data.store import read_store
from omp_cli.core.train.config import PretrainConfig
from omp_cli.core.train.distributed import World
from omp_cli.core.train.loop import Trainer

METHOD = """
from typing import Literal
import torch
from omp_cli.core.base.config import Settings
from omp_cli.core.methods import METHODS, Draws, LossReport, Method
from omp_cli.core.methods.path import path_jumps, velocity

class MineConfig(Settings):
    name: Literal["mine"] = "mine"

@METHODS.register("mine")
class Mine(Method):
    Config = MineConfig

    def draw(self, shape, generator):
        r, t = torch.zeros(shape[0]), torch.ones(shape[0])
        return Draws(torch.randn(shape, generator=generator), r, t)

    def loss(self, u, z_0, h, draws, gather=None):
        error = u(draws.noise, draws.r, draws.t) - velocity(z_0, draws.noise)
        loss = error.square().mean()
        return LossReport(total=loss, parts={'mine': loss.detach()}, terms={"mine": loss})

    def jumps(self, nfe, eta=0.0):
        return path_jumps(nfe)
"""
PARTS = """
from typing import Literal
from torch import nn
from omp_cli.core.base.config import Settings
from omp_cli.core.encoders.base import ENCODERS, Encoder
from omp_cli.core.nets.base import NETS, Net

class SeenConfig(Settings):
    name: Literal["seen"] = "seen"

@ENCODERS.register("seen")
class Seen(Encoder):
    Config = SeenConfig
    keys = ("state",)
    out_dim = 8

    def __init__(self, config, spec, n_obs):
        super().__init__(config, spec, n_obs)
        self.linear = nn.Linear(n_obs * spec.state_dim, 8)
        self.frozen = nn.Dropout().eval()

    def fit(self, arrays):
        pass

    def forward(self, obs):
        return self.linear(obs["state"].flatten(1))

class TinyConfig(Settings):
    name: Literal["tiny"] = "tiny"

@NETS.register("tiny")
class Tiny(Net):
    Config = TinyConfig

    def __init__(self, config, horizon, action_dim, cond_dim):
        super().__init__(config, horizon, action_dim, cond_dim)
        self.linear = nn.Linear(cond_dim, horizon * action_dim)

    def forward(self, z, r, t, c, features=None):
        return z + self.linear(c).view_as(z)
"""


def plugin(folder: Path, old: str = "", new: str = "") -> Path:
    """A file with a method, an encoder and a net, a part of it replaced, loaded."""
    assert old in METHOD + PARTS
    file = folder / "mine.py"
    file.write_text((METHOD + PARTS).replace(old, new) if old else METHOD + PARTS)
    load_plugin(file)
    return file


def trainer(toy: Path, folder: Path) -> Trainer:
    """Of two steps with the file's parts alone."""
    values = {"encoder.name": "seen", "net.name": "tiny", "method.name": "mine", "train.steps": 2}
    merged, _ = merge([preset_layer("pretrain", "light"), Layer("test", values | {"train.batch_size": 16})])
    settings = c.validated(PretrainConfig, merged)
    return Trainer(settings, read_store(toy), folder, torch.device("cpu"), World(), Silent())


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("error.square().mean()", "error.square().mean((1, 2))", r"loss: total is a tensor \(64,\) torch.float32"),
        ("error.square().mean()", "error.square().mean() * float('nan')", "loss: total is nan on the first batch"),
        ("error.square().mean()", "error.square().mean().detach()", "loss: total has no gradient"),
        ("return LossReport(", "return loss\n        LossReport(", r"loss: gave a tensor \(\) .*expected a LossReport"),
        ("total=loss", "total=loss.item()", "loss: total is float, expected a tensor of one number"),
        ("{'mine': loss.detach()}", "{'mine': error}", r"loss: mine is a tensor \(64, 4, 2\)"),
        (", gather=None", "", "loss: TypeError: Mine.loss.. takes 5 positional arguments"),
        ("return Draws", "return", "draw: gave tuple, expected Draws"),
        ("torch.ones(shape[0])", "torch.tensor(1.0)", r"draw: t is a tensor \(\) torch.float32"),
        ("return path_jumps(nfe)", "return ()", "jumps: gave tuple, expected a tuple of one Jump or more"),
        (", eta=0.0", "", "jumps: TypeError"),
        (
            "return path_jumps(nfe)",
            "from omp_cli.core.methods import Jump\n        return (Jump(1.0, lambda u, z: z / 0),)",
            "jumps: mean of a jump has numbers that are not finite",
        ),
    ],
)
def test_a_faulty_method_is_told_before_anything_is_trained(
    toy: Path, tmp_path: Path, old: str, new: str, told: str
) -> None:
    file = plugin(tmp_path, old, new)
    with pytest.raises(UsageError, match=f"^method 'mine' of {file}: {told}"):
        trainer(toy, tmp_path / "run").run()
    assert not list((tmp_path / "run").glob("checkpoints/*"))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("out_dim = 8", "out_dim = 5", r"encoder 'seen' of .*: forward: embedding is a tensor \(16, 8\).*\(16, 5\)"),
        (
            "def forward(self, obs",
            "def see(self, obs",
            "encoder 'seen' of .*: NotImplementedError: Seen has no forward",
        ),
        ('keys = ("state",)', 'keys = ("state")', 'encoder .seen. of .*: keys is text, expected keys = ."state",.'),
        (
            "return z + self.linear(c).view_as(z)",
            "return self.linear(c)",
            "net 'tiny' of .*: forward: velocity is",
        ),
        (", features=None", "", "net 'tiny' of .*: forward: TypeError: .*6 were given"),
    ],
)
def test_a_faulty_encoder_or_net_is_told_before_anything_is_trained(
    toy: Path, tmp_path: Path, old: str, new: str, told: str
) -> None:
    plugin(tmp_path, old, new)
    with pytest.raises(UsageError, match=told):
        trainer(toy, tmp_path / "run").run()


def test_an_array_that_the_data_lack_is_told_with_those_that_they_have(toy: Path, tmp_path: Path) -> None:
    plugin(tmp_path, '("state",)', '("force",)')
    with pytest.raises(DataError, match="reads data/force") as caught:
        trainer(toy, tmp_path / "run")
    assert caught.value.hint == "it has: action, full_state, point_cloud, reward, state, success"


def test_parts_that_keep_their_contract_are_trained_as_without_a_trial(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin(tmp_path)
    train = trainer(toy, tmp_path / "a")
    tried = train.run()
    assert train.policy.encoder.training
    assert not train.policy.encoder.frozen.training, "what its author has put into evaluation mode stays there"
    monkeypatch.setattr("omp_cli.core.train.loop.try_parts", lambda module, batch: None)
    untried = trainer(toy, tmp_path / "b").run()
    assert tried.figures["loss"] == untried.figures["loss"]
