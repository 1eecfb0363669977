"""Policies of Stable-Baselines3: read without it, they act as its own ``predict``; recorded alone and mixed."""

from __future__ import annotations

import io
import json
import os
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.store import read_store
from omp_cli.core.experts import read_expert
from omp_cli.core.experts.sb3 import read_sb3
from tests.cli.test_bad_input import refused
from tests.conftest import Omp

SB3 = pytest.mark.skipif(find_spec("stable_baselines3") is None, reason="stable-baselines3 is not installed")
BOX = {":type:": "<class 'gym.spaces.box.Box'>", ":serialized:": "gASV", "low": "[-1. -1. -1.]", "high": "[1. 1. 1.]"}


@pytest.fixture(autouse=True)
def _work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_CLI_CACHE", str(tmp_path / "cache"))


def write(path: Path, weights: dict[str, torch.Tensor] | bytes, **settings: Any) -> Path:
    """A zip in the layout of ``model.save``."""
    stored = io.BytesIO()
    torch.save(weights, stored)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps({"policy_kwargs": {"use_sde": False}, "action_space": BOX, **settings}))
        archive.writestr("policy.pth", weights if isinstance(weights, bytes) else stored.getvalue())
    return path


def tqc(seed: int = 0) -> dict[str, torch.Tensor]:
    """An actor for Hopper."""
    random = torch.Generator().manual_seed(seed)
    shapes = {"latent_pi.0": (8, 11), "latent_pi.2": (8, 8), "mu": (3, 8), "log_std": (3, 8)}
    found = {f"actor.{name}.weight": torch.randn(shape, generator=random) for name, shape in shapes.items()}
    return found | {f"actor.{name}.bias": torch.randn(shape[:1], generator=random) for name, shape in shapes.items()}


@SB3
@pytest.mark.parametrize("kind", ["PPO", "A2C", "SAC", "TD3", "PPO-elu", "SAC-gsde"])
def test_it_acts_as_predict_does(kind: str, tmp_path: Path) -> None:
    import gymnasium
    import stable_baselines3

    name, _, special = kind.partition("-")
    kwargs: dict[str, Any] = {"net_arch": [6, 5]}
    kwargs |= {"activation_fn": torch.nn.ELU} if special == "elu" else {}
    more = {"use_sde": True} if special == "gsde" else {}
    env = gymnasium.make("Pendulum-v1")
    model = getattr(stable_baselines3, name)("MlpPolicy", env, policy_kwargs=kwargs, seed=0, device="cpu", **more)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.mul_(3.0)  # so that ends of the range are met
    model.save(tmp_path / "model")
    expert = read_sb3(tmp_path / "model.zip")
    for seen in np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32) * 3:
        wanted = model.predict(seen, deterministic=True)[0] / 2.0  # torques in [-2, 2]
        np.testing.assert_allclose(expert.action(seen), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "settings", "words"),
    [
        (tqc() | {"actor.features_extractor.cnn.0.weight": torch.zeros(1)}, {}, "features_extractor"),
        ({"q_net.0.weight": torch.zeros(2, 2)}, {}, "no actor"),
        (tqc(), {"action_space": {":type:": "<class 'gym.spaces.discrete.Discrete'>"}}, "Discrete"),
        (tqc(), {"action_space": BOX | {"high": "[inf inf inf]"}}, "high is"),
        (tqc(), {"action_space": BOX | {"low": "[1. 1. 1.]"}}, "low is not below high"),
        (tqc(), {"policy_kwargs": {"activation_fn": "<class 'mine.Odd'>"}}, "odd"),
        (tqc() | {"actor.latent_pi.2.weight": torch.zeros(8)}, {}, "no layer"),
        (tqc() | {"actor.mu.weight": torch.eye(3, 8).to_sparse()}, {}, "_rebuild_sparse_tensor"),
        (tqc() | {"actor.mu.weight": torch.zeros(3, 8, device="meta")}, {}, "_rebuild_meta_tensor"),
        (tqc() | {"actor.mu.weight": torch.eye(3, 8).to(torch.complex64)}, {}, "torch.ComplexFloatStorage"),
        (tqc() | {"actor.latent_pi.0.weight": torch.zeros(1).expand(12000, 12000)}, {}, "of 1 numbers"),
        (tqc() | {"actor.latent_pi.0.scale": torch.ones(11)}, {}, "latent_pi.0.scale is no part"),
        (tqc(), {"action_space": BOX | {"low": [[-1.0]]}}, "low is a list"),
        (b"PK\x05\x06" + bytes(18), {}, "no file that torch.save writes"),
        (b"\x80\x02cos\nsystem\nX\x09\x00\x00\x00touch ran\x85R.", {}, "policy.pth"),
    ],
)
def test_others_are_one_line(
    omp: Omp, tmp_path: Path, weights: dict[str, torch.Tensor], settings: dict[str, Any], words: str
) -> None:
    write(tmp_path / "p.zip", weights, **settings)
    refused(omp("prepare", "gym", "--source", "sb3", "--policy", "p.zip", "--demos", 1, "--out", "d"), 3, words)
    assert not (tmp_path / "ran").exists()


