"""A policy: encoder + velocity network + method + chunking, with normalisation inside.

Legend: B batch, T observation steps, H horizon, E executed steps, A action dimension (of noise and normalised chunks
``Spec.learned_action_dim``, which is more where actions have rotations), D condition dimension.
"""

from __future__ import annotations

import copy
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Self, cast

import torch
from torch import Tensor, nn

from omp_cli.core.base.errors import UsageError
from omp_cli.core.data.windows import Windows
from omp_cli.core.encoders import ENCODERS
from omp_cli.core.encoders.base import ActionLimits, Encoder, StateLimits
from omp_cli.core.methods import METHODS, Draws, LossReport, VelocityField
from omp_cli.core.methods.base import Conditioned, Gather, same
from omp_cli.core.methods.path import rows
from omp_cli.core.methods.teaching import Teacher, Teaching
from omp_cli.core.nets import NETS
from omp_cli.core.nets.base import InPrecision, Net
from omp_cli.core.policy_config import PolicyConfig
from omp_cli.core.relative import with_relative
from omp_cli.core.spec import Spec

ROUNDED_ONE = 1 + 1e-4
"""What arithmetic, and a range of its own for a number that never changes, may make of the bound 1 of an action."""


def usual_nfe(config: PolicyConfig) -> int:
    """Evaluations per decision that the method takes unless told otherwise."""
    return METHODS.build(config.method).usual_nfe


def draws_noise(config: PolicyConfig) -> bool:
    """Whether noise plays a part in the policy's decisions."""
    return METHODS.build(config.method).generative


def check_noise_scale(scale: float, generative: bool) -> None:
    """UsageError where another scale than training's is asked of a policy that draws no noise."""
    if scale != 1 and not generative:
        raise UsageError(f"noise_scale: {scale:g}, and this policy draws no noise", "leave it out")


def _replaced(values: tuple[float, ...], places: range, by: tuple[float, ...]) -> tuple[float, ...]:
    return values[: places.start] + by + values[places.stop :]


class Frozen(nn.Module):
    """A copy of a policy's encoder and network that does not learn."""

    def __init__(self, encoder: Encoder, net: Net) -> None:
        super().__init__()
        self.encoder, self.net = copy.deepcopy(encoder), copy.deepcopy(net)
        self.requires_grad_(False)

    def field(self, obs: Mapping[str, Tensor]) -> VelocityField:
        """Its velocity field with the embeddings of raw arrays (B, T, ...) bound in."""
        return Conditioned(self.net, self.encoder(obs))


