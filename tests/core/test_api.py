"""``import omp_cli as omp``: training, loading, acting, evaluating; also from a wheel, outside the repository."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import OrderEnforcing, TimeLimit

import omp_cli as api
from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.manifest import read_manifest
from omp_cli.core.checkpoint import open_run
from omp_cli.core.suites.base import recorded_suite
from tests.conftest import Omp

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {"encoder": {"channels": [8, 16], "points": 32}, "net.hidden": 32}


class Plane(gymnasium.Env[Any, Any]):
    """The toy as a Gymnasium environment of somebody else's."""

    def __init__(self, limit: int = 60, actions: int = 2) -> None:
        self._env = recorded_suite({"name": "toy", "cloud": {"points": 48}}).make("reach")
        self.action_space = gymnasium.spaces.Box(-1, 1, (actions,), np.float32)
        self.observation_space = gymnasium.spaces.Dict()
        self.limit, self.closed = limit, False

    def _seen(self) -> dict[str, Any]:
        return {**self._env.observe(["state", "point_cloud"]), "more": 1}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.steps = 0
        self._env.reset(seed or 0)
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        outcome = self._env.step(action)
        self.steps += 1
        done = self.steps >= self.limit
        return self._seen(), outcome.reward, False, done, {"is_success": outcome.success}

    def close(self) -> None:
        self.closed = True


def test_importing_it_loads_no_torch() -> None:
    code = "import sys, omp_cli; omp_cli.__version__; assert not {'torch', 'numpy', 'typer'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {"load", "train", "evaluate", "read_dataset"} <= set(dir(api))


