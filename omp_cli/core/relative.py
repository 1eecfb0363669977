"""Actions and states that count from where the robot is: a pose from the hand's, a joint's target from its angle.

A policy that learns them so does as well wherever its robot stands, and where nobody knows in which frame poses were
recorded: the relative trajectories of UMI (Chi et al. 2024, arXiv 2402.10329), the "delta" joints of others. What it
gives out is absolute again: all of a chunk counts from the state that it was decided in.

Legend: n numbers of a vector as the data have it, m as it is learned, S state dimension.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.rotations import spread, whole_matrix
from omp_cli.core.spec import Channels, Relative, Rotation, Spec, learned_dim

_WRITTEN = re.compile(r"(.+?)(:pose)?(?:=(.+?)(?::(axis-angle|euler|quaternion(?:-wxyz)?|angle)(:degrees)?)?)?")
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_KINDS = "axis-angle, euler, quaternion or quaternion-wxyz"
_POSITION = 3
"""Numbers of a position, which a pose begins with."""


class RelativeTo(nn.Module):
    """Maps vectors as they are learned (..., m) to what they are relative to a state, and back; no parameters.

    Numbers are subtracted. A rotation A counts from the state's, S, as S^T A, and an angle likewise. A pose counts from
    the hand's in the hand's frame: its position p is S^T (p - s), where s is the hand's.

    Args:
        relatives: what is relative, in the order of their places.
        rotations: of the vector.
        width: n.
    """

    def __init__(self, relatives: Sequence[Relative], rotations: Sequence[Rotation], width: int) -> None:
        super().__init__()
        self._relatives = tuple(relatives)
        cuts = [cut for part in relatives for cut in (part.first, part.places.stop)]
        learned = [learned_dim(cut, [r for r in rotations if r.first < cut]) for cut in (*cuts, width)]
        self._sizes = [b - a for a, b in pairwise([0, *learned])]

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """Learned numbers x (..., m) relative to the state (..., S), which is as the data have it: (..., m)."""
        return self._each(x, state, _from_state)

    def inverse(self, y: Tensor, state: Tensor) -> Tensor:
        """What is relative to the state (..., S), absolute again: (..., m)."""
        return self._each(y, state, _with_state)

    def _each(self, x: Tensor, state: Tensor, change: Callable[[Relative, Tensor, Tensor], Tensor]) -> Tensor:
        if not self._relatives:
            return x
        parts = list(x.split(self._sizes, -1))
        for place, relative in enumerate(self._relatives):
            parts[2 * place + 1] = change(relative, parts[2 * place + 1], state)
        return torch.cat(parts, -1)


def with_relative(spec: Spec, actions: Sequence[str], state: Sequence[str]) -> Spec:
    """The spec of a policy that learns ``actions`` and sees ``state`` relative to the state that it saw last.

    A number of the action that never changes in the data stays absolute: what holds a motor does not move with it.

    Args:
        spec: of the data.
        actions: what of the action, as ``ChunkConfig.relative`` has it.
        state: what of the state, as ``ChunkConfig.relative_state`` has it.

    Raises:
        UsageError: there is no such number, or what it counts from is not said, or is of another kind.
    """
    of_action = _Reader("chunk.relative", "action", spec)
    moved = {place for triple in spec.displacements for place in triple}
    relative_actions = of_action.all(actions)
    for place in (place for part in relative_actions for place in part.places if place in moved):
        raise UsageError(f"chunk.relative: {of_action.names[place]} is a displacement, which is relative already")
    moving = [part for part in relative_actions if part.count > 1 or not _is_still(spec, part.first)]
    seen = _Reader("chunk.relative_state", "state", spec).all(state)
    return spec.model_copy(update={"relative_actions": _together(moving), "relative_state": _together(seen)})


def _together(parts: Sequence[Relative]) -> tuple[Relative, ...]:
    """The parts, of which numbers that lie side by side are one."""
    found: list[Relative] = []
    for part in parts:
        last = found[-1] if found else None
        if last is not None and last.rotation is part.rotation is None and _follows(last, part):
            found[-1] = last.model_copy(update={"count": last.count + part.count})
        else:
            found.append(part)
    return tuple(found)


def _follows(one: Relative, other: Relative) -> bool:
    return (one.first + one.count, one.base + one.count) == (other.first, other.base)


class _Reader:
    """Reads what is relative, with the names and rotations of action or state."""

    def __init__(self, setting: str, key: Literal["action", "state"], spec: Spec) -> None:
        self.setting, self.key, self.spec = setting, key, spec
        self.names, self.bases = _names(spec, key), _names(spec, "state")
        self._rotations: tuple[Rotation, ...] = getattr(spec, f"{key}_rotations")

    def all(self, texts: Sequence[str]) -> tuple[Relative, ...]:
        """What they mean, in the order of its places."""
        parts = sorted((part for text in texts for part in self._parts(text)), key=lambda part: part.first)
        for one, following in pairwise(parts):
            if one.places.stop > following.first:
                raise UsageError(f"{self.setting}: {self.names[following.first]} is named twice")
        return tuple(parts)

    def _parts(self, text: str) -> Iterator[Relative]:
        """Of one text, parts that are each a number, an angle, a rotation or a pose."""
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise UsageError(f"{self.setting}: {text!r} is not what is relative, as 0-5, gripper, 0:pose or 3=10 are")
        what, pose, base, kind, degrees = found.groups()
        span = self._span(what, self.names, self.key)
        place, at, turns = span.start, None if base is None else self._base(text, base), False
        while place in span:
            rotation = self._rotation(text, place, bool(pose))
            first = self._same_name(text, place) if at is None else at
            count, of_base, end = 1, None, first + 1
            if rotation is not None:
                said = None if kind is None else (kind, degrees is not None)
                of_base = self._counted_from(text, first + rotation.first - place, said, rotation)
                count, end, turns = rotation.places.stop - place, of_base.places.stop, True
            if end > len(self.bases):
                raise UsageError(f"{self.setting}: {text}: the state has {len(self.bases)} numbers, counted from 0")
            yield Relative(first=place, base=first, count=count, rotation=of_base)
            place, at = place + count, None if at is None else end
        if place > span.stop > span.start + 1:
            raise UsageError(f"{self.setting}: {text}: it ends within a rotation, which goes on to {place - 1}")
        if kind is not None and not turns:
            raise UsageError(f"{self.setting}: {text}: {what} has no rotation, so {kind} means nothing here")

    def _base(self, text: str, base: str) -> int:
        """The place in the state that the first number counts from."""
        span = self._span(base, self.bases, "state")
        if len(span) > 1:
            raise UsageError(f"{self.setting}: {text}: {base} are {len(span)} numbers", f"name the first: {span.start}")
        return span.start

    def _span(self, what: str, names: Sequence[str], key: str) -> range:
        """The places that a name, a place or a range of places means."""
        if what in names:
            return range(names.index(what), names.index(what) + 1)
        ends = _RANGE.fullmatch(what)
        first, last = ends.groups(what) if ends else ("0", str(len(names)))
        span = range(int(first), int(last) + 1)
        if not span or span[-1] >= len(names):
            have = f"the {key} has {len(names)} numbers, counted from 0, and none is called so"
            hint = did_you_mean(what, names) or "places do as well as names"
            raise UsageError(f"{self.setting}: {what}: {have}", hint)
        return span

    def _rotation(self, text: str, place: int, pose: bool) -> Rotation | None:
        """The rotation of a pose, or the one that begins at a place; None for a number."""
        begins = place + _POSITION if pose else place
        rotation = next((r for r in self._rotations if begins in r.places), None)
        if pose and (rotation is None or rotation.first != begins or rotation.kind == "angle"):
            hint = f"prepare the data with --set {self.key}_rotations={begins}:KIND ({_KINDS})"
            raise UsageError(
                f"{self.setting}: {text}: a pose is x, y, z and a rotation, and at {begins} begins none",
                hint if begins < len(self.names) else "",
            )
        if rotation is not None and rotation.first != begins:
            what = f"{self.names[place]} is a part of the rotation {rotation}"
            raise UsageError(f"{self.setting}: {text}: {what}", "name the rotation's first number")
        return rotation

    def _same_name(self, text: str, place: int) -> int:
        """The place in the state of the number that is called as that of the action."""
        if (name := self.names[place]) in self.bases:
            return self.bases.index(name)
        raise UsageError(
            f"{self.setting}: {text}: the state has no {name}", f"say what it counts from: {text}=PLACE of the state"
        )

    def _counted_from(self, text: str, place: int, said: tuple[str, bool] | None, rotation: Rotation) -> Rotation:
        """The state's rotation at a place, which one of the action counts from, as the text or the data say it."""
        known = next((r for r in self.spec.state_rotations if r.first == place), None)
        if said is not None:
            told = Rotation.model_validate({"first": place, "kind": said[0], "degrees": said[1]})
            for r in self.spec.state_rotations:
                if set(r.places) & set(told.places) and str(r) != str(told):
                    raise UsageError(f"{self.setting}: {text}: the data have {r} in the state there, not {told}")
            if told.degrees and told.is_quaternion:
                raise UsageError(f"{self.setting}: {text}: a quaternion is not in degrees")
            known = known or told
        if known is None:
            raise UsageError(
                f"{self.setting}: {text}: nothing says which rotation begins at {place} of the state",
                f"say it, {text.partition('=')[0]}=PLACE:KIND ({_KINDS}), or prepare the data with state_rotations",
            )
        if (known.kind == "angle") != (rotation.kind == "angle"):
            raise UsageError(f"{self.setting}: {text}: {rotation} of the action cannot count from {known} of the state")
        return known


