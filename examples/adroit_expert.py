"""Demonstrations of Adroit without a trained expert: a sampling-based planner that has the simulator as its model.

    python examples/adroit_expert.py pen --episodes 20 --out pen-planned.hdf5
    omp prepare adroit --task pen --demos-file pen-planned.hdf5

Before each action the planner rolls many sequences of actions out from the simulator's state (``mujoco.rollout``:
threads, no Python between the steps), refits a Gaussian to the best of them, and executes the first action of the best
(cross-entropy method with coloured noise, kept elites and shifted plans, as iCEM, Pinneri et al., CoRL 2020). Nothing
is learned. Each finished episode is a file beside ``--out`` and is never planned twice: start the same line again after
an interruption, or with a larger ``--episodes``. Start states come from the range of demonstrations
(core/base/seeds.py), so no evaluation episode starts there. What reached the goal is written in D4RL's layout, one row
per action of two simulator steps, with the simulator's states in ``infos``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from mujoco import rollout
from numpy.typing import NDArray

from omp_cli.core.base.files import atomic
from omp_cli.core.base.seeds import demo_seed
from omp_cli.core.suites.adroit import Adroit, AdroitConfig, AdroitEnv

Array = NDArray[np.float64]
REPEAT = 2
SUBSTEPS = 2
"""Of a plan in 10 ms; the simulator takes five. That is 2.5 times faster and ranks plans alike (correlation 0.998)."""
HELD = 10
"""So many actions have to be at the goal, as in DP3's recordings, the last one among them."""
BODY, SITE, JOINT = mujoco.mjtObj.mjOBJ_XBODY, mujoco.mjtObj.mjOBJ_SITE, mujoco.mjtObj.mjOBJ_JOINT
POSITION, AXIS, ANGLE, VELOCITY, SPIN = (
    getattr(mujoco.mjtSensor, f"mjSENS_{name}")
    for name in ("FRAMEPOS", "FRAMEZAXIS", "JOINTPOS", "FRAMELINVEL", "FRAMEANGVEL")
)


@dataclass(frozen=True)
class Goal:
    """What a plan is judged by.

    Attributes:
        sensors: name to (type, kind of object, object), read in every simulator step of a plan.
        cost: of readings {name: (K, T, n)} and the episode's environment, (K, T).
        std: of the first plans, in units of the actions' range.
        horizon: actions of a plan.
    """

    sensors: Mapping[str, tuple[Any, Any, str]]
    cost: Callable[[Mapping[str, Array], AdroitEnv], Array]
    std: float
    horizon: int


def norm(vectors: Array) -> Array:
    """Length along the last axis."""
    return np.linalg.norm(vectors, axis=-1)


def pen_cost(seen: Mapping[str, Array], env: AdroitEnv) -> Array:
    """The angle to the target's direction, the way from the palm, haste (which loses it), a fall."""
    sim, data = env.sim, env.data
    target = (data.site_xpos[sim.tar_t_site_id] - data.site_xpos[sim.tar_b_site_id]) / sim.tar_length
    similarity = np.clip(seen["axis"] @ target, -1.0, 1.0)
    away = norm(seen["object"] - data.site_xpos[sim.eps_ball_site_id])
    height = seen["object"][..., 2]
    haste = 0.5 * norm(seen["velocity"]) + 0.03 * norm(seen["spin"])
    reached = (similarity > 0.95) & (away < 0.075)
    return np.arccos(similarity) + 15.0 * np.maximum(away - 0.02, 0.0) + haste + 10.0 * (height < 0.15) - 2.0 * reached


def door_cost(seen: Mapping[str, Array], env: AdroitEnv) -> Array:
    """The way to the handle, then the latch, then the hinge."""
    away = norm(seen["palm"] - seen["handle"])
    latch, hinge = seen["latch"][..., 0], seen["hinge"][..., 0]
    return 2.0 * away - 0.5 * np.minimum(latch, 1.6) + 3.0 * np.maximum(1.5 - hinge, 0.0)


def hammer_cost(seen: Mapping[str, Array], env: AdroitEnv) -> Array:
    """The way to the handle, the hammer's height, its head's way to the nail, and the nail."""
    grip, reach = norm(seen["palm"] - seen["object"]), norm(seen["head"] - seen["nail"])
    left = norm(seen["nail"] - seen["place"])
    return 2.0 * grip + 2.0 * reach + 30.0 * left - 0.5 * (seen["object"][..., 2] > 0.06)