def test_training_is_that_of_the_line(
    omp: Omp, workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = api.train(workshop / "toy", steps=4, derivative="dde", seed=2, out=tmp_path / "a", device="cpu", **SMALL)
    assert capsys.readouterr() == ("", "")
    line = ("--set", "encoder.channels=[8, 16]", "--set", "encoder.points=32", "--set", "net.hidden=32")
    omp("pretrain", workshop / "toy", "--steps", 4, "--derivative", "dde", "--seed", 2, *line, "--out", tmp_path / "b")
    one, other = (read_manifest(path) for path in (run, tmp_path / "b"))
    assert {k: v.value for k, v in one.config.items()} == {k: v.value for k, v in other.config.items()}
    assert one.metrics["loss"] == other.metrics["loss"]
    with pytest.raises(UsageError, match="unknown setting") as found:
        api.train(workshop / "toy", stepz=4)
    assert "steps" in found.value.hint
    with pytest.raises(api.OmpError, match="nowhere"):
        api.train(tmp_path / "nowhere")
    shutil.copytree(open_run(run)[-1].path, tmp_path / "for-a-robot" / "checkpoint")
    with pytest.raises(DataError, match="no checkpoint in it") as found:
        api.load(tmp_path / "for-a-robot")
    assert found.value.hint == f"there is one in {tmp_path / 'for-a-robot' / 'checkpoint'}"


def test_evaluation_of_the_own_task_is_that_of_the_line(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    figures = api.evaluate(workshop / "run", episodes=3, device="cpu", out=tmp_path / "a")
    line = ("eval", workshop / "run", "--episodes", 3, "--workers", 1, "--json", "--out", tmp_path / "b")
    assert figures == omp(*line).json["result"]
    loaded = api.evaluate(api.load(workshop / "run", device="cpu", nfe=2), episodes=1, device="cpu", out=tmp_path / "c")
    assert loaded["nfe"] == 2
    policy = api.load(workshop / "run", device="cpu", execute=2, precision="bf16")
    own = api.evaluate(policy, episodes=1, device="cpu", out=tmp_path / "d")
    assert own["against_float32"]["max_rel"] > 0
    assert read_manifest(tmp_path / "d").config["execute"].value == 2
    with pytest.raises(UsageError, match="ensemble does not go with"):
        api.evaluate(api.load(workshop / "run", device="cpu", ensemble=0.01))


def test_any_environment_is_evaluated(omp: Omp, workshop: Path, tmp_path: Path) -> None:
    policy = api.load(workshop / "run", device="cpu")
    env = Plane()
    figures = api.evaluate(policy, env, episodes=3)
    assert not env.closed, "it is the caller's"
    made: list[Plane] = []
    assert api.evaluate(policy, lambda: made.append(Plane()) or made[-1], episodes=3) == figures
    assert made[0].closed
    ours = api.evaluate(workshop / "run", episodes=3, device="cpu", out=tmp_path / "a")
    assert figures["success_any"]["successes"] == ours["success_any"]["successes"]
    assert figures["success_any"]["episodes"] == 3
    assert figures["steps"]["mean"] == 60
    assert api.evaluate(policy, Plane(10**9), episodes=1)["steps"]["mean"] == policy.signature.max_steps
    assert api.evaluate(policy, Plane(10**9), episodes=1, max_steps=5)["steps"]["mean"] == 5
    with pytest.raises(UsageError, match="its action is"):
        api.evaluate(policy, Plane(actions=3))
    with pytest.raises(UsageError, match="nfe does not go with"):
        api.evaluate(policy, Plane(), nfe=3)
    with pytest.raises(UsageError, match="int is no Gymnasium environment"):
        api.evaluate(policy, lambda: 3)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("env", "given", "limit", "whose"),
    [
        (lambda: TimeLimit(Plane(10**9), 70), None, 70, "environment"),
        (lambda: OrderEnforcing(TimeLimit(TimeLimit(Plane(10**9), 80), 70)), None, 70, "environment"),
        (lambda: TimeLimit(OrderEnforcing(TimeLimit(Plane(10**9), 70)), 80), None, 70, "environment"),
        (lambda: TimeLimit(Plane(10**9), 70), 9, 9, "caller"),
        (lambda: TimeLimit(Plane(10**9), 70), 99, 70, "environment"),
        (lambda: Plane(10**9), 99, 99, "caller"),
        (lambda: Plane(10**9), None, 60, "policy"),
    ],
    ids=["wrapped", "below other wrappers", "the smallest", "less", "more", "none", "the policy's"],
)
def test_an_episode_is_as_long_as_the_environment_says(
    workshop: Path, env: Callable[[], gymnasium.Env[Any, Any]], given: int | None, limit: int, whose: str
) -> None:
    """The policy's demonstrations are 60 steps long at most, and no environment here was made by gymnasium.make."""
    figures = api.evaluate(workshop / "run", env, episodes=1, max_steps=given, device="cpu")
    assert (figures["steps"]["max"], figures["max_steps"], figures["max_steps_of"]) == (limit, limit, whose)


def test_an_environment_that_passes_a_seed_over_is_told(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, env = api.load(workshop / "run", device="cpu"), Plane(limit=3)
    assert api.evaluate(policy, env, episodes=2)["starts_repeat"] is True
    seeds, reset = itertools.count(), env.reset
    monkeypatch.setattr(env, "reset", lambda **_: reset(seed=next(seeds)))
    with pytest.warns(UserWarning, match="two resets with one seed show different starts") as told:
        figures = api.evaluate(policy, env, episodes=2)
    assert sum("two resets" in str(one.message) for one in told) == 1
    assert figures["starts_repeat"] is False


def test_what_an_environment_clips_is_counted_and_warned_of(workshop: Path) -> None:
    policy, env = api.load(workshop / "run", device="cpu"), Plane(limit=20)
    env.action_space = gymnasium.spaces.Box(-0.01, 0.01, (2,), np.float32)
    with pytest.warns(UserWarning, match="environment: ") as told:
        figures = api.evaluate(policy, env, episodes=2)
    assert sum("is clipped to the bound" in str(one.message) for one in told) == 1
    assert sum("are -0.01 to 0.01, the policy's actions go from -1 to 1" in str(one.message) for one in told) == 1
    assert figures["clipped_share"] == pytest.approx(figures["clipped_numbers"] / 80, abs=1e-6)
    assert figures["clipped_numbers"] > 0


def test_an_environment_that_shows_a_batch_is_refused(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = Plane()
    seen = env._seen
    monkeypatch.setattr(env, "_seen", lambda: {name: np.asarray(x)[None] for name, x in seen().items()})
    with pytest.raises(DataError, match="a batch of 1, where one robot is moved") as found:
        api.evaluate(workshop / "run", env, episodes=1, device="cpu")
    assert "no stack of frames (FrameStackObservation): the policy keeps its own history" in found.value.hint
    assert env.steps == 0


def test_what_cannot_be_loaded(workshop: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        api.load(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="unknown device"):
        api.load(workshop / "run", device="abacus")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda run: api.load(run, weights="last"), "weights: .*'ema' or 'raw' .got 'last'"),  # type: ignore[arg-type]
        (lambda run: api.load(run, nfe=0), "nfe: .*greater than or equal to 1 .got 0"),
        (lambda run: api.load(run, graph="maybe"), "graph: .*got 'maybe'"),  # type: ignore[arg-type]
        (lambda run: api.load(run, precision="int8"), "precision: .*got 'int8'"),  # type: ignore[arg-type]
        (lambda run: api.load(run, seed="a"), "seed: .*valid integer.* .got 'a'"),  # type: ignore[arg-type]
        (lambda run: api.load(run, seed=1.5), "seed: .*valid integer.* .got 1.5"),  # type: ignore[arg-type]
        (lambda run: api.load(run, seed=-1), "seed: .*greater than or equal to 0 .got -1"),
        (lambda run: api.load(run, execute="two"), "execute: .*valid integer.* .got 'two'"),  # type: ignore[arg-type]
        (lambda run: api.load(run, execute=True), "execute: .*a number, not true or false"),
        (lambda run: api.load(run, ensemble="a"), "ensemble: .*valid number.* .got 'a'"),  # type: ignore[arg-type]
        (lambda run: api.load(None), "policy: NoneType, expected a path"),  # type: ignore[arg-type]
        (lambda run: api.train({}), "data set: dict, expected a path"),  # type: ignore[arg-type]
        (lambda run: api.read_dataset(3), "data set: int, expected a path"),  # type: ignore[arg-type]
        (lambda run: api.load(run).reset("a"), "seed: 'a', expected a whole number"),  # type: ignore[arg-type]
        (lambda run: api.load(run).reset(1.5), "seed: 1.5, expected a whole number"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_setting_and_no_path_is_an_error_of_omp(
    workshop: Path, call: Callable[[Path], object], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        call(workshop / "run")


def test_a_wheel_outside_the_repository(workshop: Path, tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    line = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(line, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = f"""
import omp_cli as omp
assert omp.__file__.startswith({str(tmp_path)!r}), omp.__file__
policy = omp.load({str(workshop / "run")!r}, device="cpu")
data = omp.read_dataset({str(workshop / "toy")!r})
frame = {{name: data.arrays[name][0] for name in policy.signature.arrays}}
assert policy.act(frame).shape == (2,)
from omp_cli.commands.table import load
assert load("deploy") and load("serve")
"""
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "omp_cli" / "py.typed").exists()
    assert (tmp_path / "site" / "omp_cli" / "__init__.pyi").exists()
