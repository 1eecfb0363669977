"""PPO over chains: the ratio is 1 where it starts, and what is learned is what was meant."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import Diverged, RunFailed
from omp_cli.core.base.layers import unflatten
from omp_cli.core.base.seeds import rollout_seed
from omp_cli.core.base.timing import Stopwatch
from omp_cli.core.envs.chunking import chunk_env_factory
from omp_cli.core.envs.pool import EnvPool
from omp_cli.core.methods.base import mean_end
from omp_cli.core.policy import Policy, PolicyConfig
from omp_cli.core.rl.base import ALGORITHMS, Start
from omp_cli.core.rl.chain import Chain
from omp_cli.core.rl.environments import LOST, TrainingEnvs
from omp_cli.core.rl.ppo import Ppo
from omp_cli.core.rl.ppo_config import BcConfig, CosineConfig
from omp_cli.core.rl.rollout import Collector, Rollout
from omp_cli.core.spec import Rotation, Spec
from omp_cli.core.suites.toy import Toy, ToyConfig

ENVS, DECISIONS = 4, 6
ENCODERS = {
    "state": {"name": "state", "hidden": 16, "out": 8},
    "pictures": {"name": "light-vit", "width": 16, "heads": 2, "dropout": 0.1},
    "cloud": {"name": "pointcloud", "channels": [8, 16], "points": 32, "out": 8, "state": 8},
}
TRAINED_BY = {"dmpo": "dmpo", "reinflow-r": "reflow", "reinflow-s": "shortcut", "dppo": "dp", "gaussian": "gaussian"}
PPO = [name for name in ALGORITHMS.names() if issubclass(ALGORITHMS.get(name), Ppo)]


def spec() -> Spec:
    return Toy(ToyConfig()).spec("reach").model_copy(update={"image": (84, 84, 3)})


def policy_of(method: str, encoder: str = "state", n_obs: int = 1) -> Policy:
    torch.manual_seed(0)
    config = PolicyConfig.model_validate(
        {
            "method": {"name": method},
            "net": {"name": "residual-mlp", "hidden": 32},
            "encoder": ENCODERS[encoder],
            "chunk": {"n_obs": n_obs, "horizon": 4 + n_obs, "execute": 4},
        }
    )
    return Policy(config, spec()).eval()


def algorithm_of(
    name: str = "dmpo", sees: str = "state", nfe: int | None = None, n_obs: int = 1, **settings: Any
) -> Ppo:
    """An algorithm whose policy has learned nothing; ``settings`` with double underscores for dots."""
    values = unflatten({"warmup": 0, **{key.replace("__", "."): value for key, value in settings.items()}})
    config: Settings = ALGORITHMS.parse({"name": name, "decisions": DECISIONS, "batch_size": 16, **values})
    policy = policy_of(TRAINED_BY[name], sees, n_obs)
    pretrained = copy.deepcopy(policy).requires_grad_(False)
    cls = ALGORITHMS.get(name)
    start = Start(
        policy, pretrained, nfe or cls.nfe or policy.nfe, ENVS, 0, torch.device("cpu"), Stopwatch(), lambda line: None
    )
    algorithm = cls(config, start)
    assert isinstance(algorithm, Ppo)
    return algorithm


@pytest.fixture
def collectors() -> Iterator[Any]:
    """``collectors(algorithm)`` -> a collector on the toy, closed at the end."""
    opened: list[EnvPool] = []

    def make(algorithm: Ppo, max_steps: int = 20) -> Collector:
        policy = algorithm.policy
        points = getattr(policy.encoder.config, "points", None)
        shape = {
            "keys": policy.keys,
            "n_obs": policy.chunk.n_obs,
            "execute": 4,
            "max_steps": max_steps,
            "points": points,
        }
        env = chunk_env_factory({"name": "toy"}, "reach", **shape)
        pool = EnvPool(env, ENVS, 1, print, LOST)
        opened.append(pool)
        envs = TrainingEnvs(pool, lambda env, number: rollout_seed(0, "reach", env, number))
        return Collector(envs, policy, algorithm.augments, torch.device("cpu"), Stopwatch())

    yield make
    for pool in opened:
        pool.close()


def collected(algorithm: Ppo, collectors: Any) -> Rollout:
    torch.manual_seed(1)
    rollout: Rollout = collectors(algorithm).collect(algorithm.act, DECISIONS)
    return rollout


def weights_of(algorithm: Ppo) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in algorithm.policy.named_parameters()}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", PPO)
def test_the_ratio_is_1_at_the_first_minibatch(name: str, encoder: str, collectors: Any) -> None:
    """Augmentation is on, and the picture encoder has dropout: neither may show."""
    algorithm = algorithm_of(name, encoder, n_obs=1 if encoder == "pictures" else 2)
    batch, _ = algorithm._prepared(collected(algorithm, collectors), 0)
    figures, _ = algorithm._minibatch(batch, torch.randperm(len(batch.advantage))[:16], 0, True)
    assert abs(figures["ratio"] - 1) <= 1e-6
    assert figures["log_ratio_per_entry"] <= 1e-6
    assert abs(figures["kl"]) <= 1e-9
    assert figures["clip_share"] == 0
    assert figures["grad_norm"] > 0


@pytest.mark.parametrize("name", PPO)
def test_rotations_are_learned_in_numbers_that_jump_nowhere(
    name: str, collectors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second number of the toy's action as an angle: the environment gets it as it takes it."""
    turned = spec().model_copy(update={"action_rotations": (Rotation(first=1, kind="angle"),)})
    monkeypatch.setitem(globals(), "spec", lambda: turned)
    algorithm = algorithm_of(name)
    rollout = collected(algorithm, collectors)
    assert rollout.points.shape[-1] == 3
    batch, _ = algorithm._prepared(rollout, 0)
    figures, _ = algorithm._minibatch(batch, torch.randperm(len(batch.advantage))[:16], 0, True)
    assert abs(figures["ratio"] - 1) <= 1e-6
    assert figures["grad_norm"] > 0


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_ratio_moves_with_the_policy(reduction: str, collectors: Any) -> None:
    algorithm = algorithm_of(reduction=reduction, lr=1e-2, target_kl=None)
    batch, _ = algorithm._prepared(collected(algorithm, collectors), 0)
    rows = torch.arange(16)
    figures = [algorithm._minibatch(batch, rows, 0, True)[0] for _ in range(2)]
    assert figures[0]["log_ratio_per_entry"] <= 1e-6
    assert figures[1]["log_ratio_per_entry"] > 1e-3


