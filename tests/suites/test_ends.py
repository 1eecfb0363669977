"""How an episode ends beside its success: the last number, the least one, and whether something ever happened."""

import json
from pathlib import Path

import numpy as np
import pytest

from omp_cli.core.base.manifest import read_manifest
from omp_cli.core.envs.chunking import ChunkEnv
from omp_cli.core.suites.base import SUITES
from omp_cli.core.suites.ends import after_step
from tests.conftest import TINY, Omp


def test_numbers_are_the_last_and_the_least_and_flags_stay() -> None:
    found: dict[str, float | bool] = {}
    for away, held in ((0.5, False), (0.2, True), (0.3, False)):
        found = after_step(found, {"away": away, "held": held})
    assert found == {"away": 0.3, "away_least": 0.2, "held": True}
    assert after_step({}, {}) == {}


@pytest.mark.parametrize(("suite", "task"), [("toy", "reach"), ("metaworld", "push")])
def test_an_episodes_ends_are_those_of_its_own_steps(suite: str, task: str) -> None:
    env = SUITES.build(SUITES.parse({"name": suite})).make(task)
    chunks, alone = ChunkEnv(env, ("state",), 2, 3), SUITES.build(SUITES.parse({"name": suite})).make(task)
    for seed in (3, 4):
        chunks.reset(seed=seed)
        alone.reset(seed)
        seen = []
        for _ in range(4):
            actions = np.stack([np.full(env.spec.action_dim, 0.3, np.float32)] * 3)
            *_, info = chunks.step(actions)
            seen += [alone.step(action).ends for action in actions]
        for name, value in seen[-1].items():
            if isinstance(value, bool):
                assert info["ends"][name] == any(ends[name] for ends in seen)
            else:
                assert (info["ends"][name], info["ends"][f"{name}_least"]) == (value, min(e[name] for e in seen))


def test_an_evaluations_manifest_says_how_each_episode_ended(omp: Omp, tmp_path: Path) -> None:
    assert omp("prepare", "toy", "--demos", 2, "--workers", 1, "--out", tmp_path / "d").code == 0
    assert omp("pretrain", tmp_path / "d", "--steps", 2, *TINY, "--out", tmp_path / "r").code == 0
    assert omp("eval", tmp_path / "r", "--episodes", 3, "--workers", 2, "--out", tmp_path / "e").code == 0
    columns = read_manifest(tmp_path / "e").metrics["by_episode"]
    rows = [json.loads(line) for line in (tmp_path / "e" / "episodes.jsonl").read_text().splitlines()]
    assert columns["success"] == [row["success_any"] for row in rows]
    assert columns["steps"] == [row["steps"] for row in rows]
    assert columns["distance"] == [row["ends"]["distance"] for row in rows]
    assert all(least <= last for least, last in zip(columns["distance_least"], columns["distance"], strict=True))