def _is_still(spec: Spec, place: int) -> bool:
    """Whether a number of the action is known never to change."""
    channels = spec.action_channels
    return channels is not None and channels.low[place : place + 1] == channels.high[place : place + 1] != ()


def _names(spec: Spec, key: Literal["action", "state"]) -> tuple[str, ...]:
    channels: Channels | None = getattr(spec, f"{key}_channels")
    if channels is not None:
        return channels.names
    return tuple(f"{key}[{place}]" for place in range(getattr(spec, f"{key}_dim")))


def _from_state(part: Relative, x: Tensor, state: Tensor) -> Tensor:
    """A part of what is learned, absolute (..., k), as it is relative to the state (..., S)."""
    if part.rotation is None:
        return x - _slice(state, part.base, part.count)
    mine = spread(part.rotation, _slice(state, part.rotation.first, part.rotation.numbers))
    if part.rotation.kind == "angle":
        (c, s), (c0, s0) = x.split(1, -1), mine.split(1, -1)
        return torch.cat([c * c0 + s * s0, s * c0 - c * s0], -1)
    hand, position, turned = _of_pose(part, mine, x)
    seen = _times(hand.mT, turned)[..., :2, :].flatten(-2)
    if position is None:
        return seen
    away = position - _slice(state, part.base, _POSITION)
    return torch.cat([_times(hand.mT, away[..., None]).squeeze(-1), seen], -1)