def test_dropout_while_learning_is_fatal(collectors: Any) -> None:
    algorithm = algorithm_of(sees="pictures")
    rollout = collected(algorithm, collectors)
    algorithm.policy.train()
    with pytest.raises(RunFailed, match="log-probabilities of the rollout"):
        algorithm._prepared(rollout, 0)


def test_another_grid_while_learning_is_fatal(collectors: Any) -> None:
    algorithm = algorithm_of("reinflow-r")
    rollout = collected(algorithm, collectors)
    algorithm.jumps = algorithm.jumps[:-1] + algorithm.jumps[:1]
    with pytest.raises(RunFailed, match="log-probabilities of the rollout"):
        algorithm._prepared(rollout, 0)


def test_a_policy_that_changes_before_it_learns_is_fatal(collectors: Any) -> None:
    algorithm = algorithm_of()
    batch, _ = algorithm._prepared(collected(algorithm, collectors), 0)
    with torch.no_grad():
        algorithm.policy.net.outlet.bias += 1e-3
    with pytest.raises(RunFailed, match="instead of 1"):
        algorithm._learn(batch, 0)


def test_rewards_that_are_not_numbers_end_as_divergence(collectors: Any) -> None:
    algorithm = algorithm_of()
    batch, _ = algorithm._prepared(collected(algorithm, collectors), 0)
    batch.target[:] = float("nan")
    with pytest.raises(Diverged, match="iteration 1"):
        algorithm._learn(batch, 0)


