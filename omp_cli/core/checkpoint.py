"""Checkpoints: a folder of safetensors and JSON. Nothing is ever unpickled.

``policy.json``          schema, configuration, spec, suite, data set, step, hashes of the other files, a seal
``model.safetensors``    weights and normalisation as trained
``ema.safetensors``      their moving average
``training.safetensors`` optimiser state (only in the newest checkpoint of a run)
"""

from __future__ import annotations

import hashlib
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from omp_cli.core.base.config import UnknownSetting, checked, validated
from omp_cli.core.base.errors import DataError, OmpError, data_error
from omp_cli.core.base.files import (
    atomic,
    is_lfs_pointer,
    quoted,
    read_json,
    seal_of,
    sha256_kept,
    sha256_of,
)
from omp_cli.core.base.layers import Layer
from omp_cli.core.base.manifest import FILE_NAME, check_artifact, read_manifest
from omp_cli.core.base.registry import UnknownMember
from omp_cli.core.base.run import BEST, CHECKPOINTS, of_plugin, whereabouts
from omp_cli.core.base.tensors import read_tensors
from omp_cli.core.data.store import read_attributes
from omp_cli.core.policy import Policy, usual_nfe
from omp_cli.core.policy_config import PolicyConfig, Weights
from omp_cli.core.spec import Spec

CHECKPOINT_SCHEMA: Final = 1
META, MODEL, EMA, TRAINING = "policy.json", "model.safetensors", "ema.safetensors", "training.safetensors"
GRAPHS = (".onnx", ".pt2")
"""Endings of the files that ``omp export`` writes."""
CHANGED = "content does not match its hash, so it was changed or is damaged"
ANOTHER = "restore the original file, or use another checkpoint"