class Policy(nn.Module):
    """Maps raw observations to action chunks in the units that the environment takes.

    Args:
        config: the parts.
        spec: the task's observation and action; UsageError when a part needs what the task does not have.

    Attributes:
        nfe: K of a decision unless told: the method's own, or what the checkpoint says that it was loaded from.
        frozen: a copy of encoder and network that takes the first steps of a decision (``freeze_from``); None for none.
        frozen_from: the time from which on, up to t = 1, it does.
    """

    frozen: Frozen | None
    frozen_from: float | None

    def __init__(self, config: PolicyConfig, spec: Spec) -> None:
        super().__init__()
        self.config, self.chunk = config, config.chunk
        self.spec = spec = with_relative(spec, self.chunk.relative, self.chunk.relative_state)
        self.method = METHODS.build(config.method)
        self.nfe = self.method.usual_nfe
        self.encoder = ENCODERS.build(config.encoder, spec, self.chunk.n_obs)
        self.net = NETS.build(config.net, self.chunk.horizon, spec.learned_action_dim, self.encoder.out_dim)
        self.action_limits = ActionLimits(spec)
        self._check_relative()
        self.frozen = self.frozen_from = None

    def _check_relative(self) -> None:
        """UsageError where something is relative to a state that is not read, or that the encoder normalises itself."""
        spec, name = self.spec, self.config.encoder.name
        setting = "chunk.relative" if spec.relative_actions else "chunk.relative_state"
        if (spec.relative_actions or spec.relative_state) and "state" not in self.encoder.keys:
            raise UsageError(f"{setting}: the {name} encoder does not read the state", "take an encoder that does")
        if spec.relative_state and not any(isinstance(part, StateLimits) for part in self.encoder.modules()):
            raise UsageError(
                f"chunk.relative_state: the {name} encoder does not see the state through StateLimits, which does that",
                "leave the setting out, or give the encoder StateLimits(spec)",
            )

    @property
    def keys(self) -> tuple[str, ...]:
        """Observation arrays that the policy reads."""
        return self.encoder.keys

    def fit(self, arrays: Mapping[str, Tensor], windows: Windows) -> None:
        """Fit all normalisation to whole data arrays (frames, ...): observations and "action".

        Args:
            arrays: by their names in the store.
            windows: of these data, which say what is relative to what.
        """
        actions, seen = arrays["action"], arrays
        if self.spec.relative_state:  # the others stay where they are until an encoder asks for them
            in_windows = {"state": arrays["state"][windows.obs]}
            seen = ChainMap(in_windows, cast("MutableMapping[str, Tensor]", arrays))
        self.encoder.fit(seen)
        if not self.spec.relative_actions:
            self.action_limits.fit(self.action_limits.learned(actions))
            return
        newest = arrays["state"][windows.obs[:, -1]]
        ends: list[Tensor] = []
        for frames in windows.action.T:  # all chunks at once would be the data ``horizon`` times
            learned = self.action_limits.learned(actions[frames][:, None], newest)
            ends += [learned.amin(0), learned.amax(0)]
        self.action_limits.fit(torch.stack(ends))
        self.action_limits.reach = torch.stack([actions.amin(0), actions.amax(0)])

    def action_range(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Smallest and largest value that each of the A numbers of an action is meant to have, in the data's units.

        A suite defines its actions in [-1, 1]; of data of one's own, and where a suite's data go beyond (a plugin's
        environment may have bounds of its own), it is the range of the data.
        """
        if (channels := self.spec.action_channels) is not None:
            return channels.low, channels.high
        one = torch.ones_like(self.action_limits.scale)
        reach = self.action_limits.reach
        ends = (self.action_limits.inverse(end) for end in (-one, one)) if reach is None else reach
        low, high = (tuple(end.tolist()) for end in ends)
        for rotation in self.spec.action_rotations:  # whose ends are no ends of what is learned
            low, high = (_replaced(x, rotation.places, y) for x, y in zip((low, high), rotation.reach, strict=True))
        if max(-min(low), max(high)) < ROUNDED_ONE:
            return (-1.0,) * len(low), (1.0,) * len(high)
        return low, high

    def freeze_from(self, time: float) -> None:
        """Keep a copy of encoder and network as they are now for all times from ``time`` on: it learns nothing."""
        self.frozen, self.frozen_from = Frozen(self.encoder, self.net), time

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """As of every module, but for the frozen copy, and for what of the network is never trained."""
        super().requires_grad_(requires_grad)
        self.net.requires_grad_(requires_grad)
        if self.frozen is not None:
            self.frozen.requires_grad_(False)
        return self

    def sizes(self) -> dict[str, int]:
        """How many parameters there are, and how many of them are trained where that is not all."""
        every = sum(p.numel() for p in self.parameters())
        trained = sum(p.numel() for p in self.parameters() if p.requires_grad)
        return {"parameters": every, **({"trained_parameters": trained} if trained < every else {})}

    def embed(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Embeddings (B, D) of raw arrays (B, T, ...); those of a frozen copy, (B, D), follow in (B, 2 D)."""
        h = self.encoder(obs)
        return h if self.frozen is None else torch.cat([h, self.frozen.encoder(obs)], -1)

    def lower(self, dtype: torch.dtype) -> None:
        """Let the network compute in bfloat16 or float16; encoder, normalisation and sampler stay as they are."""
        self.net = InPrecision(self.net, dtype)
        if self.frozen is not None:
            self.frozen.net = InPrecision(self.frozen.net, dtype)

    def field(self, h: Tensor) -> VelocityField:
        """The velocity field u(z, r, t) with embeddings of ``embed`` bound in; each row is asked for at its time."""
        u, first = self._fields(h)
        if (begin := self.frozen_from) is None:
            return u

        def by_time(z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
            return torch.where(rows(t >= begin, z), first(z, r, t), u(z, r, t, features))

        return by_time

    def sample(self, h: Tensor, noise: Tensor, nfe: int) -> Tensor:
        """The normalised chunk that K = ``nfe`` deterministic jumps lead to.

        Args:
            h: embeddings of ``embed``.
            noise: z_1, (B, H, A).
            nfe: K.

        Returns:
            z_0 (B, H, A), in [-1, 1].
        """
        u, first = self._fields(h)
        if (begin := self.frozen_from) is None:
            return self.method.sample(u, noise, nfe)
        z = noise
        for jump in self.method.jumps(nfe):  # as ``field``, without asking both networks
            z = jump.mean(first if jump.t >= begin else u, z)
        return z.clamp(-1, 1)

    def _fields(self, h: Tensor) -> tuple[VelocityField, VelocityField]:
        """The network's field and that of the first steps, the same without a frozen copy."""
        if self.frozen is None:
            return (u := Conditioned(self.net, h)), u
        own, theirs = h.chunk(2, -1)
        return Conditioned(self.net, own), Conditioned(self.frozen.net, theirs)

    @torch.no_grad()
    def act(self, obs: Mapping[str, Tensor], noise: Tensor, nfe: int | None = None) -> Tensor:
        """Action chunk to execute.

        Args:
            obs: raw arrays (B, T, ...), see ``keys``.
            noise: z_1, (B, H, A).
            nfe: number of evaluations of the network, None for the policy's own; the observation is encoded once.

        Returns:
            (B, E, A) actions in the environment's units.
        """
        return self.executed(self.sample(self.embed(obs), noise, nfe or self.nfe), obs)

    @property
    def window(self) -> slice:
        """Which actions of the horizon are executed."""
        first = self.chunk.n_obs - 1
        return slice(first, first + self.chunk.execute)

    def executed(self, z_0: Tensor, obs: Mapping[str, Tensor]) -> Tensor:
        """The part of a normalised chunk (B, H, A) that is executed, in the environment's units: (B, E, A).

        Args:
            z_0: a normalised chunk.
            obs: the raw arrays (B, T, ...) that it was decided on.
        """
        return self.action_limits.inverse(z_0, self._newest_state(obs))[:, self.window]

    def normalised(self, actions: Tensor, obs: Mapping[str, Tensor]) -> Tensor:
        """Raw action chunks (B, H, A) as they are learned, z_0 (B, H, A).

        Args:
            actions: in the environment's units.
            obs: the raw arrays (B, T, ...) of their windows.
        """
        return self.action_limits(actions, self._newest_state(obs))

    def _newest_state(self, obs: Mapping[str, Tensor]) -> Tensor | None:
        """What relative actions count from, (B, S); None where there are none."""
        return obs["state"][:, -1] if self.spec.relative_actions else None


def check_teacher(method: str, given: bool) -> None:
    """UsageError when a method that distils has no teacher, or another one has."""
    distils = METHODS.get(method).distils
    if distils and not given:
        raise UsageError(f"method {method} learns from a trained policy", "name it: --teacher RUN_OR_CHECKPOINT")
    if given and not distils:
        those = ", ".join(name for name in METHODS.names() if METHODS.get(name).distils)
        raise UsageError(f"method {method} learns from no teacher", f"leave --teacher out; those that do: {those}")


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """A context in which a module and its parts are in evaluation mode; each goes back to the mode that it was in."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


class LossModule(nn.Module):
    """The training loss as a module: what is wrapped for distribution, with the derivative inside its forward.

    A JVP *through* a distributed wrapper fails on the second iteration, and skips the gradient exchange.

    Args:
        policy: what is trained.
        gather: brings the rows of all processes together.
        teacher: the trained policy, frozen, that a method learns from which distils; not part of this module's state.

    Attributes:
        score: the copy of the teacher's network that learns beside the policy, where the method needs one.
    """

    def __init__(self, policy: Policy, gather: Gather = same, teacher: Policy | None = None) -> None:
        super().__init__()
        check_teacher(policy.config.method.name, teacher is not None)
        self.policy = policy
        self.score: Net | None = None
        if teacher is not None and policy.method.needs_score:
            self.score = copy.deepcopy(teacher.net).requires_grad_(True)
        self._gather: Callable[[Tensor], Tensor] = gather
        self._teacher = (teacher,)  # a tuple, so that it becomes no submodule

    def forward(self, obs: Mapping[str, Tensor], actions: Tensor, draws: Draws) -> LossReport:
        """Loss of a batch of windows.

        Args:
            obs: raw arrays (B, T, ...).
            actions: raw chunks (B, H, A).
            draws: m rows per window, (m B, ...): each observation is encoded once and used with m noises and times.
        """
        h = self.policy.encoder(obs)
        repeats = len(draws.t) // len(h)
        z_0 = self.policy.normalised(actions, obs).repeat_interleave(repeats, 0)
        u = self.policy.field(h.repeat_interleave(repeats, 0))
        (teacher,) = self._teacher
        more = {} if teacher is None else {"teacher": self._taught(teacher, obs, repeats)}
        return self.policy.method.loss(u, z_0, h, draws, self._gather, **more)

    @torch.no_grad()
    def _taught(self, teacher: Policy, obs: Mapping[str, Tensor], repeats: int) -> Teacher:
        """The teacher with its own embeddings of the observations bound in; the copy of its network sees the same."""
        assert isinstance(teacher.method, Teaching)
        h = teacher.embed(obs).repeat_interleave(repeats, 0)
        score = None if self.score is None else Conditioned(self.score, h[:, : teacher.encoder.out_dim])
        return Teacher(teacher.method, teacher.field(h), score)