@pytest.mark.parametrize("nfe", [1, 5])
def test_behaviour_cloning_of_equal_weights_is_exactly_0(nfe: int, collectors: Any) -> None:
    algorithm = algorithm_of(nfe=nfe, bc__weight=1.0)
    batch, _ = algorithm._prepared(collected(algorithm, collectors), 0)
    some = batch[torch.arange(len(batch.advantage))]
    h = algorithm.policy.encoder(some.obs)
    assert some.bc is not None
    end = mean_end(algorithm.policy.field(h), algorithm.jumps, some.points[:, 0])
    assert torch.equal(end, algorithm._pretrained_end(some.obs, some.points[:, 0]))
    assert float((end - some.bc).square().mean().detach()) < 1e-12
    with torch.no_grad():
        algorithm.policy.net.outlet.bias += 0.1
    moved = mean_end(algorithm.policy.field(h), algorithm.jumps, some.points[:, 0])
    assert float((moved - some.bc).square().mean().detach()) == pytest.approx(0.01, rel=0.5)


def test_behaviour_cloning_decays_linearly() -> None:
    bc = BcConfig(weight=0.2, end_weight=0.05, begin=20, end=50)
    assert [bc.at(i) for i in (0, 20, 35, 50, 300)] == pytest.approx([0.2, 0.2, 0.125, 0.05, 0.05])
    for begin in (50, 20):
        with pytest.raises(ValidationError, match=f"end has to be above begin \\(got 20 and {begin}\\)"):
            BcConfig(begin=begin, end=20)


def test_values_come_from_the_episode_that_was_acted_in(collectors: Any) -> None:
    """With V = first number of the state: truncation looks at its own episode's end, the last row at the present."""
    algorithm = algorithm_of(gamma=0.5, scale_rewards=False)
    rollout = collected(algorithm, collectors)  # episodes of 20 steps, chunks of 4: truncated after row 4
    algorithm._value = lambda obs: obs["state"][:, -1, 0]  # type: ignore[method-assign]
    value = rollout.obs["state"][:, :, -1, 0]
    following = algorithm._next_values(rollout, value)
    assert set(rollout.final) == {(4, n) for n in range(ENVS)}
    assert torch.equal(following[:4], value[1:5])
    for n in range(ENVS):
        assert following[4, n] == rollout.final[4, n]["state"][0, -1, 0]
        assert following[4, n] != value[5, n]
    assert torch.equal(following[5], rollout.last["state"][:, -1, 0])
    over = Rollout(**{**vars(rollout), "terminated": torch.ones_like(rollout.terminated)})
    assert not algorithm._next_values(over, value).any()


def test_what_a_dead_worker_did_is_not_learned(collectors: Any) -> None:
    algorithm = algorithm_of(gamma=0.5, gae_lambda=1.0, scale_rewards=False)
    rollout = collected(algorithm, collectors)
    lost = torch.zeros_like(rollout.valid)
    lost[2, 1] = True
    ends = rollout.ends.clone()
    ends[1:3, 1] = True
    rollout = Rollout(**{**vars(rollout), "valid": ~lost, "ends": ends})
    batch, _ = algorithm._prepared(rollout, 0)
    assert len(batch.advantage) == ENVS * DECISIONS - 1
    everything, _ = algorithm._prepared(Rollout(**{**vars(rollout), "valid": torch.ones_like(lost)}), 0)
    kept = (~lost).flatten().nonzero().squeeze(1)
    assert torch.equal(batch.advantage, everything.advantage[kept])