class CheckpointMeta(BaseModel):
    """``policy.json``: all that is needed to rebuild the policy and its environment.

    ``reference`` is a picture that the environment has to repeat (``data.reference.Reference`` as plain data). A
    fine-tuned policy also says by which method. ``nfe`` is the evaluations per decision that it was fine-tuned with, or
    its method's own number; checkpoints of omp 0.2 and earlier that were not fine-tuned do not say it.
    ``frozen_from`` is the time from which on a frozen copy of it acts (``Policy.freeze_from``); not written if
    there is none.
    ``held_out`` are the episodes of the data set, by index, that were held out of its training; not written if none.
    ``files`` are the SHA-256 of the files beside it, ``seal`` that of the canonical JSON of all other fields. Older
    checkpoints have neither: only the manifest of their run can tell whether they were changed.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = CHECKPOINT_SCHEMA
    step: int
    policy: dict[str, Any]
    spec: Spec
    suite: dict[str, Any]
    dataset_sha256: str
    start_states: list[str]
    reference: dict[str, Any] | None = None
    nfe: int | None = None
    finetuned_by: str | None = None
    frozen_from: float | None = None
    held_out: tuple[int, ...] = ()
    files: dict[str, str] = {}
    seal: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found and whose description was read; weights are loaded on request."""

    path: Path
    meta: CheckpointMeta

    def config(self) -> PolicyConfig:
        """The policy's configuration; DataError when a part of it is not known here."""
        try:
            return validated(PolicyConfig, self.meta.policy, where="policy")
        except OmpError as error:
            hint = of_plugin(self.run) if isinstance(error, UnknownMember | UnknownSetting) else ""
            raise DataError(f"checkpoint {self.path}: {error.message}", hint) from None

    @property
    def nfe(self) -> int:
        """Evaluations per decision unless told: what ``policy.json`` says, else the method's own number."""
        return self.meta.nfe or usual_nfe(self.config())

    @property
    def layer(self) -> Layer:
        """The lowest layer of the settings of a command that reads the checkpoint: its evaluations per decision."""
        return Layer("checkpoint" if self.meta.nfe else f"method {self.config().method.name}", {"nfe": self.nfe})

    def load(self, weights: Weights, device: torch.device | str = "cpu") -> Policy:
        """The policy in evaluation mode; DataError when the weights are damaged, not finite or do not fit."""
        policy = Policy(self.config(), self.meta.spec)
        policy.nfe = self.meta.nfe or policy.nfe
        if self.meta.frozen_from is not None:
            policy.freeze_from(self.meta.frozen_from)
        self.read_into(policy, EMA if weights == "ema" else MODEL)
        return policy.eval().to(device)

    def read_into(self, policy: Policy, name: str) -> None:
        """Load a policy's state in place from the file ``name``; DataError as ``tensors``, or when it does not fit."""
        try:
            policy.load_state_dict(self.tensors(name))
        except RuntimeError as error:
            raise data_error(error, f"checkpoint {self.path / name}", "does not fit the policy") from None

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Tensors of the file ``name``, compared with the hashes that the checkpoint and its run's manifest have.

        Raises:
            DataError: missing, damaged, changed, or with numbers that are not finite.
            RunFailed: the machine does not let it be read.
        """
        file = self.path / name
        tensors = load_tensors(file)
        if self.meta.files and self.meta.files.get(name) != sha256_kept(file):
            raise DataError(f"checkpoint {file}: {CHANGED}", ANOTHER)
        check_artifact(self.run, self.path.absolute())
        return tensors

    @property
    def run(self) -> Path:
        """The folder of the run that it belongs to, two above its own; a copy elsewhere may have no run there."""
        return self.path.absolute().parent.parent

    @property
    def selection(self) -> Literal["last", "best"]:
        """How it was chosen among its run's: the last one, or the one that did best on held-out episodes."""
        return "best" if self.path.absolute().parent.name == BEST else "last"

    def dataset(self) -> tuple[Path, dict[str, Any]]:
        """The data set that its run was trained on: where it is, and its attributes.

        Raises:
            DataError: the run's manifest or the data set is gone, or is another one by now.
        """
        inputs = [i for i in read_manifest(self.run).inputs if i.kind == "dataset"]
        places = [place for i in inputs for place in whereabouts(self.run, i.path)]
        for path in places:
            with suppress(DataError):  # something else of the same name
                attributes = read_attributes(path)
                if attributes.get("content_sha256") == self.meta.dataset_sha256:
                    return path, attributes
        if inputs and not places:
            raise DataError(f"data set {inputs[0].path}: no such file or folder, nor is it near {self.run}")
        raise DataError(f"run {self.run}: names no data set with the content that the policy was trained on")

    def sha256(self) -> str:
        """SHA-256 over the SHA-256 digests (hex, one after the other) of policy.json, model and ema.safetensors.

        That is all that evaluation reads; the optimiser's state does not count.
        """
        digests = "".join(sha256_of(self.path / name) for name in (META, MODEL, EMA))
        return hashlib.sha256(digests.encode()).hexdigest()


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is, or will be."""
    return folder / f"step-{step:08d}"


def copy_checkpoint(checkpoint: Path, to: Path) -> None:
    """Copy a checkpoint without the optimiser's state."""
    with atomic(to) as temporary:
        shutil.copytree(checkpoint, temporary, ignore=shutil.ignore_patterns(TRAINING))


