"""LeRobot's steps before and after a policy of omp; what is written beside the policy, as objects."""

from __future__ import annotations

from typing import Any

from lerobot.configs.policies import PreTrainedConfig
from lerobot.processor import (
    AddBatchDimensionProcessorStep,
    DeviceProcessorStep,
    PolicyProcessorPipeline,
    RenameObservationsProcessorStep,
)
from lerobot.processor.converters import policy_action_to_transition, transition_to_policy_action


def make_omp_pre_post_processors(
    config: PreTrainedConfig, dataset_stats: dict[str, dict[str, Any]] | None = None
) -> tuple[PolicyProcessorPipeline[Any, Any], PolicyProcessorPipeline[Any, Any]]:
    """The pipelines of ``folder.PROCESSORS``.

    Args:
        config: of the policy; says the device.
        dataset_stats: not looked at, for normalisation is inside the policy.

    Returns:
        Preprocessor and postprocessor.
    """
    before = [
        RenameObservationsProcessorStep(rename_map={}),
        AddBatchDimensionProcessorStep(),
        DeviceProcessorStep(device=config.device),
    ]
    return (
        PolicyProcessorPipeline(steps=before, name="policy_preprocessor"),
        PolicyProcessorPipeline(
            steps=[DeviceProcessorStep(device="cpu")],
            name="policy_postprocessor",
            to_transition=policy_action_to_transition,
            to_output=transition_to_policy_action,
        ),
    )