def test_the_surrogate_is_ppos() -> None:
    """Ratios 1.2, 0.8, 1.2, 0.8 against advantages 1, 1, -1, -1 at clip 0.1, by hand."""
    algorithm = algorithm_of()
    ratio = torch.tensor([1.2, 0.8, 1.2, 0.8], dtype=torch.float64)
    old = torch.zeros(4, 1, dtype=torch.float64)
    chain = Chain(ratio.log()[:, None], old[:, 0], None, old[0, 0])
    loss, figures = algorithm._surrogate(chain, old, torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64))
    assert float(loss) == pytest.approx(-(1.1 + 0.8 - 1.2 - 0.9) / 4)
    assert float(figures["ratio"]) == pytest.approx(1.0)
    assert float(figures["clip_share"]) == 1
    assert float(figures["kl"]) == pytest.approx(float((ratio - 1 - ratio.log()).mean()))


def test_each_jump_is_a_decision_for_dppo() -> None:
    """Two jumps, of which the first is discounted once; each ratio is of the mean over the entries that count."""
    algorithm = algorithm_of("dppo", nfe=2, clip=10.0)
    a = algorithm.policy.spec.action_dim
    entries = torch.tensor([5 * a, 4 * a])  # a horizon of 5, of which 4 are executed
    old = torch.zeros(1, 2, dtype=torch.float64)
    chain = Chain(torch.tensor([[1.1, 1.3]], dtype=torch.float64).log() * entries, old[:, 0], None, old[0, 0])
    loss, _ = algorithm._surrogate(chain, old, torch.ones(1, dtype=torch.float64))
    assert float(loss) == pytest.approx(-(1.1 * 0.99 + 1.3) / 2)


def test_gradients_of_parts_of_a_minibatch_are_averaged(collectors: Any) -> None:
    found = []
    for micro_batch in (None, 5):
        algorithm = algorithm_of(micro_batch=micro_batch, grad_clip=None)
        batch, _ = algorithm._prepared(collected(algorithm, collectors), 0)
        found.append(algorithm._minibatch(batch, torch.arange(16), 0, True)[0])
        found[-1]["weight"] = float(algorithm.policy.net.outlet.weight.grad.norm())  # type: ignore[union-attr]
    for name in ("grad_norm", "critic_grad_norm", "value_loss", "weight"):
        assert found[0][name] == pytest.approx(found[1][name], rel=1e-4)


@pytest.mark.parametrize("sees", ["state", "own", "shared"])
@pytest.mark.parametrize("encoder", ["trained", "frozen"])
def test_who_learns_is_as_configured(encoder: str, sees: str, collectors: Any) -> None:
    algorithm = algorithm_of(sees="cloud", encoder=encoder, critic__sees=sees)
    before, critic = weights_of(algorithm), copy.deepcopy(algorithm.critic.state_dict())
    algorithm.iterate(0, collectors(algorithm))
    changed = {name for name, value in weights_of(algorithm).items() if not torch.equal(value, before[name])}
    assert any(name.startswith("net.") for name in changed)
    assert any(name.startswith("encoder.") for name in changed) == (encoder == "trained")
    learned = {name for name, value in algorithm.critic.state_dict().items() if not torch.equal(value, critic[name])}
    assert "outlet.weight" in learned
    assert any(name.startswith("view.encoder.") for name in learned) == (sees == "own")


def test_an_encoder_of_the_critics_own_can_stay_as_it_is(collectors: Any) -> None:
    algorithm = algorithm_of(sees="cloud", critic__sees="own", critic__train_encoder=False)
    before = copy.deepcopy(algorithm.critic.view.encoder.state_dict())  # type: ignore[union-attr]
    algorithm.iterate(0, collectors(algorithm))
    assert all(torch.equal(v, before[k]) for k, v in algorithm.critic.view.encoder.state_dict().items())  # type: ignore[union-attr]


def test_the_value_function_learns_first(collectors: Any) -> None:
    algorithm = algorithm_of(warmup=1)
    collector, before = collectors(algorithm), weights_of(algorithm)
    figures = algorithm.iterate(0, collector)
    assert all(torch.equal(value, before[name]) for name, value in weights_of(algorithm).items())
    assert figures["actor_epochs"] == 0
    assert figures["critic_grad_norm"] > 0
    assert "kl" not in figures
    algorithm.iterate(1, collector)
    assert not all(torch.equal(value, before[name]) for name, value in weights_of(algorithm).items())


