"""What is profiled: a grid of presets, du/dt, horizons, points and batch sizes, each a training configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from omp_cli.core.base.config import validated
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.layers import Layer, flatten, merge
from omp_cli.core.base.presets import preset_layer
from omp_cli.core.families import METHODS
from omp_cli.core.measure.memory.config import Column, MemprofileConfig
from omp_cli.core.policy import Policy
from omp_cli.core.spec import Spec
from omp_cli.core.train.config import PretrainConfig


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: what it is called; the preset's name.
        derivative: how du/dt is computed, or "none".
        config: the training run.
        spec: the made-up task.
    """

    name: str
    derivative: Column
    config: PretrainConfig
    spec: Spec

    @property
    def predictable(self) -> bool:
        """Whether its memory on CUDA can be predicted: tensors without data have no autocast."""
        return self.config.train.precision != "bf16"

    def counted(self, measure: bool, predict: bool) -> list[str]:
        """How its memory is counted: "measured", "predicted", both or not at all."""
        return ["measured"] * measure + ["predicted"] * (predict and self.predictable)

    def describe(self) -> dict[str, Any]:
        """The case's part of a result row."""
        config, encoder = self.config, self.config.encoder
        return {
            "name": self.name,
            "net": config.net.name,
            "encoder": encoder.name,
            "two_pass": getattr(encoder, "two_pass", None),
            "derivative": self.derivative,
            "horizon": config.chunk.horizon,
            "points": self._points(),
            "batch": config.train.batch_size,
            "draws": config.train.draws,
            "precision": config.train.precision,
        }

    def _points(self) -> int:
        """Points per cloud that the encoder sees; 0 where it sees none."""
        encoder, given = self.config.encoder, self.spec.points or 0
        return min(given, getattr(encoder, "points", given) or given) if "points" in type(encoder).model_fields else 0


def made_up_spec(action_dim: int, state_dim: int, points: int, image: tuple[int, int, int] | None = None) -> Spec:
    """A task that exists in its sizes alone."""
    return Spec(
        suite="made-up",
        task="sizes",
        action_dim=action_dim,
        state_dim=state_dim,
        points=points,
        image=image,
        end_effector=(0, 1, 2),
        max_steps=1,
        control_hz=20.0,
    )


def make_case(
    preset: str,
    derivative: Column,
    horizon: int,
    batch: int | None,
    spec: Spec,
    changes: Mapping[str, Any],
    seed: int = 0,
) -> Case:
    """A case; UsageError when its parts do not go together.

    Args:
        preset: name of a preset of omp pretrain, or the path of one of the user's own.
        derivative: how du/dt is computed; "none" replaces the method by plain flow matching.
        horizon: H; where it is too short for the preset, fewer steps are executed.
        batch: B, or None for the preset's.
        spec: the task.
        changes: dotted settings on top of the preset.
        seed: seed of weights and data.
    """
    own: dict[str, Any] = {"chunk.horizon": horizon, "train.batch_size": batch, "seed": seed}
    layers = [preset_layer("pretrain", preset), Layer("--set", changes)]
    values, _ = merge(layers)
    chunk = values.get("chunk", {})
    room = horizon - int(chunk.get("n_obs", 2)) + 1
    own["chunk.execute"] = max(1, min(room, int(chunk.get("execute", 3))))
    if derivative == "none":
        own["method.name"] = "reflow"
    elif "derivative" not in METHODS.get(values["method"]["name"]).Config.model_fields:
        raise UsageError(
            f"preset {preset}: its method has no du/dt", "--derivative none measures plain flow matching in its place"
        )
    else:
        own["method.derivative"] = derivative
    values, _ = merge([*layers, Layer("case", {key: value for key, value in own.items() if value is not None})])
    return Case(preset, derivative, validated(PretrainConfig, values), spec)


def grid(config: MemprofileConfig) -> list[Case]:
    """All cases, the derivatives of one setting together; UsageError names a cell that cannot be built."""
    import torch

    changes = flatten(config.pretrain)
    cells = product(config.presets, config.points, config.batches or (None,), config.horizons, config.derivatives)
    cases = []
    for preset, points, batch, horizon, derivative in cells:
        spec = made_up_spec(config.action_dim, config.state_dim, points, config.image)
        case = make_case(preset, derivative, horizon, batch, spec, changes, config.seed)
        try:
            with torch.device("meta"):
                Policy(case.config.policy(), spec)
        except UsageError as error:
            raise UsageError(f"{preset} at horizon {horizon}, {points} points: {error.message}", error.hint) from None
        cases.append(case)
    return cases
