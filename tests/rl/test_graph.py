"""Updates that a GPU records: over static buffers they are the same to the bit; what cannot be recorded is told."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from omp_cli.core.base.errors import UsageError
from omp_cli.core.rl.base import Algorithm
from omp_cli.core.rl.fql import Fql
from omp_cli.core.rl.minibatch import Batch
from omp_cli.core.rl.ppo import Ppo
from omp_cli.core.train import graph
from omp_cli.core.train.graph import WARM_UP, Recorder
from tests.rl.test_fql import decisions_of, fql_of
from tests.rl.test_fql import policy_of as student_of
from tests.rl.test_ppo import ENVS, algorithm_of
from tests.train.recordable import Recordable, recorder

ROWS = 40
"""Of a rollout: with minibatches of 16 two are as large as usual, and one is smaller."""


def recording(monkeypatch: pytest.MonkeyPatch, algorithm: Algorithm) -> Counter[str]:
    """Let a CPU take the way of a GPU, with the step itself in the place of its graph; how often it went there."""
    counts: Counter[str] = Counter()
    monkeypatch.setattr(graph, "on_cuda", recorder(lambda event: counts.update([event]), Recordable()))
    algorithm.recording.eager = None
    return counts


def rollout_of(algorithm: Ppo, with_bc: bool) -> Batch:
    """Decisions of the policy, with made-up advantages and targets."""
    torch.manual_seed(1)
    device, spec = algorithm.start.device, algorithm.policy.spec
    obs = {"state": torch.randn(ROWS, algorithm.policy.chunk.n_obs, spec.state_dim, device=device)}
    with torch.no_grad():
        _, points, _ = algorithm.act(obs)
        h = algorithm.policy.encoder(obs)
        parts = zip(h.split(16), points.split(16), strict=True)  # as they are learned from: sums round by their batch
        log_probs = torch.cat([algorithm._chain(some, chain).log_probs for some, chain in parts])
        bc = algorithm._pretrained_end(obs, points[:, 0]) if with_bc else None
    advantage, target = torch.randn(2, ROWS, device=device)
    return Batch(obs, h if algorithm.config.encoder == "frozen" else None, points, log_probs, advantage, target, bc)


def learned(algorithm: Ppo, iterations: int = 4) -> list[dict[str, float]]:
    """Figures of some iterations, behind which an update alone lies; behaviour cloning begins and ends in between."""
    figures = []
    for iteration in range(iterations):
        algorithm.sigma.at(iteration / iterations)
        with_bc = algorithm.config.bc.at(iteration) > 0 and iteration >= algorithm.config.warmup
        batch = rollout_of(algorithm, with_bc)
        torch.manual_seed(iteration)
        figures.append(algorithm._learn(batch, iteration))
    return figures


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("name", "settings", "replayed", "recorded"),
    [
        # Of 16 parts of the usual size the first of each kind is eager, and the next WARM_UP.
        ("reinflow-r", {"sigma__end": 0.2, "sigma__hold": 0.1, "entropy_coef": 0.01}, 12, 1),
        ("dppo", {"nfe": 3, "clip_first": 0.01}, 12, 1),
        ("gaussian", {"critic__sees": "shared", "grad_clip": None}, 12, 1),
        # Four of the value function alone, four with behaviour cloning twice, four without it.
        ("dmpo", {"warmup": 1, "bc__weight": 0.5, "bc__end": 3}, 11, 2),
        ("dmpo", {"micro_batch": 8, "encoder": "frozen"}, 36, 1),
        ("dmpo", {"batch_size": 50_000, "decisions": ROWS // ENVS, "epochs": 4}, 12, 1),  # a rollout has fewer rows
    ],
)
def test_an_update_by_recordings_is_the_same_to_the_bit(
    name: str, settings: dict[str, Any], replayed: int, recorded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"target_kl": None, "lr": 1e-3, "epochs": 2, **settings}
    plain, by_recordings = (algorithm_of(name, **settings) for _ in range(2))
    counts = recording(monkeypatch, by_recordings)
    assert learned(plain) == learned(by_recordings)
    assert same(plain.policy.state_dict(), by_recordings.policy.state_dict())
    assert same(plain.tensors(), by_recordings.tensors())
    assert counts == {"recorded": recorded, "replayed": replayed}
    assert (plain.recording.figure, by_recordings.recording.figure) == (
        "eager: a graph needs CUDA, and this runs on cpu",
        "CUDA graph",
    )


@pytest.mark.parametrize("flow", [False, True])
def test_updates_of_fql_by_recordings_are_the_same_to_the_bit(flow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"student_every": 2, "distil_steps": 8, "flow": flow}
    plain, recorded = (fql_of(student_of("reflow", horizon=2), **settings) for _ in range(2))
    counts, found = recording(monkeypatch, recorded), []
    for algorithm in (plain, recorded):
        torch.manual_seed(2)
        updates = [algorithm.update(decisions_of(k / 20)) for k in range(12)]
        found.append({name: float(value) for name, value in updates[-2].items()})
    assert found[0] == found[1]
    assert same(plain.tensors(), recorded.tensors())
    assert same(plain.policy.state_dict(), recorded.policy.state_dict())
    assert counts == {"recorded": 4, "replayed": 12 - WARM_UP}  # critics alone or both, from the teacher alone or not


def test_an_update_that_cannot_be_recorded_is_eager_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: torch.device) -> Recorder:
        raise RuntimeError("operation not permitted when\nstream is capturing")

    notes: list[str] = []
    plain, recorded = (algorithm_of("dmpo", target_kl=None, lr=1e-3) for _ in range(2))
    monkeypatch.setattr(graph, "on_cuda", refuse)
    recorded.recording.eager, recorded.recording._note = None, notes.append
    assert learned(plain) == learned(recorded)
    assert same(plain.policy.state_dict(), recorded.policy.state_dict())
    reason = "RuntimeError: operation not permitted when stream is capturing"
    assert notes == [f"no CUDA graph: {reason}"]
    assert recorded.recording.figure == f"eager: {reason}"


@pytest.mark.parametrize("algorithm", [lambda: algorithm_of("dmpo"), lambda: fql_of(student_of())])
def test_a_graph_that_is_asked_for_where_there_is_none_is_refused(algorithm: Callable[[], Algorithm]) -> None:
    made = algorithm()
    with pytest.raises(UsageError, match="graph: on, but a graph needs CUDA, and this runs on cpu"):
        type(made)(made.config, replace(made.start, graph="on"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["dmpo", "reinflow-r", "dppo", "gaussian"])
def test_on_a_gpu_recorded_updates_learn_as_eager_ones_do(name: str) -> None:
    found = {}
    for asked in ("off", "on"):
        algorithm = algorithm_of(name, target_kl=None, lr=1e-3, warmup=1, bc__weight=0.5, bc__end=3)
        start = replace(
            algorithm.start,
            policy=algorithm.policy.to("cuda"),
            pretrained=algorithm.start.pretrained.to("cuda"),
            device=torch.device("cuda"),
            graph=asked,
        )
        algorithm = type(algorithm)(algorithm.config, start)
        figures = learned(algorithm)
        found[asked] = figures[-1], copy.deepcopy(algorithm.policy.state_dict())
        assert algorithm.recording.figure.startswith("CUDA graph" if asked == "on" else "eager: graph is off")
    for key, value in found["off"][0].items():
        assert found["on"][0][key] == pytest.approx(value, rel=1e-2, abs=1e-4)
    for key, value in found["off"][1].items():
        torch.testing.assert_close(found["on"][1][key], value, rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("flow", [False, True])
def test_on_a_gpu_recorded_updates_of_fql_lower_the_loss_of_the_critics(flow: bool) -> None:
    algorithm = fql_of(student_of("reflow"), flow=flow)
    start = replace(
        algorithm.start,
        policy=algorithm.policy.to("cuda"),
        pretrained=algorithm.start.pretrained.to("cuda"),
        device=torch.device("cuda"),
        graph="on",
    )
    made, batch = Fql(algorithm.config, start), decisions_of(0.5).map(lambda x: x.to("cuda"))
    losses = [float(made.update(batch)["value_loss"]) for _ in range(60)]
    assert made.recording.figure == "CUDA graph"
    assert losses[-1] < 0.5 * losses[0]
