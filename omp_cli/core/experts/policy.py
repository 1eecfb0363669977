"""Policies of omp as experts: a run, a checkpoint or an export acts as it does in ``omp eval``.

History, chunks and noise are the player's (``deploy.player``), and the noise of an episode is that of its seed, so that
the same expert records the same episode again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import checked
from omp_cli.core.base.device import one_thread
from omp_cli.core.base.errors import DataError
from omp_cli.core.checkpoint import META
from omp_cli.core.data.reference import Reference
from omp_cli.core.deploy.decider import Decider
from omp_cli.core.deploy.deciders import open_decider
from omp_cli.core.deploy.player import Player
from omp_cli.core.experts.base import Expert, Frame, check_actions
from omp_cli.core.suites.base import TaskEnv


class OfPolicy(Expert):
    """A policy of omp, on the CPU.

    Args:
        decider: the policy.
    """

    def __init__(self, decider: Decider) -> None:
        signature = decider.signature
        weights = f", weights {decider.weights}" if decider.weights else ""
        self.kind = f"a policy of omp, from {'an' if decider.kind == 'export' else 'a'} {decider.kind}{weights}"
        self.path, self.task, self.suite = decider.path, signature.task, decider.suite
        self._decider, self._player = decider, Player(decider)
        self._seen_in: TaskEnv | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """See the base class."""
        return tuple(self._decider.signature.arrays)

    def start(self, env: TaskEnv, seed: int) -> None:
        """See the base class; pictures are compared with the one of the policy's data, where it has one."""
        name, signature, spec = str(self.path), self._decider.signature, env.spec
        here, named = f"{spec.suite}/{spec.task}", f"{signature.suite}/{signature.task}"
        if signature.suite != spec.suite:
            raise DataError(f"{name}: a policy of {named}, which cannot demonstrate {here}", "check the benchmark")
        check_actions(name, signature.action_dim, env)
        for key, array in signature.arrays.items():
            shown = _shown(env, key)
            if shown is None:
                raise DataError(f"{name}: reads {key!r}, which {here} does not show with these settings")
            fits = shown == array.shape
            if key == "point_cloud":
                fits |= shown[0] > array.shape[0] and spec.cloud_in_fps_order
            if not fits:
                hint = f"--points {array.shape[0]}" if key == "point_cloud" else "check --task, and how it is shown"
                raise DataError(f"{name}: reads {key!r} {array.shape}, {here} shows {shown}", hint)
        if self._seen_in is not env:
            self._compare(env, seed)
            self._seen_in = env
        self._player.reset(seed)

    def act(self, frame: Frame) -> NDArray[np.float32]:
        """See the base class; Diverged when the action is not finite."""
        wanted = self._decider.signature.arrays
        seen = {key: frame[key][: wanted[key].shape[0]] if key == "point_cloud" else frame[key] for key in wanted}
        with one_thread():
            return self._player.act(seen)

    def sha256(self) -> str:
        """See the base class."""
        return self._decider.sha256()

    def facts(self) -> dict[str, Any]:
        """Its task, evaluations per decision, and how chunks are played."""
        signature = self._decider.signature
        return {"task": signature.task, "nfe": signature.nfe, "execute": signature.execute, "n_obs": signature.n_obs}

    def _compare(self, env: TaskEnv, seed: int) -> None:
        """DataError where the environment's pictures are not those of the policy's data; the episode begins anew."""
        if self._decider.reference is None or "img" not in self.keys:
            return
        reference = checked(Reference, self._decider.reference, f"{self.path}: its reference")
        reference.check(env.img_in(np.array(reference.state)), f"{env.spec.suite}/{env.spec.task}")
        env.reset(seed)


def read_policy(path: Path) -> OfPolicy:
    """The policy of a run (its newest checkpoint), a checkpoint or an export, or of the file that describes one.

    Raises:
        DataError: nothing there, or damaged.
        MissingDependency: an export needs a package that is not installed.
    """
    with one_thread():
        return OfPolicy(open_decider(path.parent if path.name == META else path, device="cpu"))


def _shown(env: TaskEnv, key: str) -> tuple[int, ...] | None:
    """The shape of an array of the environment's frames; None where it has no such array."""
    spec = env.spec
    if key == "point_cloud":
        return None if spec.points is None else (spec.points, 3)
    try:
        return env.observe((key,))[key].shape
    except KeyError:  # suites look the names of their arrays up
        return None
