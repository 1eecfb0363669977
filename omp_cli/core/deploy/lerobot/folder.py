"""The folder that LeRobot's ``--policy.path`` reads; written without LeRobot.

``config.json``                the policy's type, features and settings (``configuration_omp``)
``policy_preprocessor.json``   LeRobot's steps before a policy: other names, a batch, the device; no normalisation
``policy_postprocessor.json``  and after it: back to the CPU
``checkpoint/``                the policy itself, which ``omp_cli.load`` reads as well
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.files import read_json, write_json
from omp_cli.core.base.progress import Progress
from omp_cli.core.base.run import Run
from omp_cli.core.checkpoint import META, Checkpoint, copy_checkpoint
from omp_cli.core.deploy.config import ExportConfig
from omp_cli.core.deploy.lerobot.features import Feature, action_feature, read_features

TYPE = "omp"
CONFIG = "config.json"
CHECKPOINT = "checkpoint"
_RENAME: dict[str, Any] = {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}}
_BATCH: dict[str, Any] = {"registry_name": "to_batch_processor", "config": {}}
_DEVICE: dict[str, Any] = {"registry_name": "device_processor", "config": {"device": "cpu", "float_dtype": None}}
PROCESSORS: dict[str, dict[str, Any]] = {
    f"{name}.json": {"name": name, "steps": steps}
    for name, steps in (
        ("policy_preprocessor", [_RENAME, _BATCH, _DEVICE]),
        ("policy_postprocessor", [_DEVICE]),
    )
}
"""As LeRobot saves its pipelines. ``lerobot-eval`` sets names and device of steps so called."""
FILES = (CONFIG, *PROCESSORS, CHECKPOINT)


def write_folder(run: Run, checkpoint: Checkpoint, config: ExportConfig, progress: Progress) -> dict[str, Any]:
    """Write the files of ``FILES`` into the run's folder.

    Returns:
        The figures that go into the manifest: the features with names and units.

    Raises:
        UsageError: the run's folder has something else under these names.
        DataError: the checkpoint is damaged.
    """
    refuse_others(run.folder)
    progress.start("export", 2)
    policy = checkpoint.load(config.weights)
    nfe, spec, chunk = config.nfe or policy.nfe, checkpoint.meta.spec, policy.chunk
    progress.advance()
    read, action = read_features(spec, policy.keys), action_feature(spec)
    copy_checkpoint(checkpoint.path, run.folder / CHECKPOINT)
    write_processors(run.folder)
    document = {
        "type": TYPE,
        "n_obs_steps": chunk.n_obs,
        "input_features": _features(read),
        "output_features": _features([action]),
        "names": {feature.key: list(feature.names) for feature in (*read, action) if feature.names},
        "units": {feature.key: feature.unit for feature in (*read, action) if feature.unit},
        "control_hz": spec.control_hz,
        "horizon": chunk.horizon,
        "nfe": nfe,
        "weights": config.weights,
    }
    write_json(run.folder / CONFIG, document)
    for name in FILES:
        run.artifact(run.folder / name)
    progress.advance(1, file=CONFIG)
    figures: dict[str, Any] = {
        "suite": spec.suite,
        "task": spec.task,
        "checkpoint_step": checkpoint.meta.step,
        "features": {
            feature.key: {"shape": list(feature.shape), "names": list(feature.names), "unit": feature.unit}
            for feature in (*read, action)
        },
        **{key: document[key] for key in ("weights", "nfe", "control_hz")},
    }
    run.metrics(**figures)
    return figures


def refuse_others(folder: Path) -> None:
    """UsageError when a folder holds something under these names that no export has put there."""
    checkpoint, config = folder / CHECKPOINT, folder / CONFIG
    if checkpoint.exists() and not (checkpoint / META).is_file():
        raise UsageError(f"output folder {folder}: holds another {CHECKPOINT}", "choose another with --out DIR")
    if config.exists():
        found = read_json(config, "output folder")
        if not isinstance(found, dict) or found.get("type") != TYPE:
            raise UsageError(f"output folder {folder}: holds another {CONFIG}", "choose another with --out DIR")


def write_processors(folder: Path) -> None:
    """Write the pipelines of ``PROCESSORS``."""
    for name, document in PROCESSORS.items():
        write_json(folder / name, document)


def _features(features: list[Feature]) -> dict[str, dict[str, Any]]:
    return {feature.key: {"type": feature.kind, "shape": list(feature.shape)} for feature in features}
