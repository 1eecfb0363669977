"""``import omp_cli as omp``: what the command line does, for Python. Errors are those of ``core.base.errors``."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omp_cli import core
from omp_cli.commands.call import Call
from omp_cli.commands.evaluate import evaluate as eval_command
from omp_cli.commands.globals import Globals
from omp_cli.commands.pretrain import pretrain as pretrain_command
from omp_cli.console import Console
from omp_cli.core.base.config import Settings, validated
from omp_cli.core.base.errors import UsageError, did_you_mean
from omp_cli.core.base.flags import options_of
from omp_cli.core.base.layers import flatten
from omp_cli.core.base.table import Table
from omp_cli.core.data.store import Dataset, read_store
from omp_cli.core.deploy.config import ActingConfig
from omp_cli.core.measure.episodes import EvalConfig
from omp_cli.core.policy_config import Graph, Precision, Weights
from omp_cli.core.train.config import PretrainConfig

if TYPE_CHECKING:
    import gymnasium

    Environment = gymnasium.Env[Any, Any]


def load(
    path: str | Path,
    device: str = "auto",
    *,
    weights: Weights | None = None,
    nfe: int | None = None,
    seed: int = 0,
    execute: int | None = None,
    ensemble: float | None = None,
    noise_scale: float = 1.0,
    graph: Graph = "auto",
    precision: Precision = "fp32",
) -> core.Player:
    """A trained policy, ready to act.

    Args:
        path: folder of a run (its last checkpoint), of a checkpoint or of an export; or an export's file. Of an
            export's folder the ONNX file is taken: a ``.pt2`` can run code when it is loaded, so it has to be named.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        weights: "ema" (the default) or "raw", where the path is a checkpoint's.
        nfe: evaluations of the network per decision; None for the policy's own.
        seed: seed of the policy's noise.
        execute: actions of a chunk to play before the next decision; None for the policy's own.
        ensemble: coefficient of temporal ensembling (ACT has 0.01); None plays chunks.
        noise_scale: standard deviation of the noise that a decision begins with; 1 as in training, 0 for none.
        graph: on CUDA, whether a checkpoint's decisions are replayed graphs, one for each batch size: "auto" where they
            can be captured, "on" fails where they cannot, "off" never. ``decider.figures()`` says what became of it.
        precision: of a checkpoint's network, "fp32", "tf32", "bf16" or "fp16"; ``decider.against_float32`` says how far
            that moves the actions.

    Returns:
        The policy: ``reset()``, ``act(obs)``, ``act_chunk(obs)``; what it reads is in ``signature``.

    Raises:
        DataError: nothing there, or damaged.
        UsageError: a setting that does not go with it.
        MissingDependency: the device or a package is not here.
    """
    given: dict[str, Any] = {"weights": weights, "nfe": nfe, "graph": graph, "precision": precision}
    given |= {"seed": seed, "execute": execute, "ensemble": ensemble, "noise_scale": noise_scale}
    how = validated(ActingConfig, {name: _plain(value) for name, value in given.items()})
    decider = core.open_decider(_path(path, "policy"), device, how.weights, how.nfe, how.graph, how.precision)
    return core.Player(decider, how.seed, how.execute, how.ensemble, how.noise_scale)


def read_dataset(path: str | Path) -> Dataset:
    """A data set of ``omp prepare``, checked against its hash; its arrays are in memory, those of 1 GiB or more mapped.

    Returns:
        ``arrays`` by name, all frames of all episodes one after the other: "state" (frames, S) float32, "action"
        (frames, A), "point_cloud" (frames, N, 3) in metres, "img" (frames, H, W, C) uint8, as far as it has them;
        ``episode_ends`` (E,) the end of each episode; ``spec`` and ``provenance``.

    Raises:
        UsageError: not a path.
        DataError: missing, damaged or changed.
    """
    return read_store(_path(path, "data set"))


def train(
    dataset: str | Path,
    *,
    preset: str | Path | None = None,
    teacher: str | Path | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    quiet: bool = True,
    **settings: Any,
) -> Path:
    """Train a policy: ``omp pretrain`` from Python, with the same manifest, checkpoints and settings.

    Args:
        dataset: folder of a data set.
        preset: named settings, or the path of a preset's file; None for the command's default.
        teacher: run or checkpoint that a distilling method learns from.
        out: folder of the run; None makes a new one below ``runs/pretrain``.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        quiet: False shows the progress on stderr.
        settings: as options are called (``steps=300``, ``derivative="dde"``, ``seed=1``), as sections
            (``train={"lr": 1e-3}``), or dotted (``**{"train.lr": 1e-3}``).

    Returns:
        The run's folder, for ``load`` and ``evaluate``.

    Raises:
        UsageError: a setting that there is not, or that does not fit, or a data set that is no path.
        DataError: the data set is missing or damaged.
        Diverged: a loss was not finite.
    """
    call, kept = _call("pretrain", PretrainConfig, settings, device, out, quiet)
    learned_from = None if teacher is None else _path(teacher, "teacher")
    named = None if preset is None else str(preset)
    pretrain_command(call, dataset=_path(dataset, "data set"), preset=named, teacher=learned_from)
    return Path(kept.document["run_dir"])


def evaluate(
    policy: str | Path | core.Player,
    env: Environment | Callable[[], Environment] | None = None,
    *,
    episodes: int = 50,
    max_steps: int | None = None,
    workers: int = 1,
    out: str | Path | None = None,
    device: str = "auto",
    quiet: bool = True,
    **settings: Any,
) -> dict[str, Any]:
    """Success or return of a policy over episodes that no demonstration began like.

    Args:
        policy: what ``load`` made, or the path of a run, of a checkpoint or of an export.
        env: a Gymnasium environment, or a function that makes one; its observations are named arrays, or the one array
            that the policy reads, and its action is (A,). None takes the task that the policy was trained on, by
            ``omp eval``, with a manifest in ``out`` or below ``runs/eval``.
        episodes: number of episodes.
        max_steps: longest episode; None for the environment's own limit (``TimeLimit``), else the task's, which is of
            data of one's own the longest demonstration.
        workers: number of processes; only for the policy's own task.
        out: folder of the evaluation's run.
        device: where the policy runs, if it is given as a path; one that was loaded stays where it is.
        quiet: False shows the progress on stderr.
        settings: further settings of ``omp eval`` (``nfe=5``, ``seed=1``); with an environment only ``seed``.

    Returns:
        The figures: ``success_any`` with its 95 % interval (where the environment says "success" or "is_success"),
        ``return`` and ``steps`` with their spread. Of an environment ``max_steps``, too, and whose limit that is
        (``max_steps_of``); ``clipped_numbers`` and ``clipped_share`` say what its bounds have changed in the policy's
        actions, of which a ``UserWarning`` tells the first. ``starts_repeat`` is false, and another warning says so,
        where two resets with one seed show different starts.

    Raises:
        UsageError: the environment's action is not the policy's, or a setting does not go with it.
        DataError: an observation is not what the policy reads.
        MissingDependency: the policy's task has no simulator here.
    """
    if env is not None:
        seed = settings.pop("seed", 0)
        if settings or out is not None or workers != 1:
            wrong = next(iter(settings), "out" if out is not None else "workers")
            raise UsageError(f"evaluate: {wrong} does not go with an environment", "give it to load, or leave it out")
        player = policy if isinstance(policy, core.Player) else load(policy, device)
        return core.evaluate_env(player, env, episodes, seed, max_steps)
    path = policy.decider.path if isinstance(policy, core.Player) else _path(policy, "policy")
    if isinstance(policy, core.Player):
        if policy.ensemble is not None:
            raise UsageError("evaluate: ensemble does not go with the policy's own task", "give an environment")
        of = policy.decider
        own: dict[str, Any] = {
            "nfe": of.signature.nfe,
            "weights": of.weights,
            "precision": of.precision,
            "graph": of.graph,
            "noise_scale": policy.noise_scale,
        }
        device = str(of.device)
        fewer = {"execute": policy.execute} if policy.execute < of.signature.execute else {}
        settings = own | fewer | settings
    given = {"episodes": episodes, **settings} | ({} if max_steps is None else {"max_steps": max_steps})
    call, kept = _call("eval", EvalConfig, given, device, out, quiet)
    eval_command(call, policy=path, processes=workers)
    figures: dict[str, Any] = kept.document["result"]
    return figures


def _path(given: Any, what: str) -> Path:
    """The path of ``what``; UsageError for anything else, such as a data set that has been read."""
    if not isinstance(given, (str, os.PathLike)):
        raise UsageError(f"{what}: {type(given).__name__}, expected a path", "give the folder, as text or as a Path")
    return Path(given)


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


class _Kept(Console):
    """A console that keeps a command's result instead of printing it."""

    document: Mapping[str, Any]

    def result(self, document: Mapping[str, Any], tables: Iterable[Table] = (), lines: Sequence[str] = ()) -> None:
        """Keep the document."""
        self.document = document


@dataclass(frozen=True)
class _InPython(Globals):
    """The global options of a call from Python."""

    kept: _Kept = field(default_factory=_Kept)

    @functools.cached_property
    def console(self) -> Console:
        """Where the command would print."""
        return self.kept


def _call(
    name: str, model: type[Settings], settings: Mapping[str, Any], device: str, out: str | Path | None, quiet: bool
) -> tuple[Call[Any], _Kept]:
    """A command's call with settings in the place of options."""
    named = {o.name.removeprefix("--").replace("-", "_"): o for o in options_of(model)}
    values: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for key, value in settings.items():
        section = isinstance(value, Mapping) or "." in key
        if not section and key not in named and key not in model.model_fields:
            raise UsageError(f"unknown setting {key}", did_you_mean(key, {*named, *model.model_fields}))
        if not section and key in named:
            given[named[key].name] = value
        else:
            values[key] = value
    kept = _Kept(quiet=quiet)
    globals_ = _InPython(device=device, out=None if out is None else _path(out, "out"), quiet=quiet, kept=kept)
    return Call(name, model, globals_, None, (), given, flatten(values)), kept
