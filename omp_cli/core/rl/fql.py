"""Flow Q-learning (FQL, arXiv 2502.02538): a one-step student of a flow that two critics pull towards more return.

Legend: B batch, N environments, D decisions in the data, H horizon, E executed actions, A action dimension, z initial
noise; teacher the pre-trained policy, frozen unless its flow learns, too; student what acts and learns.
"""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import Tensor, nn

from omp_cli.core.base.device import moved, own_generator
from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.encoders.images import shifted
from omp_cli.core.methods import Method
from omp_cli.core.methods.base import mean_end
from omp_cli.core.methods.reflow import ReFlow
from omp_cli.core.methods.shortcut import ShortCut
from omp_cli.core.rl.base import ALGORITHMS, Algorithm, Start, adamw, is_flow, named, part, refuse_diverged
from omp_cli.core.rl.critic import Critics
from omp_cli.core.rl.fql_config import FqlConfig
from omp_cli.core.rl.minibatch import numbers
from omp_cli.core.rl.replay_buffer import Decisions, Demonstrations, ReplayBuffer, demonstrated
from omp_cli.core.rl.rollout import Collector
from omp_cli.core.train.graph import combined
from omp_cli.core.train.optim import optimizer_tensors, restore_optimizer


def student_loss(distance: Tensor, q: Tensor, alpha: float, normalise: bool) -> Tensor:
    """alpha |student - teacher|^2 - Q(o, student), Q perhaps divided by its mean magnitude; a scalar.

    Args:
        distance: mean square over the student's chunks, to the teacher's clipped to [-1, 1]; a scalar.
        q: mean of the critics at the student's actions, (B,).
        alpha: weight of the distillation.
        normalise: see ``FqlConfig``.
    """
    scale = q.detach().abs().mean().clamp_min(1e-6) if normalise else 1.0
    return alpha * distance - q.mean() / scale


def _unclipped(method: Method) -> Method:
    """The method with ``clip_steps`` off: the student's clipped entries would have no gradient to come back by."""
    if not getattr(method.config, "clip_steps", False):
        return method
    return method.with_settings({"clip_steps": False})