def _with_state(part: Relative, y: Tensor, state: Tensor) -> Tensor:
    """The inverse of ``_from_state``."""
    if part.rotation is None:
        return y + _slice(state, part.base, part.count)
    mine = spread(part.rotation, _slice(state, part.rotation.first, part.rotation.numbers))
    if part.rotation.kind == "angle":
        (c, s), (c0, s0) = y.split(1, -1), mine.split(1, -1)
        return torch.cat([c * c0 - s * s0, s * c0 + c * s0], -1)
    hand, away, turned = _of_pose(part, mine, y)
    absolute = _times(hand, turned)[..., :2, :].flatten(-2)
    if away is None:
        return absolute
    position = _times(hand, away[..., None]).squeeze(-1) + _slice(state, part.base, _POSITION)
    return torch.cat([position, absolute], -1)


def _of_pose(part: Relative, mine: Tensor, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """The hand's rotation (..., 3, 3); of a pose or a rotation the position, if it has one, and the rotation."""
    assert part.rotation is not None
    position, rows = x.split([x.shape[-1] - 6, 6], -1)
    hand, turned = (whole_matrix(r).unflatten(-1, (3, 3)) for r in (mine, rows))
    return hand, position if part.rotation.first > part.base else None, turned


def _times(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product, which no autocast lowers to bfloat16."""
    return (a[..., :, :, None] * b[..., None, :, :]).sum(-2)


def _slice(state: Tensor, first: int, count: int) -> Tensor:
    return state[..., first : first + count]