def checkpoints_in(folder: Path) -> list[Path]:
    """Whole checkpoints in a folder, oldest first."""
    return sorted(p for p in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", p.name) and (p / META).is_file())


def newest_saved(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint, to go on from."""
    found = checkpoints_in(folder)
    return open_checkpoint(found[-1]) if found else None


def find_checkpoints(path: Path) -> list[Path]:
    """Checkpoints meant by a run's folder, its ``checkpoints`` folder or one checkpoint, oldest first.

    The file that describes one of these stands for it: ``policy.json``, ``manifest.json``.

    Raises:
        DataError: nothing there, or a file (a pickle is named as such and never loaded).
    """
    if path.is_file() and (
        path.name in (META, FILE_NAME) or (path.suffix in GRAPHS and (path.parent / META).is_file())
    ):
        path = path.parent
    if path.is_file():
        if (path.parent / META).is_file():  # which weights count is a setting, and not for a name of a file to say
            raise DataError(f"checkpoint {path}: one file of a checkpoint", f"give its folder: {path.parent}")
        raise DataError(f"checkpoint {path}: {_file_kind(path)}", "give the folder of a run or of a checkpoint")
    if (path / META).is_file():
        return [path]
    found = checkpoints_in(path / CHECKPOINTS) or checkpoints_in(path)
    if not found:
        state = "no checkpoint in it" if path.is_dir() else "no such file or folder"
        below = next((file.parent for file in path.glob(f"*/{META}")), None)  # as in an export for LeRobot
        hint = "train one with: omp pretrain" if below is None else f"there is one in {below}"
        raise DataError(f"checkpoint {path}: {state}", hint)
    return found


def open_run(path: Path) -> list[Checkpoint]:
    """The checkpoints that ``find_checkpoints`` finds, opened; DataError also for a run whose manifest was altered."""
    if path.name == FILE_NAME or (path / FILE_NAME).is_file():
        read_manifest(path)
    return [open_checkpoint(p) for p in find_checkpoints(path)]


def checkpoint_of(run: Path, recorded: str, sha256: str | None) -> Checkpoint | None:
    """The checkpoint that a run has read, wherever it is now; None where it is gone, or another one by now.

    Args:
        run: the run's folder.
        recorded: the path in its manifest.
        sha256: the checkpoint's hash.
    """
    for place in whereabouts(run, recorded):
        with suppress(DataError, OSError):  # something else of that name, or not all of it
            if (found := open_checkpoint(place)).sha256() == sha256:
                return found
    return None


def open_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint's description; DataError when it is missing, damaged or of another schema."""
    document = read_json(path / META, "checkpoint")
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != CHECKPOINT_SCHEMA:
        raise DataError(
            f"checkpoint {path}: schema version {version!r}, this omp reads {CHECKPOINT_SCHEMA}",
            "evaluate it with the omp that made it, or train again",
        )
    if "inputs" in document and "step" not in document:
        raise DataError(
            f"{path}: a policy that omp export wrote, where a run or a checkpoint is needed", _exported(path)
        )
    meta = checked(CheckpointMeta, document, f"checkpoint {path}: {META}")
    if (meta.seal or meta.files) and meta.seal != seal_of(document):
        raise DataError(f"checkpoint {path / META}: {CHANGED}", ANOTHER)
    return Checkpoint(path, meta)


def _exported(export: Path) -> str:
    """What to take in the place of an export."""
    takes = "omp eval in an environment, omp deploy, omp serve and omp.load take an export"
    with suppress(OmpError):  # a copy without its manifest
        made_of = [i.path for i in read_manifest(export).inputs if i.kind == "checkpoint"]
        return f"name what it was made of: {quoted(Path(made_of[0]))}; {takes}" if made_of else takes
    return takes


def load_tensors(file: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, all finite; DataError otherwise. ``Checkpoint.tensors`` checks more."""
    if not file.is_file():
        raise DataError(f"checkpoint {file}: no such file", "the checkpoint is incomplete; use another")
    return read_tensors(file, "checkpoint", _file_kind, "use another checkpoint")


def _file_kind(path: Path) -> str:
    """What a file that is not a checkpoint looks like, by its first bytes."""
    with path.open("rb") as stream:
        start = stream.read(9)
    if start[8:] == b"{":  # the header of safetensors: its length, then JSON
        return "damaged"
    if start[:2] == b"PK" or start[:1] == b"\x80":
        return "a pickle, which can run code when loaded; omp never loads one"
    if is_lfs_pointer(path):
        return "a Git LFS pointer, not the file itself: git lfs pull, in the clone it is in"
    return "a file, not a checkpoint"