@ALGORITHMS.register("fql")
class Fql(Algorithm):
    """Off-policy: every decision is learned from many times, together with the demonstrations where those have rewards.

    The replay is not part of a checkpoint: after a resumption it begins empty, and nothing is learned before it holds
    ``fill`` decisions again; the demonstrations are there at once.
    """

    Config = FqlConfig
    config: FqlConfig
    nfe = 1
    general = True

    @classmethod
    def fits(cls, method: type[Method]) -> bool:
        """See the base class."""
        return is_flow(method)

    def __init__(self, config: FqlConfig, start: Start) -> None:
        super().__init__(config, start)
        if start.nfe != 1:
            raise UsageError(f"nfe: an fql student decides with 1 evaluation (got {start.nfe})", "see teacher_nfe")
        if start.policy.frozen is not None:
            raise UsageError(
                "fql decides in 1 step, which a frozen copy takes in this policy", "start from another one"
            )
        self.policy, self.teacher = start.policy, start.pretrained
        self._jumps = _unclipped(self.policy.method).jumps(1)
        self._teacher_jumps = self.teacher.method.jumps(config.teacher_nfe or self._usual_nfe())
        self.policy.requires_grad_(True).encoder.requires_grad_(config.encoder == "trained")
        self.critics = Critics(config.critic, self.policy).to(start.device)
        self.target = copy.deepcopy(self.critics).requires_grad_(False)
        self.recording = self.replays(self._learn)
        self._optimizer = self._adamw(self.policy, config.lr)
        self._teacher_optimizer = self._learning_teacher() if config.flow else None
        self._critic_optimizer = self._adamw(self.critics, config.critic_lr)
        self.replay = ReplayBuffer(config.capacity)
        self._demonstrations = self._demonstrated()
        self._shift = getattr(self.policy.encoder.config, "shift", 0) if config.augment else 0
        self._updates = 0

    def _learning_teacher(self) -> torch.optim.AdamW:
        """Make the teacher a copy that learns, for the frozen one belongs to the run; its optimiser.

        Raises:
            UsageError: its loss needs more than observations and the actions that were executed.
        """
        chunk, method = self.policy.chunk, self.policy.config.method.name
        if chunk.horizon != chunk.execute:
            raise UsageError(
                f"algorithm.flow: only {chunk.execute} of the {chunk.horizon} actions of a chunk are executed, and the "
                "teacher's loss needs them all",
                "set algorithm.flow=false, or fine-tune a policy with chunk.horizon = chunk.execute",
            )
        if self.teacher.method.distils:
            raise UsageError(f"algorithm.flow: method {method} cannot learn without a teacher of its own")
        self.teacher = copy.deepcopy(self.teacher).requires_grad_(True)
        self.teacher.encoder.requires_grad_(self.config.encoder == "trained")
        return self._adamw(self.teacher, self.config.lr)

    def _adamw(self, module: nn.Module, lr: float) -> torch.optim.AdamW:
        return adamw(module, lr, recorded=self.recording.eager is None)

    def _usual_nfe(self) -> int:
        checkpoint = self.start.checkpoint
        if checkpoint is not None and checkpoint.meta.finetuned_by is not None:
            return checkpoint.nfe
        return 4 if isinstance(self.teacher.method, ReFlow | ShortCut) else 1

    def _demonstrated(self) -> Demonstrations | None:
        """The demonstrations; None where they are not to be had, DataError where the settings need them."""
        config, start = self.config, self.start
        if not config.offline_steps and not config.demonstrations:
            return None
        try:
            if start.checkpoint is None:
                raise DataError("the policy comes without them")
            return demonstrated(start.checkpoint, self.policy, start.reward, start.end_on_success)
        except DataError as error:
            if config.offline_steps:
                raise DataError(f"offline_steps: {error.message}", "set algorithm.offline_steps=0") from None
            start.note(f"no demonstrations to learn from: {error.message}")
            return None

    def iterate(self, iteration: int, collector: Collector) -> dict[str, float]:
        """Collect, then gradient steps; the first ``offline_steps`` of them without collecting. See the base class."""
        config, start, watch = self.config, self.start, self.start.watch
        updates = config.steps(start.envs)
        offline = min(updates, config.offline_steps - iteration * updates)
        if offline <= 0:
            rest = start.iterations - iteration, start.envs, self._updates
            if not len(self.replay) and (said := config.not_reached(*rest)):
                start.note(said)
            self._collect(collector)
            if len(self.replay) < config.fill:
                return {"replay": len(self.replay)}
        sums: dict[str, Tensor] = {}
        counts: Counter[str] = Counter()
        for _ in range(offline if offline > 0 else updates):
            batch = self._batch(offline > 0)
            watch.lap("batches")
            for name, value in self.update(batch).items():
                sums[name] = sums.get(name, 0.0) + value  # a sum of its own: the next replay overwrites the value
                counts[name] += 1
            watch.lap("update")
        figures = {name: total / counts[name] for name, total in numbers(sums).items()}
        refuse_diverged(iteration, figures, "lower --lr, or algorithm.critic_lr")
        return {**figures, "replay": len(self.replay)}

    def _collect(self, collector: Collector) -> None:
        """``decisions`` in every environment, into the replay."""
        watch = self.start.watch
        for _ in range(self.config.decisions):
            obs = collector.obs
            chunk = self.act(obs)
            watch.lap("policy")
            stepped = collector.step(self.policy.executed(chunk, obs))
            following = {key: value.clone() for key, value in collector.obs.items()}
            for env, last in stepped.final.items():
                for key, value in collector.seen(last).items():
                    following[key][env] = value
            reward, terminated, lost = (
                torch.from_numpy(x).to(chunk.device) for x in (stepped.reward, stepped.terminated, stepped.lost)
            )
            rows = Decisions(obs, chunk[:, self.policy.window], reward.float(), following, terminated)
            self.replay.add(rows[~lost])
            watch.lap("records")

    @torch.no_grad()
    def act(self, obs: dict[str, Tensor]) -> Tensor:
        """Normalised chunks (N, H, A) to explore with."""
        chunk = self._student(obs, self._noise(obs))
        return (chunk + self.config.sigma.value * torch.randn_like(chunk)).clamp(-1, 1)

    def _noise(self, obs: dict[str, Tensor]) -> Tensor:
        rows = len(next(iter(obs.values())))
        shape = (rows, self.policy.chunk.horizon, self.policy.spec.learned_action_dim)
        return torch.randn(shape, device=self.start.device)

    def _student(self, obs: dict[str, Tensor], z: Tensor) -> Tensor:
        """Where the one jump leads, not clipped: (B, H, A)."""
        return mean_end(self.policy.field(self.policy.encoder(obs)), self._jumps, z)

    def _batch(self, offline: bool) -> Decisions:
        """B decisions on the device, pictures shifted."""
        size, parts = self.config.batch_size, []
        if self._demonstrations is not None:
            share = size if offline else round(size * self.config.demonstrations)
            parts.append(self._demonstrations.sample(share))
            size -= share
        if size:
            parts.append(self.replay.sample(size))
        batch: Decisions = combined(parts, torch.cat)
        batch = batch.map(lambda array: moved(array, self.start.device))
        if self._shift:
            for obs in (batch.obs, batch.following):
                if "img" in obs:
                    obs["img"] = shifted(obs["img"], self._shift)
        return batch

    def update(self, batch: Decisions) -> dict[str, Tensor]:
        """One gradient step of the critics and their moving averages, perhaps one of the student; detached figures."""
        config = self.config
        kind = self._updates % config.student_every == 0, self._updates < config.distil_steps
        self._updates += 1
        found = self.recording(batch, kind)
        return self._learn(batch, kind) if found is None else found

    def _learn(self, batch: Decisions, kind: tuple[bool, bool]) -> dict[str, Tensor]:
        """An update as it is recorded: whether the student learns, and then whether from the teacher alone."""
        student_learns, distils = kind
        figures = self._learn_critics(batch)
        if student_learns:
            if self._teacher_optimizer is not None:
                figures |= self._learn_teacher(batch, self._teacher_optimizer)
            figures |= self._learn_student(batch.obs, distils)
        return figures

    @torch.no_grad()
    def targets(self, batch: Decisions) -> Tensor:
        """What the critics should say of the decisions, (B,): the student goes on from where they led."""
        chunk = self._student(batch.following, self._noise(batch.following)).clamp(-1, 1)
        q = self.target(batch.following, chunk[:, self.policy.window])
        next_q = q.amin(0) if self.config.combine == "min" else q.mean(0)
        return batch.reward + self.config.gamma * torch.where(batch.terminated, 0.0, next_q)

    def _learn_critics(self, batch: Decisions) -> dict[str, Tensor]:
        loss = (self.critics(batch.obs, batch.action) - self.targets(batch)).square().mean()
        self._critic_optimizer.zero_grad()
        loss.backward()
        self._critic_optimizer.step()
        with torch.no_grad():  # else the averages carry a graph of all updates so far
            torch._foreach_lerp_(list(self.target.parameters()), list(self.critics.parameters()), self.config.tau)
        return {"value_loss": loss.detach()}

    def _learn_teacher(self, batch: Decisions, optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
        """A gradient step of the flow towards the actions of the batch, by its method's own loss."""
        method, h = self.teacher.method, self.teacher.encoder(batch.obs)
        rows, horizon, actions = batch.action.shape
        draws = method.draw((rows, horizon, actions), own_generator(h.device))
        loss = method.loss(self.teacher.field(h), batch.action, h, draws).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"flow": loss.detach()}

    def _learn_student(self, obs: dict[str, Tensor], distils: bool) -> dict[str, Tensor]:
        config, z = self.config, self._noise(obs)
        with torch.no_grad():
            goal = mean_end(self.teacher.field(self.teacher.encoder(obs)), self._teacher_jumps, z).clamp(-1, 1)
        chunk = self._student(obs, z)
        distance = (chunk - goal).square().mean()
        q = self.critics(obs, chunk.clamp(-1, 1)[:, self.policy.window]).mean(0)
        loss = distance if distils else student_loss(distance, q, config.alpha, config.normalise)
        self._optimizer.zero_grad()
        loss.backward(inputs=[p for p in self.policy.parameters() if p.requires_grad])  # not the critics
        self._optimizer.step()
        return {"bc": distance.detach(), "q": q.detach().mean()}

    def tensors(self) -> dict[str, Tensor]:
        """See the base class."""
        return {
            **named("critics", self.critics.state_dict()),
            **named("target", self.target.state_dict()),
            **named("optimizer", optimizer_tensors(self.policy, self._optimizer)),
            **named("critic_optimizer", optimizer_tensors(self.critics, self._critic_optimizer)),
            "updates": torch.tensor(self._updates),
            **self._teacher_tensors(),
        }

    def _teacher_tensors(self) -> dict[str, Tensor]:
        """The tensors of a teacher that learns; a frozen one is the run's own and has none."""
        if self._teacher_optimizer is None:
            return {}
        optimizer = optimizer_tensors(self.teacher, self._teacher_optimizer)
        return named("teacher", self.teacher.state_dict()) | named("teacher_optimizer", optimizer)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """See the base class."""
        self.critics.load_state_dict(part(tensors, "critics"))
        self.target.load_state_dict(part(tensors, "target"))
        restore_optimizer(self.policy, self._optimizer, part(tensors, "optimizer"), complete=False)
        restore_optimizer(self.critics, self._critic_optimizer, part(tensors, "critic_optimizer"), complete=False)
        if self._teacher_optimizer is not None:
            self.teacher.load_state_dict(part(tensors, "teacher"))
            saved = part(tensors, "teacher_optimizer")
            restore_optimizer(self.teacher, self._teacher_optimizer, saved, complete=False)
        self._updates = int(tensors["updates"])
