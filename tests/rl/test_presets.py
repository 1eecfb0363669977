"""Presets of ``omp finetune``: each fits the policies that it is for, and the papers' figures are the papers'."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from omp_cli.core.base.config import validated
from omp_cli.core.base.layers import Layer, merge
from omp_cli.core.base.presets import preset_layer, preset_names
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.methods import METHODS
from omp_cli.core.policy import Policy, PolicyConfig
from omp_cli.core.rl.base import ALGORITHMS, Start
from omp_cli.core.rl.config import FinetuneConfig
from omp_cli.core.rl.ppo import Ppo
from omp_cli.core.rl.ppo_config import PpoConfig
from tests.rl.test_ppo import TRAINED_BY, spec

PRETRAINED = {**TRAINED_BY, "fql": "reflow"}
PRESETS = preset_names("finetune")


def fitting(preset: str) -> list[str]:
    """Algorithms that a preset is for: the one that it names, those that its own name begins with, or all."""
    values = preset_layer("finetune", preset).values
    if "algorithm.name" in values:
        return [values["algorithm.name"]]
    return [name for name in PRETRAINED if name.startswith(preset.split("-")[0])] or list(PRETRAINED)


def settings(preset: str, algorithm: str) -> FinetuneConfig:
    """As the command takes them for a policy that is fine-tuned by an algorithm."""
    values, _ = merge([Layer("checkpoint", {"algorithm.name": algorithm}), preset_layer("finetune", preset)])
    config = validated(FinetuneConfig, values)
    assert config.algorithm.name == algorithm  # type: ignore[attr-defined]
    return config


def flat(preset: str) -> dict[str, Any]:
    """All settings of a preset with the defaults of its algorithm."""
    config = settings(preset, fitting(preset)[0])
    found = {key: value for key, value in config.model_dump().items() if key not in ("algorithm", "evaluation")}
    return {**config.model_dump()["algorithm"], **found}


@pytest.mark.parametrize(("preset", "algorithm"), [(p, m) for p in PRESETS for m in fitting(p)])
def test_a_preset_fits_its_algorithms(preset: str, algorithm: str) -> None:
    config, cls = settings(preset, algorithm), ALGORITHMS.get(algorithm)
    parts = {"method": {"name": PRETRAINED[algorithm]}, "net": {"name": "residual-mlp", "hidden": 8}}
    chunk = {"n_obs": 1, "horizon": 4, "execute": 4}
    policy = Policy(PolicyConfig.model_validate({**parts, "encoder": {"name": "state"}, "chunk": chunk}), spec()).eval()
    assert cls.fits(METHODS.get(policy.config.method.name))
    frozen, nfe = copy.deepcopy(policy).requires_grad_(False), config.nfe or cls.nfe or policy.nfe
    own = config.algorithm.model_copy(update={"offline_steps": 0}) if algorithm == "fql" else config.algorithm
    algorithm = cls(
        own,
        Start(policy, frozen, nfe, config.envs, 0, torch.device("cpu"), Stopwatch(), lambda line: None),
    )
    if isinstance(algorithm, Ppo):
        actions, points, _ = algorithm.act({"state": torch.zeros(3, 1, 5)})
        assert actions.shape == (3, 4, 2)
        assert points.shape == (3, (config.algorithm.ft_denoising_steps or nfe) + 1, 4, 2)


@pytest.mark.parametrize("preset", PRESETS)
def test_gradients_of_parts_make_a_whole_batch(preset: str) -> None:
    algorithm = settings(preset, fitting(preset)[0]).algorithm
    if isinstance(algorithm, PpoConfig):
        assert algorithm.batch_size % (algorithm.micro_batch or algorithm.batch_size) == 0


def test_lift_is_as_published() -> None:
    """DMPO's public code, ft_ppo_meanflow_mlp_img.yaml of lift; reduction as there, one evaluation as in the paper."""
    published = {
        "envs": 25,
        "decisions": 400,
        "max_steps": 400,
        "iterations": 301,
        "gamma": 0.999,
        "gae_lambda": 0.95,
        "lr": 3e-6,
        "critic_lr": 4.5e-4,
        "micro_batch": 500,
        "batch_size": 500 * 20,
        "epochs": 10,
        "warmup": 2,
        "clip": 0.01,
        "target_kl": 0.01,
        "value_coef": 0.5,
        "grad_clip": 25.0,
        "reduction": "mean",
        "scale_rewards": True,
        "reward": "environment",
        "end_on_success": False,
        "nfe": None,
    }
    found = flat("dmpo-lift-paper")
    assert {key: found[key] for key in published} == published
    assert ALGORITHMS.get("dmpo").nfe == 1
    assert (found["sigma"]["kind"], found["sigma"]["value"]) == ("fixed", 0.12)
    assert (found["bc"]["weight"], found["bc"]["end_weight"]) == (0.05, 0.05)
    assert settings("dmpo-lift-paper", "dmpo").evaluation.every == 10


