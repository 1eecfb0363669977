"""One recorded attempt in an environment of the user's own that shows, ends and succeeds in its own way."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import DataError
from omp_cli.core.base.layers import Layer
from omp_cli.core.base.progress import Silent
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.envs.jobs import Kept
from omp_cli.core.families import SUITES
from omp_cli.core.prepare.attempt import AttemptJob, Candidate, CollectConfig, load_episode, record
from omp_cli.core.prepare.record import RecordConfig, Recorded
from omp_cli.core.prepare.source import Origin
from omp_cli.core.spec import Spec
from omp_cli.core.suites.base import Metric, Outcome, Suite, TaskEnv

OVER = 3
"""The step with which the task is over."""


class ScoreConfig(Settings):
    """Nothing to choose."""

    name: Literal["score"] = "score"


class Score(Suite):
    """One task that nobody calls a success."""

    Config: ClassVar[type[Settings]] = ScoreConfig
    default_task: ClassVar[str] = "points"
    metric: ClassVar[Metric] = "return"

    def groups(self) -> dict[str, tuple[str, ...]]:
        return {}

    def tasks(self) -> tuple[str, ...]:
        return ("points",)

    def spec(self, task: str) -> Spec:
        return Spec(suite="score", task=task, action_dim=1, state_dim=2, max_steps=9, control_hz=1.0, image=(4, 4, 3))

    def make(self, task: str) -> TaskEnv:
        return ScoreEnv(self.spec(task))


class ScoreEnv(TaskEnv):
    """Shows a state and a picture, and nothing else under any name."""

    shown: ClassVar[dict[str, np.ndarray]] = {
        "state": np.zeros(2, np.float32),
        "img": np.zeros((4, 4, 3), np.uint8),
    }

    def __init__(self, spec: Spec) -> None:
        self.spec, self.steps = spec, 0

    def reset(self, seed: int) -> None:
        self.steps = 0

    def step(self, action: np.ndarray) -> Outcome:
        assert self.steps < OVER, "a step after the end of the task"
        self.steps += 1
        return Outcome(1.0, False, terminated=self.steps == OVER)

    def observe(self, keys: Iterable[str]) -> dict[str, Any]:
        return {key: self.shown[key] for key in keys}

    def expert(self) -> np.ndarray:
        return np.zeros(1, np.float32)

    def start_state(self) -> np.ndarray:
        return np.zeros(2)

    def picture(self, size: int) -> np.ndarray:
        return np.zeros((size, size, 3), np.uint8)


def recorded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Candidate:
    """An attempt of the scripted expert."""
    SUITES.names()
    monkeypatch.setitem(SUITES._members, "score", Score)
    return record(AttemptJob({"name": "score"}, "points", 0, CollectConfig(demos=1), folder / "e.npz"), Kept())


def test_an_expert_is_recorded_where_only_the_return_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert recorded(tmp_path, monkeypatch).success


def test_no_episode_counts_as_a_failure_where_nothing_can_succeed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SUITES.names()
    monkeypatch.setitem(SUITES._members, "score", Score)
    config = RecordConfig.model_validate({"suite": {"name": "score"}, "collect": {"demos": 2}})
    source = Recorded(config, Origin("score", "points", Layer("argument", {})))
    gathered = source.gather(tmp_path, 1, Silent(), Stopwatch())
    assert gathered.provenance["expert_failures"] == 0


def test_a_recording_ends_with_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert recorded(tmp_path, monkeypatch).steps == OVER


def test_what_the_spec_shows_is_recorded_and_a_full_state_is_not_asked_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = load_episode(recorded(tmp_path, monkeypatch).file)
    assert found["img"].shape == (OVER, 4, 4, 3)
    assert found["state"].shape == (OVER, 2)
    assert "full_state" not in found


def test_an_environment_without_a_state_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScoreEnv, "observe", lambda self, keys: {})
    with pytest.raises(DataError, match="the environment of score points shows no 'state'"):
        recorded(tmp_path, monkeypatch)
