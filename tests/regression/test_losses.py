"""Losses of the first steps, frozen: a refactor may not move them. A deliberate change rewrites the file:

    python -m tests.regression.test_losses > tests/regression/losses.json

and says so in the changelog. The tolerance covers other processors' rounding, not other mathematics.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from omp_cli.core.base import config as c
from omp_cli.core.base.layers import Layer, merge
from omp_cli.core.base.presets import preset_layer
from omp_cli.core.base.progress import Silent
from omp_cli.core.data.store import Dataset
from omp_cli.core.spec import Spec
from omp_cli.core.train.config import PretrainConfig
from omp_cli.core.train.distributed import World
from omp_cli.core.train.loop import Trainer

FROZEN = Path(__file__).with_name("losses.json")
STEPS = 6
TERMS = {"method.alignment.weight": 0.1, "method.dispersion.weight": 0.5, "method.adaptive.p": 0.5}
SMALL_UNET = {"net.name": "unet1d", "net.dims": [16, 32, 32], "net.groups": 8}
CASES = {
    "omp dde": {"method.name": "omp", "method.derivative": "dde", **TERMS},
    "omp forward": {"method.name": "omp", "method.derivative": "forward", **TERMS},
    "flowpolicy": {"method.name": "flowpolicy"},
    "mp1 unet1d": {"method.name": "mp1", **SMALL_UNET, "method.dispersion": {"form": "infonce_l2", "temperature": 0.5}},
    "mp1 unet1d, its own dispersion": {"method.name": "mp1", **SMALL_UNET},
}


def dataset() -> Dataset:
    """Smooth made-up motion with clouds around the hand; needs no simulator and never changes."""
    time = np.linspace(0, 1, 80)
    state = np.stack([np.sin(3 * time), np.cos(2 * time), time, time**2, 1 - time], 1)
    action = np.stack([np.cos(3 * time), -np.sin(2 * time)], 1)
    angles = np.arange(24)
    shape = 0.2 * np.stack([np.cos(angles), np.sin(2 * angles), np.cos(3 * angles)], 1)
    arrays = {"state": state, "action": action, "point_cloud": state[:, None, :3] + shape}
    spec = Spec(
        suite="made-up",
        task="curve",
        action_dim=2,
        state_dim=5,
        points=24,
        end_effector=(0, 1, 2),
        max_steps=40,
        control_hz=20.0,
    )
    typed = {name: array.astype(np.float32) for name, array in arrays.items()}
    return Dataset(Path("made-up"), typed, np.array([40, 80]), spec, {}, "")


def losses(case: str) -> list[float]:
    """Losses of the first steps of a case."""
    torch.set_num_threads(1)
    small = {"encoder.channels": [8, 16], "train.batch_size": 16, "train.warmup_steps": 2, "train.steps": STEPS}
    layers = [preset_layer("pretrain", "light"), Layer("small", small), Layer("case", CASES[case])]
    settings = c.validated(PretrainConfig, merge(layers)[0])
    trainer = Trainer(settings, dataset(), Path("unused"), torch.device("cpu"), World(), Silent())
    values = []
    for _ in range(STEPS):
        values.append(trainer._update(log=True)["loss"])
        trainer.step += 1
    return values


@pytest.mark.parametrize("case", CASES)
def test_losses_are_those_on_file(case: str) -> None:
    frozen = json.loads(FROZEN.read_text())[case]
    np.testing.assert_allclose(losses(case), frozen, rtol=1e-3, atol=2e-3 * min(1, max(frozen)))


def test_frozen_cases_differ_from_each_other() -> None:
    frozen = json.loads(FROZEN.read_text())
    assert frozen.keys() == CASES.keys()
    assert frozen["omp dde"] != frozen["omp forward"], "dde is an approximation"
    np.testing.assert_allclose(frozen["omp dde"], frozen["omp forward"], rtol=5e-2)


if __name__ == "__main__":
    json.dump({case: losses(case) for case in CASES}, sys.stdout, indent=1)
    sys.stdout.write("\n")