@pytest.mark.parametrize(
    ("preset", "envs", "decisions", "max_steps", "iterations", "gamma", "lr", "critic_lr", "batch", "bc"),
    [
        ("dmpo-can-paper", 25, 500, 500, 301, 0.999, 2.5e-6, 4e-4, 10000, (0.05, 0.05)),
        ("dmpo-square-paper", 25, 500, 500, 301, 0.999, 2.5e-6, 4e-4, 10000, (0.2, 0.05)),
        ("dmpo-transport-paper", 14, 800, 800, 301, 0.999, 3e-6, 4.5e-4, 11200, (0.2, 0.05)),
        ("dmpo-gym-paper", 40, 500, 1000, 1000, 0.99, 3e-6, 4.5e-4, 50000, (0.05, 0.05)),
        ("dmpo-kitchen-paper", 40, 200, 280, 301, 0.99, 3e-6, 6.5e-4, 5600, (0.05, 0.05)),
    ],
)
def test_what_differs_between_dmpos_tasks(
    preset: str,
    envs: int,
    decisions: int,
    max_steps: int,
    iterations: int,
    gamma: float,
    lr: float,
    critic_lr: float,
    batch: int,
    bc: tuple[float, float],
) -> None:
    found = flat(preset)
    names = ("envs", "decisions", "max_steps", "iterations", "gamma", "lr", "critic_lr", "batch_size")
    assert tuple(found[n] for n in names) == (envs, decisions, max_steps, iterations, gamma, lr, critic_lr, batch)
    assert (found["bc"]["weight"], found["bc"]["end_weight"]) == bc
    assert (found["bc"]["begin"], found["bc"]["end"]) == ((20, 50) if bc[0] > bc[1] else (0, 100))
    same = ("clip", "target_kl", "reduction", "epochs", "warmup", "sigma", "grad_clip", "gae_lambda", "value_coef")
    assert {key: found[key] for key in same} == {key: flat("dmpo-lift-paper")[key] for key in same}


@pytest.mark.parametrize(
    ("preset", "largest", "end", "warmup", "decay"),
    [
        ("dmpo-lift-paper", 4.5e-4, 3e-4, 25, None),
        ("dmpo-can-paper", 4e-4, 2.5e-4, 25, None),
        ("dmpo-square-paper", 4e-4, 2.5e-4, 25, None),
        ("dmpo-transport-paper", 4.5e-4, 3e-4, 25, None),
        ("dmpo-gym-paper", 4.5e-4, 3e-4, 25, 1e-5),
        ("dmpo-kitchen-paper", 6.5e-4, 3e-4, 10, 1e-5),
    ],
)
def test_dmpos_critics_have_their_published_rates(
    preset: str, largest: float, end: float, warmup: int, decay: float | None
) -> None:
    """From the least to the largest rate in ``warmup`` of 100 iterations, and back by half a cosine; the policy's is
    constant."""
    config = settings(preset, "dmpo").algorithm
    assert isinstance(config, PpoConfig)
    first, peak, last, again = (config.critic_schedule.at(config.critic_lr, i) for i in (0, warmup, 99, 100))
    assert (first, peak, again) == pytest.approx((end, largest, end))
    assert last == pytest.approx(end, rel=1e-3)
    assert config.schedule.end is None
    assert (config.critic_weight_decay, config.weight_decay) == (decay, 0.0)