def test_the_policy_stops_where_it_is_too_far_and_the_value_function_goes_on(collectors: Any) -> None:
    algorithm = algorithm_of(lr=1e-2, target_kl=1e-4, epochs=5)
    figures = algorithm.iterate(0, collectors(algorithm))
    assert 0 < figures["actor_epochs"] < 5
    free = algorithm_of(lr=1e-2, target_kl=None, epochs=5)
    assert free.iterate(0, collectors(free))["actor_epochs"] == pytest.approx(5)


def test_pictures_are_shifted_once_for_acting_and_learning(collectors: Any) -> None:
    shifted, plain = (collected(algorithm_of(sees="pictures", augment=on), collectors) for on in (True, False))
    assert not torch.equal(shifted.obs["img"], plain.obs["img"])
    assert torch.equal(shifted.obs["state"][0], plain.obs["state"][0])
    assert shifted.obs["img"].dtype == torch.uint8


def test_learning_restores_to_the_bit(collectors: Any) -> None:
    settings = {"adaptive_lr": True, "lr": 1e-2, "target_kl": 1e-5}  # a rate that falls
    algorithm = algorithm_of("reinflow-r", **settings)
    collector = collectors(algorithm)
    algorithm.iterate(0, collector)
    assert float(algorithm.tensors()["lr_factor"]) < 1
    other = algorithm_of("reinflow-r", **settings)
    other.policy.load_state_dict(algorithm.policy.state_dict())
    other.restore({name: tensor.clone() for name, tensor in algorithm.tensors().items()})
    algorithm.scale._running.zero_()  # a resumed run begins new episodes
    rollout = collected(algorithm, collectors)
    for one in (algorithm, other):
        torch.manual_seed(3)
        batch, _ = one._prepared(rollout, 1)
        one._learn(batch, 1)
    assert all(torch.equal(a, b) for a, b in zip(algorithm.tensors().values(), other.tensors().values(), strict=True))
    assert all(torch.equal(value, weights_of(other)[name]) for name, value in weights_of(algorithm).items())


def test_the_policys_learning_rate_rises(collectors: Any) -> None:
    algorithm, rates = algorithm_of(warmup=1, lr=1e-3, lr_warmup=2), []
    collector = collectors(algorithm)
    for iteration in range(4):
        algorithm.iterate(iteration, collector)
        rates.append(algorithm._actor_optimizer.param_groups[0]["lr"])
    assert rates[1:] == pytest.approx([5e-4, 1e-3, 1e-3])


def test_rates_of_both_go_through_their_cycles(collectors: Any) -> None:
    """By hand: a rise of one iteration from the least rate, then half a cosine over the other two of three."""
    cycles = {"schedule__end": 2e-4, "schedule__cycle": 2, "critic_schedule__end": 1e-4, "critic_schedule__cycle": 3}
    algorithm = algorithm_of(lr=1e-3, lr_warmup=1, critic_lr=4e-3, critic_schedule__warmup=1, **cycles)
    collector, rates = collectors(algorithm), []
    for iteration in range(4):
        algorithm.iterate(iteration, collector)
        rates.append([o.param_groups[0]["lr"] for o in (algorithm._actor_optimizer, algorithm._critic_optimizer)])
    policy, critic = zip(*rates, strict=True)
    assert policy == pytest.approx((1e-3, 6e-4, 1e-3, 6e-4))
    assert critic == pytest.approx((1e-4, 4e-3, 2.05e-3, 1e-4))
    with pytest.raises(ValueError, match="warmup has to be less than cycle"):
        CosineConfig(cycle=3, warmup=3)


