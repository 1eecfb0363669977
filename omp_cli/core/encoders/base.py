"""The contract of an observation encoder.

Legend: B batch, T observation steps, N points, S state dimension, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from omp_cli.core.base.config import Above0, Settings
from omp_cli.core.families import ENCODERS as ENCODERS
from omp_cli.core.relative import RelativeTo
from omp_cli.core.rotations import Continuous
from omp_cli.core.spec import Spec


class Limits(nn.Module):
    """Affine map of each of the last dimension's channels from [min, max] of the data to [-1, 1], kept as buffers.

    Before ``fit`` it is the identity.

    Args:
        dim: channels.
        min_range: of the data, below which a channel counts as constant.
        hold: what becomes of a constant channel. An observation's (False) is only centred, for one that leaves its
            value must not be blown up. An action's (True) is scaled as if it had that range, or 1/16384 of its value,
            so that ``inverse`` holds it: a motor that never moved in the demonstrations gets no noise of a policy.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, dim: int, min_range: float = 1e-4, hold: bool = False) -> None:
        super().__init__()
        self.min_range, self.hold = min_range, hold
        self.register_buffer("scale", torch.ones(dim))
        self.register_buffer("offset", torch.zeros(dim))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Take the limits from x (..., dim)."""
        flat = x.reshape(-1, x.shape[-1])
        low, high = flat.amin(0), flat.amax(0)
        span = high - low
        if self.hold:  # a far value has a wider range, so that ``offset`` is a number of float16, too
            scale = 2 / span.clamp_min(self.min_range).maximum((low + high).abs() * 2**-15)
        else:
            scale = torch.where(span < self.min_range, torch.ones_like(span), 2 / span.clamp_min(self.min_range))
        self.scale.copy_(scale)
        self.offset.copy_(-scale * (low + high) / 2)

    def forward(self, x: Tensor) -> Tensor:
        """Physical units to [-1, 1] (data outside the fitted limits maps outside)."""
        return x * self.scale + self.offset

    def inverse(self, y: Tensor) -> Tensor:
        """[-1, 1] to physical units."""
        return (y - self.offset) / self.scale


class StateLimits(Limits):
    """``Limits`` of a state (..., S), whose ``Spec.quaternions`` are first turned to the side that the spec names.

    Its ``Spec.state_rotations`` are brought into numbers that jump nowhere, so what comes out may be longer:
    ``Spec.seen_state_dim``. What ``Spec.relative_state`` names of a window (..., T, S) is seen relative to the newest
    state in it.
    """

    _places: Tensor
    _sides: Tensor
    _members: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec.seen_state_dim)
        self._continuous = Continuous(spec.state_rotations, spec.state_dim)
        self._relative = RelativeTo(spec.relative_state, spec.state_rotations, spec.state_dim)
        self._is_relative = bool(spec.relative_state)
        self._count = len(spec.quaternions)
        places = torch.tensor([[q.first + i for i in range(4)] for q in spec.quaternions], dtype=torch.long)
        members = torch.zeros(self._count, spec.state_dim)
        for member, of_one in zip(members, places, strict=True):
            member[of_one] = 1.0
        self.register_buffer("_places", places.flatten(), persistent=False)
        self.register_buffer("_sides", torch.tensor([q.side for q in spec.quaternions]), persistent=False)
        self.register_buffer("_members", members, persistent=False)

    def fit(self, x: Tensor) -> None:
        """Take the limits from x (..., T, S), or from frames (frames, S) where nothing is relative."""
        super().fit(self._seen(x))

    def forward(self, x: Tensor) -> Tensor:
        """Physical units to [-1, 1]."""
        return super().forward(self._seen(x))

    def _seen(self, x: Tensor) -> Tensor:
        seen = self._continuous(x := self.one_sign(x))
        return self._relative(seen, x[..., -1:, :]) if self._is_relative else seen

    def one_sign(self, x: Tensor) -> Tensor:
        """x (..., S), of whose quaternions those on the other side are replaced by what means the same."""
        if not self._count:
            return x
        q = x.index_select(-1, self._places).unflatten(-1, (self._count, 4))
        turned = ((q * self._sides.to(x.dtype)).sum(-1) < 0).to(x.dtype)  # (..., K)
        return x * (1.0 - 2.0 * turned @ self._members.to(x.dtype))


class ActionLimits(Limits):
    """``Limits`` of action chunks (..., H, A), whose rotations are brought into numbers that jump nowhere.

    What ``Spec.relative_actions`` names is learned relative to a state (..., S) of the same decision. ``fit`` takes
    what is ``learned``.

    Attributes:
        reach: smallest and largest value of each number of the data's actions (2, A), where some are relative.
    """

    reach: Tensor | None

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec.learned_action_dim, hold=True)
        self._continuous = Continuous(spec.action_rotations, spec.action_dim)
        self._relative = RelativeTo(spec.relative_actions, spec.action_rotations, spec.action_dim)
        self.register_buffer("reach", torch.zeros(2, spec.action_dim) if spec.relative_actions else None)

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """Physical units to [-1, 1]: (..., H, A) and (..., S) -> (..., H, ``Spec.learned_action_dim``)."""
        return super().forward(self.learned(x, state))

    def learned(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """What a policy learns, not yet normalised."""
        y = self._continuous(x)
        return y if state is None else self._relative(y, state[..., None, :])

    def inverse(self, y: Tensor, state: Tensor | None = None) -> Tensor:
        """[-1, 1] to physical units."""
        y = super().inverse(y)
        return self._continuous.inverse(y if state is None else self._relative.inverse(y, state[..., None, :]))


class EncoderConfig(Settings):
    """What every encoder has."""

    output_scale: Above0 = 1.0
    """What the embedding is multiplied by. Dispersion makes embeddings tens of times longer: a run without it and with
    that scale tells whether it acts by more.
    """


class Encoder(nn.Module):
    """Maps T observation steps to one embedding per sample; owns its input normalisation (``fit``).

    Args:
        config: settings of the member.
        spec: what the task lets it see; a needed part that is missing raises UsageError.
        n_obs: T.

    Attributes:
        keys: observation arrays it reads, by their names in the store ("state", "point_cloud", ...).
        out_dim: D.
    """

    Config: ClassVar[type[Settings]]
    keys: ClassVar[tuple[str, ...]]
    out_dim: int

    def __init__(self, config: Settings, spec: Spec, n_obs: int) -> None:
        super().__init__()
        self.config, self.spec, self.n_obs = config, spec, n_obs

    def fit(self, arrays: Mapping[str, Tensor]) -> None:
        """Fit the input normalisation to whole data arrays, each (frames, ...).

        Where ``spec.relative_state`` has something, "state" is in windows, (frames, T, S), as ``StateLimits`` takes it.
        """
        raise NotImplementedError(f"{type(self).__name__} has no fit")

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """obs: state (B, T, S), point_cloud (B, T, N, 3), ... in physical units -> (B, D)."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def scaled(self, h: Tensor) -> Tensor:
        """The embedding (B, D) in its ``output_scale``, where the settings have one."""
        scale = getattr(self.config, "output_scale", 1.0)
        return h if scale == 1 else scale * h