GOALS: Mapping[str, Goal] = {
    "pen": Goal(
        {
            "object": (POSITION, BODY, "Object"),
            "axis": (AXIS, BODY, "Object"),
            "velocity": (VELOCITY, BODY, "Object"),
            "spin": (SPIN, BODY, "Object"),
        },
        pen_cost,
        0.35,
        14,
    ),
    "door": Goal(
        {
            "palm": (POSITION, SITE, "S_grasp"),
            "handle": (POSITION, SITE, "S_handle"),
            "latch": (ANGLE, JOINT, "latch"),
            "hinge": (ANGLE, JOINT, "door_hinge"),
        },
        door_cost,
        0.5,
        16,
    ),
    "hammer": Goal(
        {
            "palm": (POSITION, SITE, "S_grasp"),
            "object": (POSITION, BODY, "Object"),
            "head": (POSITION, SITE, "tool"),
            "nail": (POSITION, SITE, "S_target"),
            "place": (POSITION, SITE, "nail_goal"),
        },
        hammer_cost,
        0.5,
        20,
    ),
}


class Model:
    """The simulator of an environment with the sensors that a goal needs, in batches.

    Args:
        env: whose present episode is planned.
        goal: what plans are judged by.
        threads: of the rollouts.
    """

    def __init__(self, env: AdroitEnv, goal: Goal, threads: int) -> None:
        spec = mujoco.MjSpec.from_file(env.sim.fullpath)
        for name, (kind, of, object_) in goal.sensors.items():
            spec.add_sensor(name=f"goal_{name}", type=kind, objtype=of, objname=object_)
        self.model = spec.compile()
        for name in ("actuator_gainprm", "actuator_biasprm", "body_pos", "body_quat", "site_pos"):
            getattr(self.model, name)[:] = getattr(env.model, name)  # the environment's gains, and this episode's goal
        self.model.opt.timestep = env.sim.dt / SUBSTEPS
        self._env, self._goal = env, goal
        self._data = [mujoco.MjData(self.model) for _ in range(threads)]
        self._state = np.empty(mujoco.mj_stateSize(self.model, mujoco.mjtState.mjSTATE_FULLPHYSICS))

    def costs(self, plans: Array) -> Array:
        """Mean cost (K,) of plans (K, H, A) from the environment's present state."""
        sim = self._env.sim
        mujoco.mj_getState(self._env.model, self._env.data, self._state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        control = np.repeat(sim.act_mean + np.clip(plans, -1.0, 1.0) * sim.act_rng, REPEAT * SUBSTEPS, axis=1)
        _, readings = rollout.rollout(
            self.model, self._data, self._state[None], control, initial_warmstart=self._env.data.qacc_warmstart[None]
        )
        readings = readings[:, SUBSTEPS - 1 :: SUBSTEPS]  # once per 10 ms
        seen = {}
        for name in self._goal.sensors:
            sensor = self.model.sensor(f"goal_{name}")
            seen[name] = readings[..., int(sensor.adr[0]) : int(sensor.adr[0] + sensor.dim[0])]
        cost = np.where(np.isfinite(readings).all(axis=-1), self._goal.cost(seen, self._env), 1e3)
        weights = np.linspace(1.0, 2.0, cost.shape[1])  # where a plan ends counts more than how it goes there
        return (cost * weights).sum(axis=1) / weights.sum()


def coloured(random: np.random.Generator, shape: tuple[int, int, int], beta: float) -> Array:
    """Noise (K, H, A) of unit variance whose power falls with frequency to the ``beta``."""
    count, horizon, dims = shape
    frequencies = np.fft.rfftfreq(horizon)
    frequencies[0] = 1.0 / horizon
    scale = frequencies ** (-beta / 2.0)
    spectrum = random.normal(size=(2, count, dims, len(scale))) * scale
    noise = np.fft.irfft(spectrum[0] + 1j * spectrum[1], n=horizon, axis=-1)
    return np.swapaxes(noise / noise.std(axis=-1, keepdims=True).mean(), 1, 2)


class Planner:
    """The cross-entropy method in a receding horizon.

    Args:
        model: rolls plans out.
        goal: its horizon and spread.
        actions: A.
        args: the command line.
        random: of the noise.
    """

    def __init__(
        self, model: Model, goal: Goal, actions: int, args: argparse.Namespace, random: np.random.Generator
    ) -> None:
        self._model, self._goal, self._args, self._random = model, goal, args, random
        self._mean = np.zeros((goal.horizon, actions))
        self._elites = self._mean[None]
        self._last = np.zeros(actions)

    def act(self) -> Array:
        """The next action (A,)."""
        goal, args = self._goal, self._args
        std = np.full_like(self._mean, goal.std)
        for _ in range(args.iterations):
            noise = coloured(self._random, (args.samples, *self._mean.shape), args.beta)
            plans = np.concatenate([np.clip(self._mean + std * noise, -1.0, 1.0), self._elites, self._mean[None]])
            steps = np.diff(
                np.concatenate([np.broadcast_to(self._last, (len(plans), 1, len(self._last))), plans], 1), axis=1
            )
            cost = self._model.costs(plans) + args.smooth * (steps**2).mean(axis=(1, 2))
            self._elites = plans[np.argsort(cost)[: args.elites]]
            self._mean = 0.9 * self._elites.mean(axis=0) + 0.1 * self._mean
            std = 0.9 * self._elites.std(axis=0) + 0.1 * std
        self._last = self._elites[0, 0]
        self._mean, self._elites = (
            np.concatenate([x[..., 1:, :], x[..., -1:, :]], axis=-2) for x in (self._mean, self._elites)
        )
        return self._last


def plan_episode(env: AdroitEnv, goal: Goal, seed: int, args: argparse.Namespace) -> dict[str, NDArray[Any]]:
    """One episode's rows by their names in D4RL's layout, and "success" after each action."""
    env.reset(seed)
    planner = Planner(Model(env, goal, args.threads), goal, env.spec.action_dim, args, np.random.default_rng(seed))
    steps = args.steps or env.spec.max_steps
    rows: dict[str, list[Any]] = {}
    for step in range(steps):
        row: dict[str, Any] = {"observations": env.observe(["full_state"])["full_state"]}
        row |= {f"infos/{name}": value for name, value in env.simulator_state().items()}
        action = planner.act().astype(np.float32)
        outcome = env.step(action)
        row |= {"actions": action, "rewards": np.float32(outcome.reward), "terminals": np.bool_(outcome.terminated)}
        row |= {"timeouts": np.bool_(step == steps - 1), "success": np.bool_(outcome.success)}
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
        if outcome.terminated:
            break
    return {name: np.stack(values) for name, values in rows.items()}


def good(rows: Mapping[str, NDArray[Any]]) -> bool:
    """Whether an episode is a demonstration."""
    success = rows["success"]
    return bool(success.sum() >= HELD and success[-1] and not rows["terminals"].any())


def run(args: argparse.Namespace) -> Path | None:
    """Plan what is not there yet; the file of the successes so far, or None when there was none."""
    config = AdroitConfig(state="observation", cloud=None, repeat=REPEAT)
    env, goal = Adroit(config).make(args.task), GOALS[args.task]
    folder = args.out.with_name(args.out.name + ".episodes")
    folder.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(json.dumps(settings(args), sort_keys=True).encode()).hexdigest()[:6]
    kept: list[dict[str, NDArray[Any]]] = []
    for index in range(args.episodes):
        file = folder / f"{key}-{index:05d}.npz"
        if not file.exists():
            start = time.perf_counter()
            rows = plan_episode(env, goal, demo_seed(args.seed, args.task, index), args)
            with atomic(file) as temporary:
                np.savez(temporary, **rows)
            seconds = f", {time.perf_counter() - start:.0f} s"
        else:
            with np.load(file) as stored:
                rows, seconds = dict(stored), ""
        success = rows["success"]
        verdict = "kept" if good(rows) else "failed"
        if good(rows):
            kept.append(rows)
            write_d4rl(args.out, kept, {"repeat": REPEAT, "recorded": {"planner": "icem", **settings(args)}})
        print(
            f"episode {index}: {len(success)} actions, {int(success.sum())} at the goal, {verdict}{seconds}", flush=True
        )
    print(f"{len(kept)} of {args.episodes} episodes kept: {HELD} actions or more at the goal, the last one among them")
    return Path(args.out) if kept else None


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What decides an episode besides its seed; JSON types."""
    return {name: value for name, value in vars(args).items() if name not in ("out", "threads", "episodes")}


def write_d4rl(path: Path, episodes: Sequence[Mapping[str, NDArray[Any]]], notes: dict[str, Any]) -> None:
    """An HDF5 file of all episodes one after the other; ``notes`` go into its attribute ``omp``."""
    import h5py

    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        for name in episodes[0]:
            if name != "success":
                file[name] = np.concatenate([episode[name] for episode in episodes])
        file.attrs["omp"] = json.dumps(notes)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=sorted(GOALS))
    parser.add_argument("--out", type=Path, required=True, help="HDF5 file to write; episodes are kept beside it")
    parser.add_argument("--episodes", type=int, default=20, help="to try; those that fail are left out")
    parser.add_argument("--seed", type=int, default=0, help="of the start states")
    parser.add_argument("--threads", type=int, default=1, help="of the rollouts; does not change what comes out")
    parser.add_argument("--samples", type=int, default=60, help="plans per iteration")
    parser.add_argument("--iterations", type=int, default=2, help="per action")
    parser.add_argument("--elites", type=int, default=8, help="plans that the next Gaussian is fitted to")
    parser.add_argument("--beta", type=float, default=2.5, help="exponent of the noise: larger is smoother")
    parser.add_argument("--smooth", type=float, default=0.3, help="cost of changes of the action")
    parser.add_argument("--steps", type=int, help="actions of an episode (default: the task's)")
    return parser.parse_args(words)


if __name__ == "__main__":
    run(arguments())
