"""PPO over the chain of a generative policy (DMPO equations 33 to 39; DPPO, ReinFlow, Gaussian PPO are settings of it).

Legend: B rows of a minibatch, T decisions, N environments, K jumps, H horizon, A action dimension, V value, R target.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from omp_cli.core.base.errors import RunFailed
from omp_cli.core.methods.base import Conditioned, mean_end
from omp_cli.core.rl.base import Algorithm, Start, adamw, named, part, refuse_diverged
from omp_cli.core.rl.chain import Chain, Sigma, evaluate_chain, sample_chain
from omp_cli.core.rl.critic import Critic
from omp_cli.core.rl.minibatch import Batch, numbers
from omp_cli.core.rl.ppo_config import PpoConfig
from omp_cli.core.rl.returns import RewardScale, gae
from omp_cli.core.rl.rollout import Collector, Rollout
from omp_cli.core.rl.surrogate import Surrogate
from omp_cli.core.rl.tuned import tuned_jumps
from omp_cli.core.train.optim import optimizer_tensors, restore_optimizer

SAME = 1e-6
"""Largest difference of the log-probability per entry at the first minibatch: the ratio is 1 there."""
AS_SAMPLED = 1e-4
"""The same against what was sampled, for other batches round differently; another grid or dropout is far above."""


class Ppo(Algorithm):
    """Clipped PPO; one class for every generative policy. Members of the family are its settings."""

    config: PpoConfig

    def __init__(self, config: PpoConfig, start: Start) -> None:
        super().__init__(config, start)
        policy = self.policy = start.policy
        jumps = policy.method.jumps(start.nfe, config.eta)
        tuned = tuned_jumps(policy, jumps, config)
        self.first_jumps, self.jumps = jumps[:-tuned], jumps[-tuned:]
        self.frozen = start.pretrained
        self._frozen_jumps = start.pretrained.method.jumps(start.nfe, config.eta)[-tuned:]
        policy.requires_grad_(True).encoder.requires_grad_(config.encoder == "trained")
        device, spec = start.device, policy.spec
        horizon, actions = policy.chunk.horizon, spec.learned_action_dim
        self.sigma = Sigma(config.sigma, horizon, actions, policy.encoder.out_dim).to(device)
        self.critic = Critic(config.critic, policy).to(device)
        self.actor = nn.ModuleDict({"policy": policy, "sigma": self.sigma})
        self._entries = horizon * actions
        last = policy.chunk.execute * actions  # of the last jump only executed actions count
        self._entries_by_jump = torch.tensor([self._entries] * (len(self.jumps) - 1) + [last], device=device)
        self._surrogate = Surrogate(config, self._entries, self._entries_by_jump)
        self._actor_optimizer = adamw(self.actor, config.lr, config.weight_decay)
        decay = config.weight_decay if config.critic_weight_decay is None else config.critic_weight_decay
        self._critic_optimizer = adamw(self.critic, config.critic_lr, decay)
        self.scale = RewardScale(start.envs, config.gamma)
        self._bc_weight = torch.zeros((), device=device)
        self._lr_factor = 1.0
        """What the policy's learning rate is multiplied by, where it follows the KL divergence."""
        self.recording = self.replays(self._gradients)
        self._learned: set[bool] = set()
        sizes = config.micro_batch or config.batch_size, config.batch_size, start.envs * config.decisions
        self._usual = min(sizes)
        """Rows of most parts of an update: a rollout may have fewer than a minibatch takes."""
        if start.iterations <= config.warmup:
            whole = f"algorithm.warmup={config.warmup} is the whole run, and in it the value function alone learns"
            start.note(f"the policy stays as it is: {whole}")

    @property
    def augments(self) -> bool:
        """See the base class."""
        return self.config.augment

    def iterate(self, iteration: int, collector: Collector) -> dict[str, float]:
        """One rollout, ``epochs`` passes over it; see the base class."""
        watch = self.start.watch
        self.sigma.at(iteration / self.start.iterations)
        rollout = collector.collect(self.act, self.config.decisions)
        batch, figures = self._prepared(rollout, iteration)
        watch.lap("values and targets")
        figures |= self._learn(batch, iteration)
        watch.lap("update")
        return figures

    @torch.no_grad()
    def act(self, obs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Observations -> actions (N, E, A) in the environment's units, chain, log-probabilities by jump."""
        h, policy, before = self.policy.encoder(obs), self.policy, len(self.first_jumps)
        shape = (before + len(self.jumps) + 1, len(h), policy.chunk.horizon, policy.spec.learned_action_dim)
        z, *noise = torch.randn(shape, device=h.device)
        if policy.frozen is not None:
            first = policy.frozen.field(obs)
            for jump, drawn in zip(self.first_jumps, noise, strict=False):
                z = jump.mean(first, z) + max(self.config.sigma.value, jump.std) * drawn
        u = Conditioned(policy.net, h)
        points, log_probs = sample_chain(u, self.jumps, self.sigma, h, [z, *noise[before:]], policy.window)
        return self.policy.executed(points[:, -1].clamp(-1, 1), obs), points, log_probs

    @torch.no_grad()
    def _prepared(self, rollout: Rollout, iteration: int) -> tuple[Batch, dict[str, float]]:
        """Before learning: what the old policy and the value function say of a rollout, advantages and targets.

        Log-probabilities are evaluated anew, in batches of the size of learning: sums of many terms round differently
        in batches of another size, and the ratio has to start at 1.
        """
        config, shape = self.config, rollout.reward.shape
        obs = {key: value.flatten(0, 1) for key, value in rollout.obs.items()}
        points = rollout.points.flatten(0, 1)
        frozen, wants_bc = config.encoder == "frozen", config.bc.at(iteration) > 0 and iteration >= config.warmup
        embeddings, log_probs, values, ends = [], [], [], []
        size = min(config.micro_batch or len(points), config.batch_size)
        for first, last in pairwise([*range(0, len(points), size), len(points)]):
            some, chain = {key: value[first:last] for key, value in obs.items()}, points[first:last]
            h = self.policy.encoder(some)
            log_probs.append(self._chain(h, chain).log_probs)
            values.append(self.critic(some, h))
            if frozen:
                embeddings.append(h)
            if wants_bc:
                ends.append(self._pretrained_end(some, chain[:, 0]))
        value, old = torch.cat(values).view(shape), torch.cat(log_probs)

        worst = float((old - rollout.log_probs.flatten(0, 1)).abs().max()) / self._entries
        if not worst <= AS_SAMPLED:
            raise RunFailed(
                f"log-probabilities of the rollout and of the same policy afterwards differ by {worst:.1e} per entry",
                "sampling and learning do not see the same policy; a network with random parts in evaluation mode?",
            )

        reward = rollout.reward
        if config.scale_rewards:
            reward = self.scale(reward.cpu(), rollout.ends.cpu()).to(value)
        next_value = self._next_values(rollout, value)
        advantage, target = gae(reward, value, next_value, rollout.ends, config.gamma, config.gae_lambda)
        h_all, bc = torch.cat(embeddings) if frozen else None, torch.cat(ends) if wants_bc else None
        batch = Batch(obs, h_all, points, old, advantage.flatten(), target.flatten(), bc)
        valid = rollout.valid.flatten()
        unexplained = (target - value).flatten()[valid].var() / target.flatten()[valid].var().clamp_min(1e-12)
        return batch[valid.nonzero().squeeze(1)], {"explained_variance": float(1 - unexplained)}

    def _next_values(self, rollout: Rollout, value: Tensor) -> Tensor:
        """V of what the same episode showed next: of the final observation where it was truncated, 0 at its own end."""
        following = torch.cat([value[1:], self._value(rollout.last)[None]])
        if rollout.final:
            places = list(rollout.final)
            obs = {k: torch.cat([rollout.final[place][k] for place in places]) for k in rollout.last}
            t, n = torch.tensor(places, device=value.device).T
            following[t, n] = self._value(obs)
        return torch.where(rollout.terminated, 0.0, following)

    def _learn(self, batch: Batch, iteration: int) -> dict[str, float]:
        """``epochs`` passes of minibatches; figures averaged over the minibatches that were used."""
        config = self.config
        actor_learns = learns = iteration >= config.warmup
        rise = min(max(iteration - config.warmup + 1, 0) / config.lr_warmup, 1.0)
        rates = {
            self._actor_optimizer: config.schedule.at(config.lr, iteration) * rise * self._lr_factor,
            self._critic_optimizer: config.critic_schedule.at(config.critic_lr, iteration),
        }
        for optimizer, lr in rates.items():
            for group in optimizer.param_groups:
                group["lr"] = lr
        self._bc_weight.fill_(config.bc.at(iteration))
        found: list[dict[str, float]] = []
        passes = 0.0
        for _ in range(config.epochs):
            order = torch.randperm(len(batch.advantage)).to(batch.advantage.device)
            minibatches = [rows for rows in order.split(config.batch_size) if len(rows) > 1]
            for rows in minibatches:
                figures, too_far = self._minibatch(batch, rows, iteration, actor_learns)
                moved = figures.pop("log_ratio_per_entry", 0.0)
                if not found and not moved <= SAME:
                    raise RunFailed(
                        f"the first minibatch has a ratio of {figures['ratio']:.6f} instead of 1",
                        "the policy that learns is not the one that acted; a network with random parts in evaluation "
                        "mode?",
                    )
                found.append(figures)
                actor_learns = actor_learns and not too_far
                passes += actor_learns / len(minibatches)
        if learns and config.adaptive_lr:
            measured = found[1:][-len(minibatches) :]  # at the first minibatch nothing has moved yet
            kl = max((figures["kl"] for figures in measured if "kl" in figures), default=math.inf)
            factor = config.next_factor(self._lr_factor, passes, kl)
            self._lr_factor = factor if rise == 1 else min(factor, self._lr_factor)
        names = dict.fromkeys(name for figures in found for name in figures)
        seen = {name: [figures[name] for figures in found if name in figures] for name in names}
        means = {name: sum(values) / len(values) for name, values in seen.items()}
        if learns:
            means["lr"] = rates[self._actor_optimizer]
        return {**means, "actor_epochs": passes, "bc_weight": config.bc.at(iteration)}

    def _minibatch(
        self, batch: Batch, index: Tensor, iteration: int, actor_learns: bool
    ) -> tuple[dict[str, float], bool]:
        """One optimiser step of the value function, and of the policy unless it is too far from the old one by now."""
        config, device = self.config, batch.advantage.device
        advantage = batch.advantage[index]
        if config.normalise:
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        for optimizer in (self._actor_optimizer, self._critic_optimizer):  # a recording adds to what is at its place
            optimizer.zero_grad(set_to_none=self.recording.eager is not None)
        sums: dict[str, Tensor] = {}
        for rows in torch.arange(len(index), device=device).split(config.micro_batch or len(index)):
            share = len(rows) / len(index)
            found = self._add_gradients(replace(batch[index[rows]], advantage=advantage[rows]), share, actor_learns)
            for name, value in found.items():
                last = sums.get(name, torch.zeros((), device=device))
                sums[name] = torch.maximum(last, value) if name == "log_ratio_per_entry" else last + share * value
        figures = numbers(sums)
        refuse_diverged(iteration, figures, "lower --lr, or algorithm.target_kl")
        too_far = actor_learns and config.target_kl is not None and figures["kl"] > config.target_kl
        learners: list[tuple[str, nn.Module, torch.optim.AdamW]]
        learners = [("critic_grad_norm", self.critic, self._critic_optimizer)]
        if actor_learns and not too_far:
            learners.append(("grad_norm", self.actor, self._actor_optimizer))
        limit = math.inf if config.grad_clip is None else config.grad_clip
        norms: dict[str, Tensor] = {}
        for name, module, optimizer in learners:
            moving = [p for p in module.parameters() if p.grad is not None]
            norms[name] = nn.utils.clip_grad_norm_(moving, limit)
            optimizer.step()
        return figures | numbers(norms), too_far

    def _add_gradients(self, batch: Batch, share: float, actor_learns: bool) -> dict[str, Tensor]:
        """Add the gradient of a share of a minibatch's loss; by its recording where rows are as many as usual."""
        inputs = batch, torch.full((), share, dtype=torch.float64, device=batch.target.device)
        found = None
        if len(batch.target) == self._usual and actor_learns in self._learned:
            found = self.recording(inputs, actor_learns)
        self._learned.add(actor_learns)  # the gradients of what learns have their place from now on
        return self._gradients(inputs, actor_learns) if found is None else found

    def _gradients(self, inputs: tuple[Batch, Tensor], actor_learns: bool) -> dict[str, Tensor]:
        """The same without a recording, as it is recorded."""
        batch, share = inputs
        loss, figures = self._loss(batch, actor_learns)
        (share * loss).backward()
        return figures

    def _loss(self, batch: Batch, actor_learns: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """L = c_v L_V + L_PPO - c_e entropy + w_BC L_BC, of which the first alone while the policy does not learn.

        Returns:
            The scalar to differentiate, and detached figures.
        """
        config = self.config
        h = batch.h
        if h is None and (actor_learns or self.critic.sees == "shared"):
            with torch.set_grad_enabled(actor_learns):
                h = self.policy.encoder(batch.obs)
        value_loss = 0.5 * (self.critic(batch.obs, h) - batch.target).square().mean()
        figures, loss = {"value_loss": value_loss.detach()}, config.value_coef * value_loss
        if not actor_learns:
            return loss, figures
        assert h is not None
        chain = self._chain(h, batch.points, want_end=batch.bc is not None)
        surrogate, more = self._surrogate(chain, batch.log_probs, batch.advantage)
        loss = loss + surrogate - config.entropy_coef * chain.entropy.mean()
        figures |= more | {"sigma": chain.sigma, "entropy": chain.entropy.detach().mean()}
        if batch.bc is not None and chain.end is not None:
            distance = (chain.end - batch.bc).square().mean()
            loss = loss + self._bc_weight * distance
            figures["bc"] = distance.detach()
        return loss, figures

    def _value(self, obs: dict[str, Tensor]) -> Tensor:
        return self.critic(obs, self.policy.encoder(obs) if self.critic.sees == "shared" else None)

    def _chain(self, h: Tensor, points: Tensor, want_end: bool = False) -> Chain:
        u = Conditioned(self.policy.net, h)  # all of these jumps are its
        return evaluate_chain(u, self.jumps, self.sigma, h, points, self.policy.window, want_end)

    def _pretrained_end(self, obs: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        return mean_end(Conditioned(self.frozen.net, self.frozen.encoder(obs)), self._frozen_jumps, noise)

    def tensors(self) -> dict[str, Tensor]:
        """See the base class."""
        return {
            **named("sigma", self.sigma.state_dict()),
            **named("critic", self.critic.state_dict()),
            **named("actor_optimizer", optimizer_tensors(self.actor, self._actor_optimizer)),
            **named("critic_optimizer", optimizer_tensors(self.critic, self._critic_optimizer)),
            "reward_scale": self.scale.state,
            **({"lr_factor": torch.tensor(self._lr_factor, dtype=torch.float64)} if self.config.adaptive_lr else {}),
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """See the base class."""
        self.sigma.load_state_dict(part(tensors, "sigma"))
        self.critic.load_state_dict(part(tensors, "critic"))
        restore_optimizer(self.actor, self._actor_optimizer, part(tensors, "actor_optimizer"), complete=False)
        restore_optimizer(self.critic, self._critic_optimizer, part(tensors, "critic_optimizer"), complete=False)
        self.scale.state = tensors["reward_scale"]
        self._lr_factor = float(tensors.get("lr_factor", 1.0))
