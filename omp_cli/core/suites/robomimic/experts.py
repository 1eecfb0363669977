"""Scripted experts for robosuite's manipulation tasks: a phase machine per hand, driven by an imperfect operator.

The experts read the simulator's state, give OSC_POSE displacements (``plans`` says where to) and are closed
loop: they servo the thing they carry, notice that they lost it, and try again. What makes one demonstration differ from
the next is the operator: how fast, how steady, and how well aimed the grasps are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omp_cli.core.base.config import AtLeast0, Settings
from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.suites.robomimic.phases import Hand, Phase, Pick, Pose, wrap
from omp_cli.core.suites.robomimic.plans import PLANS

MAX_STEP, MAX_TURN = 0.05, 0.5
"""What an action of 1 stands for: metres and radians of the controller's ``output_max``."""

_GAIN = 1.5
"""Commanded displacement per remaining one: the controller covers a third of a command within its control step."""

_FUNNEL, _BESIDE = 3.0, 0.01
"""An open hand stays this many times higher over a thing as it is farther than these metres to its side."""

_SLACK = 2.0
"""Tolerances are wider by this multiple of the operator's noise: nobody waits for what he cannot do."""

_PATIENCE = 3
"""Control steps for which a phase may do without what it needs."""

_OU_RATE = 0.15
"""Share of the disturbance that is forgotten within a control step."""

_TURN_NOISE = 0.25
"""Disturbance of rotations by that of displacements."""

_SHARES = np.repeat([1.0, _TURN_NOISE], 3)
"""Of a disturbance in displacement and rotation."""

_TREMOR = 0.4
"""Share of the disturbance that stays at rest; the rest grows with the commanded displacement, as people's does."""


class Operator(Settings):
    """The operator who demonstrates: how fast, how steadily and how patiently."""

    speed: float = Field(1.0, gt=0, le=1)
    """Largest commanded displacement as a share of the controller's (0.05 m, 0.5 rad), before the disturbance."""
    speed_spread: float = Field(0.0, ge=0, lt=1)
    """Share of the speed by which a whole demonstration may be slower, uniform."""
    noise: AtLeast0 = 0.0
    """Standard deviation of an Ornstein-Uhlenbeck disturbance of the displacement, as a share of the fastest commanded
    one (a quarter of that on rotations); less where the hand slows down; correlated over a third of a second.
    """
    grasp_offset: AtLeast0 = 0.0
    """Standard deviation in metres, in x and in y, of the error of the aimed grasp; drawn anew, half as large, each
    time that the grasp is tried again.
    """
    disturbance: AtLeast0 = 0.0
    """Standard deviation of an Ornstein-Uhlenbeck disturbance of what is executed, as a share of the controller's
    largest displacement (a quarter of that on rotations). What the operator wanted is recorded, so a demonstration
    shows how to come back from beside the way (DART, Laskey et al. 2017, arXiv 1703.09327, at a fixed level).
    """

    def recorded(self) -> str:
        """What decides a recording, as JSON; without settings that came later, where they are as if they were not."""
        return self.model_dump_json(exclude=set() if self.disturbance else {"disturbance"})


OPERATORS: Mapping[str, Operator] = {
    "clean": Operator(noise=0.05, grasp_offset=0.002),
    "disturbed": Operator(noise=0.05, grasp_offset=0.002, disturbance=0.12),
    "noisy": Operator(speed=0.7, speed_spread=0.5, noise=0.45, grasp_offset=0.02),
}
"""By name. "disturbed" is the clean one, whose hands are pushed, and who comes back. "noisy" misses grasps and runs out
of time often enough that reinforcement learning has room to improve.
"""


class Tremble:
    """An Ornstein-Uhlenbeck process (n,) of variance 1, one value a control step.

    Args:
        size: n.
        random: where it draws from.
    """

    def __init__(self, size: int, random: np.random.Generator) -> None:
        self._random = random
        self.value = random.normal(0.0, 1.0, size)

    def step(self) -> NDArray[np.float64]:
        """The next value."""
        self.value += -_OU_RATE * self.value
        self.value += np.sqrt(_OU_RATE * (2.0 - _OU_RATE)) * self._random.normal(0.0, 1.0, len(self.value))
        return self.value