def test_parameters_and_views_of_one_storage_are_weights(tmp_path: Path) -> None:
    found, seen = tqc(), np.linspace(-1, 1, 11)
    wanted = read_sb3(write(tmp_path / "a.zip", found)).action(seen)
    parameters = {name: torch.nn.Parameter(x) for name, x in found.items()}
    flat = torch.cat([x.flatten() for x in found.values()])
    parts = flat.split([x.numel() for x in found.values()])
    views = {name: part.view(x.shape) for (name, x), part in zip(found.items(), parts, strict=True)}
    for name, weights in (("p.zip", parameters), ("v.zip", views)):
        np.testing.assert_array_equal(read_sb3(write(tmp_path / name, weights)).action(seen), wanted)
    old = io.BytesIO()
    torch.save(found, old, _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(read_sb3(write(tmp_path / "o.zip", old.getvalue())).action(seen), wanted)
    views["actor.latent_pi.2.weight"] = views["actor.latent_pi.2.weight"].clone()
    views["actor.latent_pi.2.bias"] = views["actor.latent_pi.2.weight"][0]
    with pytest.raises(DataError, match="numbers are those of another"):
        read_sb3(write(tmp_path / "w.zip", views))


def test_compressed_weights_and_a_damaged_zip_are_one_line(tmp_path: Path) -> None:
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    with pytest.raises(DataError, match="compressed"):
        read_sb3(write(tmp_path / "c.zip", stored.getvalue()))
    file = write(tmp_path / "d.zip", tqc())
    content = bytearray(file.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at : at + 4] = b"XXXX"
    file.write_bytes(content)
    with pytest.raises(DataError, match="damaged zip file"):
        read_expert(file)


def test_only_zip_files_of_sb3_are_its_policies(omp: Omp, tmp_path: Path) -> None:
    weights = {f"w{i}": np.zeros(shape) for i, shape in enumerate([(4, 11), (3, 4)])}
    np.savez(tmp_path / "x.npz", **weights, b0=np.zeros(4), b1=np.zeros(3))
    line = ("prepare", "gym", "--source", "sb3", "--task", "hopper-v5", "--demos", 1, "--policy", "x.npz")
    refused(omp(*line), 3, "no policy of Stable-Baselines3", "--expert x.npz")


def test_a_policy_that_was_trained_with_vec_normalize_is_told(omp: Omp, tmp_path: Path) -> None:
    ppo = {"mlp_extractor.policy_net.0.weight": torch.ones(4, 11), "mlp_extractor.policy_net.0.bias": torch.zeros(4)}
    ppo |= {"action_net.weight": torch.zeros(3, 4), "action_net.bias": torch.zeros(3)}
    observations = {"_last_original_obs": {":type:": "<class 'numpy.ndarray'>", ":serialized:": "gASV"}}
    assert not read_sb3(write(tmp_path / "plain.zip", ppo, _last_original_obs=None)).remark
    assert not read_sb3(write(tmp_path / "tqc.zip", tqc(), **observations)).remark, "it has them either way"
    write(tmp_path / "p.zip", ppo, **observations)
    told = "p.zip was trained with VecNormalize, whose statistics its zip file does not hold"
    for line in (
        ("--source", "sb3", "--policy", "p.zip"),
        ("--expert", "p.zip", "--workers", 1, "--set", "collect.max_steps=3"),
    ):
        done = omp("prepare", "gym", "--task", "hopper-v5", "--demos", 1, "--out", line[0][2:], *line)
        assert done.code == 0, done.err
        assert told in " ".join(done.err.split())


def test_a_policy_is_recorded_alone_and_mixed(omp: Omp, tmp_path: Path) -> None:
    one, two = write(tmp_path / "one.zip", tqc(0)), write(tmp_path / "two.zip", tqc(1))
    line = ("prepare", "gym", "--source", "sb3", "--task", "hopper-v4", "--demos", 4, "--json", "--policy", one)
    alone = omp(*line)
    assert alone.code == 0, alone.err
    assert alone.json["result"]["environment"] == "hopper-v4"
    assert Path(alone.json["run_dir"]).name.startswith("hopper-expert-sb3-p")
    mixed = omp(*line, "--policy", two)
    assert mixed.code == 0, mixed.err
    assert Path(mixed.json["run_dir"]).name.startswith("hopper-mixed-sb3-p")
    data = read_store(tmp_path / mixed.json["run_dir"])
    notes = data.provenance["environment"]
    assert notes["recorded_by"] == "one.zip, without its noise, then two.zip, without its noise"
    assert [p["name"] for p in notes["training"]["policies"]] == ["one.zip", "two.zip"]
    starts = np.concatenate([[0], np.cumsum(data.provenance["episode_steps"])[:-1]])
    for index, start in enumerate(starts):
        expert = read_sb3(one if index < 2 else two)
        np.testing.assert_allclose(data.arrays["action"][start], expert.action(data.arrays["state"][start]), atol=1e-6)
    named = omp(*line, "--policy", two, "--quality", "medium-expert", "--dry-run")
    assert named.code == 0, named.err
    refused(omp(*line, "--quality", "mixed"), 2, "--quality mixed", "at least twice")
    refused(omp(*line, "--quality", "medium-expert"), 2, "v5")
    refused(omp("prepare", "gym", "--source", "sb3", "--task", "ant", "--policy", one), 3, "acts with 3 numbers")


@pytest.mark.skipif("OMP_CLI_RL_TRAINED" not in os.environ, reason="OMP_CLI_RL_TRAINED names no folder")
def test_published_policies_are_experts(omp: Omp, tmp_path: Path) -> None:
    policy = Path(os.environ["OMP_CLI_RL_TRAINED"], "tqc-Walker2d-v3.zip")
    done = omp("prepare", "gym", "--source", "sb3", "--task", "walker2d-v4", "--demos", 3, "--json", "--policy", policy)
    assert done.json["result"]["returns"]["mean"] > 3000
