"""From a checkpoint to files that a robot's computer runs without omp_cli, each compared with the policy.

``policy.pt2``   torch.export: ``torch.export.load(file).module()(noise, *observations)``
``policy.onnx``  the same graph for ONNX Runtime, weights inside
``policy.json``  what goes in and what comes out, the hashes of the checkpoint and of these files, and a seal of its own

Or, with the format "lerobot", a folder that LeRobot's ``--policy.path`` reads (``lerobot.folder``), with omp_cli.

The graph goes from noise and the arrays that the policy reads, as the environment gives them (normalisation inside), to
the actions to execute. Ray casting and farthest point sampling come before it and are not part of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from omp_cli.core.base.errors import Diverged, MissingDependency, OmpError
from omp_cli.core.base.files import atomic, remove, seal_of, sha256_of, write_json
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.run import Run
from omp_cli.core.checkpoint import Checkpoint
from omp_cli.core.deploy.base import Inputs
from omp_cli.core.deploy.config import ExportConfig
from omp_cli.core.deploy.graph import Decision
from omp_cli.core.deploy.lerobot import folder as lerobot
from omp_cli.core.deploy.parity import Difference
from omp_cli.core.deploy.program import ONNX_INSTALL, ONNX_PACKAGES, OUTPUT, missing_packages
from omp_cli.core.deploy.writing import READERS, Format, Writing, decision_of
from omp_cli.core.envs.workers import Workers
from omp_cli.core.spec import Channels, Spec

SIGNATURE = "policy.json"
SIGNATURE_SCHEMA = 1


def formats(wanted: Literal["both", "pt2", "onnx"]) -> tuple[list[Format], dict[str, str]]:
    """Formats that can be written here, and for those of "both" that cannot, why and what to do.

    Raises:
        MissingDependency: ONNX alone was asked for and its packages are not installed.
    """
    absent = missing_packages(ONNX_PACKAGES)
    if wanted == "pt2":
        return ["pt2"], {}
    if not absent:
        return (["onnx"] if wanted == "onnx" else ["pt2", "onnx"]), {}
    if wanted == "onnx":
        raise MissingDependency(f"--format onnx needs {', '.join(absent)}", f"install: {ONNX_INSTALL}")
    return ["pt2"], {"onnx": f"not written, {', '.join(absent)} not installed: {ONNX_INSTALL}"}


def export_run(run: Run, checkpoint: Checkpoint, config: ExportConfig, progress: Progress) -> dict[str, Any]:
    """Write the files of ``config.format`` and the signature into the run's folder.

    Returns:
        The figures that go into the manifest: parity, size and seconds of each file; of a folder for LeRobot those of
        ``lerobot.folder``.

    Raises:
        Diverged: the policy's actions are not finite.
        MissingDependency: see ``formats``.
        RunFailed: no file could be written: it answers something else than the policy and is removed, its exporter
            failed, or the process in which it was made has died or took too long.
    """
    if config.format == "lerobot":
        return lerobot.write_folder(run, checkpoint, config, progress)
    chosen, left_out = formats(config.format)
    policy = checkpoint.load(config.weights)
    config = config.model_copy(update={"nfe": config.nfe or policy.nfe})
    decision, samples = decision_of(policy, config)
    references = [decision(*sample) for sample in samples]
    if not all(bool(x.isfinite().all()) for x in references):
        raise Diverged(
            f"checkpoint {checkpoint.path}: the policy's actions are not finite although its weights are",
            "training has diverged: export an earlier checkpoint, or train again with a lower --lr",
        )
    for stale in (*(f"policy.{kind}" for kind in READERS), SIGNATURE):
        remove(run.folder / stale)  # of an earlier export into this folder
    files = _files(run, Writing(checkpoint.path.absolute(), config, READERS), chosen, left_out, progress)
    figures: dict[str, Any] = {
        "suite": checkpoint.meta.spec.suite,
        "task": checkpoint.meta.spec.task,
        "checkpoint_step": checkpoint.meta.step,
        "weights": config.weights,
        "nfe": config.nfe,
        "batch": "any" if config.dynamic_batch else config.batch,
        "unclipped": _unclipped(decision, samples),
        "files": files,
        "left_out": left_out,
    }
    write_json(run.folder / SIGNATURE, signature(checkpoint, config, decision, samples[0], references[0], run.folder))
    run.artifact(run.folder / SIGNATURE)
    run.metrics(**figures)
    return figures


def _files(
    run: Run, writing: Writing, chosen: Sequence[Format], left_out: dict[str, str], progress: Progress
) -> dict[Format, dict[str, Any]]:
    """Write the files; of two, one that fails is left out with the reason, and a single one's failure is the run's."""
    files: dict[Format, dict[str, Any]] = {}
    failures: list[OmpError] = []
    progress.start("export", len(chosen))
    with ExitStack() as processes:
        process: Workers | None = None
        for kind in chosen:
            start, file = time.perf_counter(), run.folder / f"policy.{kind}"
            process = process or processes.enter_context(_process(writing))
            try:
                with atomic(file) as temporary:
                    doing = f"policy.{kind} was written and read back"
                    found: Difference = process.ask(writing.config.patience, doing, "write", kind, temporary)
            except OmpError as error:
                failures.append(error)
                left_out[kind] = f"failed: {error.message}"
                progress.note(f"{kind}: {left_out[kind]}")
                process = None  # whether it lives or not, the next file has a fresh one
                continue
            run.artifact(file)
            seconds = round(time.perf_counter() - start, 2)
            files[kind] = {"bytes": file.stat().st_size, "seconds": seconds, **found.as_json()}
            progress.advance(1, file=file.name, max_rel=found.max_rel)
    if not files:
        raise failures[0]
    return files


def _process(writing: Writing) -> Workers:
    return Workers(writing, 1, "export", lambda line: None, apart=True)


def signature(
    checkpoint: Checkpoint, config: ExportConfig, decision: Decision, inputs: Inputs, output: Tensor, folder: Path
) -> dict[str, Any]:
    """``policy.json``: all that a control loop must know about the files in ``folder``."""
    spec, chunk = checkpoint.meta.spec, decision.policy.chunk
    files = [folder / f"policy.{kind}" for kind in ("onnx", "pt2")]

    low, high = decision.policy.action_range()
    reach = f"{min(low):.4g} to {max(high):.4g}"

    def array(name: str, x: Tensor) -> dict[str, Any]:
        shape = ["batch", *x.shape[1:]] if config.dynamic_batch else list(x.shape)
        found = {
            "name": name,
            "shape": shape,
            "dtype": str(x.dtype).removeprefix("torch."),
            "unit": _unit(name, spec, reach),
        }
        return found | _channels(name, spec)

    document = {
        "schema_version": SIGNATURE_SCHEMA,
        "suite": spec.suite,
        "task": spec.task,
        "suite_settings": checkpoint.meta.suite,
        "spec": spec.model_dump(mode="json"),
        "inputs": [array(name, x) for name, x in zip(decision.inputs, inputs, strict=True)],
        "output": array(OUTPUT, output) | {"low": list(low), "high": list(high), **_rotations(spec)},
        "reference": checkpoint.meta.reference,
        "n_obs": chunk.n_obs,
        "horizon": chunk.horizon,
        "execute": chunk.execute,
        "control_hz": spec.control_hz,
        "max_steps": spec.max_steps,
        "action_unit": spec.action_unit,
        "nfe": config.nfe,
        "generative": decision.policy.method.generative,
        "weights": config.weights,
        "checkpoint_step": checkpoint.meta.step,
        "checkpoint_sha256": checkpoint.sha256(),
        "files": {file.name: sha256_of(file) for file in files if file.is_file()},
    }
    return {**document, "seal": seal_of(document)}


def _unit(name: str, spec: Spec, reach: str) -> str:
    frame = "world frame" if spec.cloud_in_world else "the data set's own frame"
    order = "farthest-point order" if spec.cloud_in_fps_order else "any order"
    units = {
        "noise": "standard normal, drawn anew for every decision",
        "state": f"as {spec.suite} gives it; positions in metres, newest step last",
        "point_cloud": f"metres, {frame}, points in {order}, newest step last",
        "img": "0 to 255, RGB, rows from the top, newest step last",
        OUTPUT: f"as {spec.suite} takes it, {reach}; one row per control step",
    }
    if spec.action_channels is not None:  # numbers that no suite defines: what the data say, and nothing more
        units |= _own_units(spec.state_channels, spec.action_channels)
    return units.get(name, "as the data set has it, newest step last")


def _rotations(spec: Spec) -> dict[str, Any]:
    """Which numbers of an action are rotations, of which there are more in the noise."""
    return {"rotations": [r.model_dump(mode="json") for r in spec.action_rotations]} if spec.action_rotations else {}


def _own_units(state: Channels | None, action: Channels) -> dict[str, str]:
    """The units of arrays that come from data of the user's own."""
    own = "the data's own units"
    return {
        "state": f"{(state.unit if state else '') or own}, newest step last",
        "point_cloud": "the data set's own frame and units, newest step last",
        OUTPUT: f"{action.unit or own}, not limited to -1 to 1; one row per control step",
    }


def _channels(name: str, spec: Spec) -> dict[str, Any]:
    """Names and ranges of the numbers of an array, and names of cameras, where the data say them."""
    if name == OUTPUT and spec.action_channels is not None:
        return {"names": list(spec.action_channels.names)}
    if name == "state" and (channels := spec.state_channels) is not None:
        return {"names": list(channels.names), "low": list(channels.low), "high": list(channels.high)}
    return {"cameras": list(spec.cameras)} if name == "img" and spec.cameras else {}


@torch.no_grad()
def _unclipped(decision: Decision, samples: Sequence[Inputs]) -> float:
    """Share of the compared numbers that sampling did not clip to [-1, 1]: a clipped number proves little."""
    policy, chunks = decision.policy, []
    for noise, *arrays in samples:
        h = policy.embed(dict(zip(policy.keys, arrays, strict=True)))
        chunks.append(policy.sample(h, noise, decision.nfe)[:, policy.window])
    return round(float((torch.cat(chunks).abs() < 1).float().mean()), 3)