def test_an_adaptive_rate_falls_where_the_policy_stops_early_and_rises_where_it_hardly_moves(collectors: Any) -> None:
    def rates(iterations: int, **settings: Any) -> list[float]:
        algorithm = algorithm_of(adaptive_lr=True, epochs=4, **settings)
        collector = collectors(algorithm)
        return [algorithm.iterate(iteration, collector).get("lr", 0.0) for iteration in range(iterations)]

    assert rates(3, lr=1e-2, lr_warmup=1, target_kl=1e-5) == pytest.approx([1e-2, 1e-2 / 1.5, 1e-2 / 2.25])
    assert rates(3, lr=1e-7, lr_warmup=1, target_kl=1.0) == pytest.approx([1e-7, 1.5e-7, 2.25e-7])
    assert rates(4, lr=1e-7, lr_warmup=3, target_kl=1.0) == pytest.approx([1e-7 / 3, 2e-7 / 3, 1e-7, 1.5e-7])
    assert rates(3, lr=1e-7, warmup=2, lr_warmup=1, target_kl=1.0) == pytest.approx([0, 0, 1e-7])
    assert rates(2, lr=1e-7, lr_warmup=1, target_kl=1.0, batch_size=100) == pytest.approx([1e-7, 1.5e-7])


@pytest.mark.parametrize(
    ("passes", "kl", "factor"),
    [(0.5, math.inf, 1 / 1.5), (2, 0.2, 1 / 1.5), (2.5, 0.2, 1), (4, 0.06, 1), (4, 0.04, 1.5), (4, math.inf, 1)],
)
def test_what_an_adaptive_rate_follows(passes: float, kl: float, factor: float) -> None:
    """Of four passes at a target of 0.1; never more than a tenth or ten times of what it would be."""
    config = algorithm_of(epochs=4, target_kl=0.1).config
    assert config.next_factor(1.0, passes, kl) == pytest.approx(factor)
    assert config.next_factor(0.1, 0.5, kl) == 0.1
    assert config.next_factor(10.0, 4.0, 0.0) == 10.0


def test_one_minibatch_an_iteration_measures_no_divergence(collectors: Any) -> None:
    algorithm = algorithm_of(adaptive_lr=True, epochs=1, batch_size=100, lr_warmup=1)
    collector = collectors(algorithm)
    assert len({algorithm.iterate(iteration, collector)["lr"] for iteration in range(2)}) == 1


def test_a_rate_may_be_made_adaptive_in_a_resumed_run(collectors: Any) -> None:
    algorithm = algorithm_of(adaptive_lr=True, lr=1e-3, lr_warmup=1)
    algorithm.restore(algorithm_of().tensors())
    assert algorithm.iterate(0, collectors(algorithm))["lr"] == pytest.approx(1e-3)


def test_the_value_function_may_have_a_weight_decay_of_its_own() -> None:
    def decays(**given: float) -> list[float]:
        algorithm = algorithm_of(**given)
        return [o.param_groups[0]["weight_decay"] for o in (algorithm._actor_optimizer, algorithm._critic_optimizer)]

    assert decays() == [0, 0]
    assert decays(weight_decay=0.1) == [0.1, 0.1]
    assert decays(weight_decay=0.1, critic_weight_decay=0.2) == [0.1, 0.2]
    assert decays(weight_decay=0.1, critic_weight_decay=0.0) == [0.1, 0]


def test_an_iteration_has_the_bound_of_its_place_in_the_run(collectors: Any) -> None:
    """Half a run without hold: half of the way from 0.24 to the middle of 0.10 and 0.24."""
    settings = {"sigma__end": 0.5, "sigma__hold": 0.0, "sigma__low": 0.10, "sigma__high": 0.24}
    algorithm = algorithm_of("reinflow-r", **settings)
    algorithm.start = dataclasses.replace(algorithm.start, iterations=4)
    figures = algorithm.iterate(2, collectors(algorithm))  # which fails where the ratio does not begin at 1
    assert float(algorithm.sigma.bounds.sum()) == pytest.approx(math.log(0.205))
    assert 0.10 < figures["sigma"] < 0.205
