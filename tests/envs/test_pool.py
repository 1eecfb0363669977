"""The pool of environments: the same in this process and in workers, whatever dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omp_cli.core.base.errors import DataError, RunFailed
from omp_cli.core.base.plugins import load_plugin
from omp_cli.core.envs.chunking import ChunkEnv, chunk_env_factory
from omp_cli.core.envs.pool import ChunkResult, EnvPool
from omp_cli.core.envs.workers import RESTARTS_IN_A_ROW
from omp_cli.core.suites.base import Outcome
from omp_cli.core.suites.toy import Toy, ToyConfig, ToyEnv


class Odd(ToyEnv):
    """Does what its first action, or its seed, says."""

    def reset(self, seed: int) -> None:
        if seed == 13:
            os._exit(3)
        super().reset(seed)

    def step(self, action: Any) -> Outcome:
        if action[0] == 1:
            raise DataError("too few points", "use a larger camera size")
        if action[0] == 2:
            raise ValueError("odd\naction")
        if action[0] == 3:
            time.sleep(60)
        if action[0] == 4:
            return Outcome(float(os.environ["OMP_NUM_THREADS"]), False)
        if action[0] == 5:
            os._exit(4)
        if action[0] == 6:
            raise FileNotFoundError(2, "No such file or directory", "scene.xml")
        return super().step(action)


def odd() -> ChunkEnv:
    return ChunkEnv(Odd(Toy(ToyConfig()).spec("reach")), ("state",), 1, 1)


def told(what: float) -> Any:
    """Environment 1 of two is told to."""
    return np.array([[[0.0, 0.0]], [[what, 0.0]]], np.float32)


def children() -> list[BaseProcess]:
    """Worker processes, in order."""
    return sorted(multiprocessing.active_children(), key=lambda child: child.name)


def toy(**arguments: Any) -> Callable[[], ChunkEnv]:
    given = {"keys": ("state",), "n_obs": 2, "execute": 4, "max_steps": 14} | arguments
    return chunk_env_factory({"name": "toy"}, "reach", **given)


def pool_of(make: Callable[[], ChunkEnv], envs: int, workers: int, note: Callable[[str], None] = print) -> EnvPool:
    return EnvPool(make, envs, workers, note, ("begins anew", "begin anew"))


def stepped(pool: EnvPool, what: float) -> dict[int, ChunkResult | None]:
    return pool.step(dict(enumerate(told(what))))


def plain(row: ChunkResult | None) -> Any:
    """A row as something that can be compared."""
    assert row is not None
    final = None if row.final is None else row.final["state"].tobytes()
    info = {k: np.stack(v).tobytes() if k == "pictures" else v for k, v in row.info.items()}
    return row.obs["state"].tobytes(), info, row.reward, row.terminated, row.truncated, final


def played(pool: EnvPool) -> list[Any]:
    """Everything that a pool says of some resets and chunks, some of them of a part of the environments."""
    rows = [pool.reset({0: 5, 1: 6, 2: 7}, filmed=[1])]
    noise = np.random.default_rng(0)
    for turn in range(9):
        asked = [0, 1, 2] if turn % 3 else [0, 2]
        actions = {env: noise.uniform(-1, 1, (4, 2)).astype(np.float32) for env in asked}
        rows.append(pool.step(actions, {0: 100 + turn, 2: 200 + turn}))
        if turn == 5:
            rows.append(pool.reset({1: 8}))
    return [{env: plain(row) for env, row in sorted(found.items())} for found in rows]


def test_what_happens_does_not_depend_on_the_number_of_workers() -> None:
    with pool_of(toy(), 3, 1) as here, pool_of(toy(), 3, 2) as two, pool_of(toy(), 3, 9) as three:
        assert len(children()) == 5, "no process for one worker, and none without an environment"
        for child in children():
            os.kill(child.pid or 0, signal.SIGINT)  # Ctrl-C while they start is the parent's business
        wanted = played(here)
        assert played(two) == wanted
        assert played(three) == wanted
        assert two.seconds_by_part().keys() == three.seconds_by_part().keys() == here.seconds_by_part().keys()
        assert two.restarts == three.restarts == 0
    assert children() == []
    assert [len(found) for found in wanted] == [3, 2, 3, 3, 2, 3, 3, 1, 2, 3, 3]
    assert "pictures" in wanted[0][1][1]
    assert "pictures" not in wanted[0][0][1]
    assert any(found[0][5] is not None for found in wanted), "an episode followed another"
    assert all(found.get(1, [None] * 6)[5] is None for found in wanted), "where none was to follow, none did"


@pytest.mark.parametrize("when", ["at start-up", "between steps", "in a step"])
def test_a_death_is_told_and_costs_the_environments_of_that_worker(when: str) -> None:
    notes: list[str] = []
    with pool_of(odd, 2, 2, notes.append) as pool:
        victim = children()[1]
        if when == "at start-up":
            os.kill(victim.pid or 0, signal.SIGKILL)
            pool.start()
            assert pool.restarts == 1
        pool.reset({0: 1, 1: 2})
        lost = None
        if when == "between steps":
            os.kill(victim.pid or 0, signal.SIGKILL)
            victim.join()
            lost = stepped(pool, 0)
        if when == "in a step":  # it takes the action and never answers, while the other one does
            os.kill(victim.pid or 0, signal.SIGSTOP)
            threading.Timer(0.2, victim.kill).start()
            lost = stepped(pool, 0)
        if lost is not None:
            assert lost[0] is not None
            assert lost[1] is None
            assert pool.reset({1: 2})[1] is not None
        assert None not in stepped(pool, 0).values()
    assert notes == ["environment worker 1 died (signal 9); restarted with 1 environment, its episode begins anew"]
    assert children() == []


def test_a_worker_that_dies_at_every_start_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setattr("omp_cli.core.envs.workers._serve", dies)
    with (
        pool_of(odd, 2, 2, notes.append) as pool,
        pytest.raises(RunFailed, match=r"died 4 times in a row \(exit code 7"),
    ):
        pool.start()
    assert len(notes) >= RESTARTS_IN_A_ROW
    assert children() == []


def dies(*_: object) -> None:
    os._exit(7)


def test_times_of_a_dead_worker_are_forgotten_and_its_loss_is_told_at_the_next_step() -> None:
    with pool_of(odd, 2, 2, lambda _: None) as pool:
        pool.reset({0: 1, 1: 2})
        stepped(pool, 0)
        both = pool.seconds_by_part()
        for child in children():
            child.kill()
        assert pool.seconds_by_part() == {}
        assert both["physics"] > 0
        assert stepped(pool, 0) == {0: None, 1: None}


def test_errors_arrive_as_themselves_and_a_silent_worker_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with pool_of(odd, 2, 5, lambda _: None) as pool:
        assert os.environ["OMP_NUM_THREADS"] == "7"
        pool.reset({0: 0, 1: 0})
        with pytest.raises(DataError) as caught:
            stepped(pool, 1)
        assert (caught.value.message, caught.value.hint) == ("too few points", "use a larger camera size")
        words = r"(?m)\Aan environment failed in its worker: ValueError: odd action$"
        with pytest.raises(RunFailed, match=words) as failed:
            stepped(pool, 2)
        assert "--workers 1" in failed.value.hint
        with pytest.raises(FileNotFoundError, match="scene"):
            stepped(pool, 6)
        row = stepped(pool, 4)[1]
        assert row is not None
        assert row.reward == 1.0, "one thread"
        pool.patience = 0.5
        silent = stepped(pool, 3)
        assert silent[0] is not None
        assert silent[1] is None
        pool.patience = 60
        assert pool.reset({1: 0})[1] is not None
        assert None not in stepped(pool, 0).values()
    with pool_of(odd, 2, 1) as pool:
        pool.reset({0: 0, 1: 0})
        with pytest.raises(ValueError, match="odd"):
            stepped(pool, 2)


@pytest.fixture
def plugin(tmp_path: Path) -> None:
    """A suite of the user's own."""
    file = tmp_path / "of_my_own.py"
    file.write_text("""
from typing import Literal
from omp_cli.core.suites.base import SUITES
from omp_cli.core.suites.toy import Toy, ToyConfig

class Config(ToyConfig):
    name: Literal["mine"] = "mine"

@SUITES.register("mine")
class Mine(Toy):
    Config = Config
""")
    load_plugin(file)


@pytest.mark.usefixtures("plugin")
def test_environments_of_a_plugin_are_known_to_the_workers() -> None:
    mine = chunk_env_factory({"name": "mine"}, "reach", keys=("state",), n_obs=2, execute=4)
    with pool_of(mine, 2, 2) as workers, pool_of(toy(), 2, 1) as here:
        found, wanted = (pool.reset({0: 3, 1: 4}) for pool in (workers, here))
        assert [plain(row) for row in found.values()] == [plain(row) for row in wanted.values()]


def test_workers_do_not_outlive_a_killed_parent() -> None:
    code = "import multiprocessing; from tests.envs.test_pool import pool_of, odd, stepped; "
    code += "w = pool_of(odd, 2, 2); w.reset({0: 0, 1: 0}); "
    code += "print(*[c.pid for c in multiprocessing.active_children()], flush=True); stepped(w, 3)"
    two_workers_end_with(code)


def two_workers_end_with(code: str, *arguments: str) -> None:
    """Runs code that prints the process ids of its two workers, kills it, and waits until these are gone."""
    parent = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