class Demonstrator:
    """A demonstrator of one episode.

    Args:
        env: a robosuite environment with OSC_POSE displacements, just reset.
        picks: what each hand does, by robot.
        operator: how well the operator works.
        seed: seed of the operator's own random numbers.
    """

    def __init__(self, env: Any, picks: tuple[tuple[Pick, ...], ...], operator: Operator, seed: int) -> None:
        random = np.random.default_rng(seed)
        pace = operator.speed * (1.0 - random.uniform(0.0, operator.speed_spread))
        self._arms = [_Arm(Hand(env, i), todo, operator, pace, random) for i, todo in enumerate(picks)]
        self._disturbance = operator.disturbance
        self._pushed = Tremble(6 * len(picks), np.random.default_rng([seed, 1]))

    def action(self) -> NDArray[np.float32]:
        """(A,) in [-1, 1] for the present state; per arm displacement, rotation vector, gripper (-1 open, 1 closed)."""
        return np.concatenate([arm.action() for arm in self._arms]).astype(np.float32)

    def executed(self, action: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """What is executed of an action (A,): itself, or what a disturbance of the operator's hands makes of it."""
        found = np.array(action, np.float64)
        if self._disturbance:
            hands = found.reshape(len(self._arms), -1)[:, :6]
            hands += self._disturbance * _SHARES * self._pushed.step().reshape(-1, 6)
        return np.clip(found, -1.0, 1.0)

    @property
    def phases(self) -> tuple[str, ...]:
        """Name of the present phase of each arm."""
        return tuple(arm.phase.name for arm in self._arms)


def make_expert(task: str, env: Any, operator: Operator, seed: int) -> Demonstrator:
    """The demonstrator for an environment that has just been reset.

    Args:
        task: "lift", "can", "square" or "transport".
        env: the raw robosuite environment.
        operator: who demonstrates.
        seed: seed of the operator's random numbers; the global generator is not touched.

    Raises:
        UsageError: there is no plan for the task.
    """
    if task not in PLANS:
        raise UsageError(f"no scripted expert for task {task!r}", did_you_mean(task, PLANS))
    return Demonstrator(env, PLANS[task], operator, seed)


class _Arm:
    """One hand that works through its picks."""

    def __init__(
        self, hand: Hand, picks: tuple[Pick, ...], operator: Operator, speed: float, random: np.random.Generator
    ) -> None:
        self._hand, self._picks, self._operator, self._speed, self._random = hand, picks, operator, speed, random
        self._tremble = Tremble(6, random)
        self._pick, self._attempt, self._lost = -1, 0, 0
        self._begin_next()

    @property
    def phase(self) -> Phase:
        return self._picks[self._pick].phases[self._index]

    @property
    def _pace(self) -> float:
        """Largest displacement that is commanded now."""
        return min(self._speed, self.phase.pace)

    def action(self) -> NDArray[np.float64]:
        """(7,) for the present state."""
        self._advance()
        gap, turn = self._remaining()
        rotation = self._hand.rotation_towards(turn, self.phase.lean)
        command = np.concatenate([self._limited(gap / MAX_STEP), self._limited(rotation / MAX_TURN)])
        effort = _TREMOR * self._speed + (1.0 - _TREMOR) * float(np.linalg.norm(command[:3]))
        noise = self._operator.noise * effort * self._tremble.step() * _SHARES
        return np.append(np.clip(command + noise, -1.0, 1.0), 1.0 if self.phase.closed else -1.0)

    def _limited(self, displacement: NDArray[np.float64]) -> NDArray[np.float64]:
        """The displacement (3,) times the gain, no longer than the operator's speed."""
        wanted = _GAIN * displacement
        return wanted * min(1.0, self._pace / max(float(np.linalg.norm(wanted)), 1e-9))

    def _remaining(self) -> tuple[NDArray[np.float64], float]:
        """Way (3,) in metres and turn about the vertical in radians to what the phase wants."""
        phase, hand = self.phase, self._hand
        target = self._fixed or phase.target(hand)
        moved = phase.moved(hand) if phase.moved else Pose(hand.position, hand.yaw)
        gap = target.position - moved.position
        if phase.aimed:
            gap = gap + self._offset
            if not phase.closed:  # from above, not from the side, which would knock the thing over
                gap[2] += np.clip(_FUNNEL * (np.linalg.norm(gap[:2]) - _BESIDE), 0.0, 0.1)
        if phase.moved is None:
            return gap, hand.turn_to(target)
        if target.yaw is None or moved.yaw is None:
            return gap, 0.0
        return gap, wrap(target.yaw - moved.yaw, target.fold)

    def _advance(self) -> None:
        """On to the next phase when this one is done or takes too long; start over when what it needs is lost."""
        phase = self.phase
        self._steps += 1
        lost = phase.needs is not None and not phase.needs(self._hand)
        self._lost = self._lost + 1 if lost else 0
        if self._lost > _PATIENCE + phase.grace:
            self._begin(self._pick)
            return
        gap, turn = self._remaining()
        slack = 1.0 + _SLACK * self._operator.noise
        arrived = np.linalg.norm(gap) < slack * phase.near and abs(turn) < slack * phase.turn_near
        arrived = arrived and self._hand.speed < slack * phase.rest
        if arrived and (phase.until is None or phase.until(self._hand)):
            self._arrived += 1
        late = phase.limit is not None and self._steps > phase.limit / self._pace
        if not (late or self._arrived > phase.steps):
            return
        if self._index + 1 < len(self._picks[self._pick].phases):
            self._enter(self._index + 1)
        elif self._pick + 1 < len(self._picks):
            self._begin_next()

    def _begin_next(self) -> None:
        self._begin(self._pick + 1)

    def _begin(self, pick: int) -> None:
        """Start a pick, aiming anew."""
        self._attempt = self._attempt + 1 if pick == self._pick else 0
        self._pick = pick
        spread = self._operator.grasp_offset * 0.5**self._attempt
        self._offset = np.append(self._random.normal(0.0, spread, 2), 0.0)
        self._enter(0)

    def _enter(self, index: int) -> None:
        self._index, self._steps, self._arrived, self._lost = index, 0, 0, 0
        self._fixed = self.phase.target(self._hand) if self.phase.fixed else None
