"""A policy of omp behind LeRobot's face: its names and pictures in, actions in the data's units out.

History, playback of chunks, temporal ensembling and noise are those of ``Player``; normalisation is inside the policy.

Legend: B batch, E executed steps, A action dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self, cast

import torch
from huggingface_hub import snapshot_download
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor

from omp_cli.core.base.device import pick_device
from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.checkpoint import copy_checkpoint, open_checkpoint
from omp_cli.core.deploy.deciders import OfCheckpoint
from omp_cli.core.deploy.lerobot.batch import frame_of
from omp_cli.core.deploy.lerobot.configuration_omp import OmpConfig, not_trained_here
from omp_cli.core.deploy.lerobot.features import ACTION, Feature, action_feature, read_features
from omp_cli.core.deploy.lerobot.folder import CHECKPOINT, CONFIG, write_processors
from omp_cli.core.deploy.lerobot.robot import compare_with_robot
from omp_cli.core.deploy.player import Player
from omp_cli.core.policy_config import Weights

HUB = ("revision", "cache_dir", "token", "force_download", "local_files_only")
"""What ``from_pretrained`` passes on where the folder has to be fetched."""


class OmpPolicy(PreTrainedPolicy):
    """LeRobot's policy of type "omp".

    Args:
        config: its settings.
        folder: what ``omp export --format lerobot`` wrote.
        dataset_meta: of LeRobot's data set that is recorded, where there is one: names, shapes and rate are compared.

    Attributes:
        policy: the network.
        player: what plays it.

    Raises:
        UsageError: no folder was named, or a setting does not go with the policy.
        DataError: the checkpoint is damaged, or robot, environment or ``config.json`` have other features than it.
        MissingDependency: the device is not there.
    """

    config_class: ClassVar[type[OmpConfig]] = OmpConfig
    name: ClassVar[str] = "omp"

    def __init__(self, config: OmpConfig, folder: Path | None = None, dataset_meta: Any = None, **_: Any) -> None:
        super().__init__(config)
        folder = folder or config.pretrained_path
        if folder is None:
            raise UsageError(
                "a policy of type omp begins from a trained one: --policy.path=FOLDER, made by omp export RUN "
                "--format lerobot --out FOLDER"
            )
        checkpoint = open_checkpoint(Path(folder) / CHECKPOINT)
        weights = cast(Weights, config.weights)  # checked when the configuration was made
        decider = OfCheckpoint(checkpoint, weights, pick_device(str(config.device)), config.nfe)
        decider.ready()
        self.policy = decider.policy
        self.player = Player(decider, config.seed, config.execute, config.ensemble, config.noise_scale)
        self._read = read_features(checkpoint.meta.spec, tuple(self.player.signature.arrays))
        self._action = action_feature(checkpoint.meta.spec)
        self._same_as_config()
        if dataset_meta is not None:
            compare_with_robot([*self._read, self._action], dataset_meta, config)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_name_or_path: str | Path,
        *,
        config: OmpConfig | None = None,
        dataset_meta: Any = None,
        **options: Any,
    ) -> Self:
        """The policy of a folder, or of a repository of the Hugging Face hub that has its files, in evaluation mode.

        Args:
            pretrained_name_or_path: the folder, or the repository's name.
            config: its settings, where they have been read already.
            dataset_meta: see the class.
            options: LeRobot's others; those of ``HUB`` count where the folder has to be fetched.

        Raises:
            UsageError, DataError, MissingDependency: see the class.
        """
        folder = Path(pretrained_name_or_path)
        if not folder.is_dir():
            given = {name: options[name] for name in HUB if options.get(name) is not None}
            folder = Path(snapshot_download(str(pretrained_name_or_path), **given))
        if config is None:
            config = PreTrainedConfig.from_pretrained(folder)
        return cls(config, folder, dataset_meta).eval()

    def reset(self) -> None:
        """Begin another episode: no history, no chunk, new noise."""
        self.player.reset()

    @torch.no_grad()
    def select_action(self, batch: Mapping[str, Any], noise: Tensor | None = None, **_: Any) -> Tensor:
        """The action of this step.

        Args:
            batch: the frame of this step by LeRobot's names, (B, ...) or without a batch; pictures are float32 from 0
                to 1, (B, C, H, W), or uint8, and are resized where theirs is another size.
            noise: may not be given: the policy draws its own from its seed.

        Returns:
            (B, A), or (A,), float32 in the data's units, on the policy's device.

        Raises:
            DataError: a feature is missing, or has another shape; the step has not happened then.
            Diverged: the action is not finite.
        """
        return self._answer(self.player.act, batch, noise)

    @torch.no_grad()
    def predict_action_chunk(self, batch: Mapping[str, Any], noise: Tensor | None = None, **_: Any) -> Tensor:
        """A decision now: all its actions, to be executed by the caller; arguments and errors as ``select_action``.

        Returns:
            (B, E, A), or (E, A).
        """
        return self._answer(self.player.act_chunk, batch, noise)

    def forward(self, batch: Mapping[str, Tensor]) -> NoReturn:
        """UsageError: see ``not_trained_here``."""
        raise not_trained_here()

    def get_optim_params(self) -> NoReturn:
        """UsageError: see ``not_trained_here``."""
        raise not_trained_here()

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write the folder anew, for ``save_pretrained``."""
        self.config._save_pretrained(save_directory)
        write_processors(save_directory)
        copy_checkpoint(self.player.decider.path, save_directory / CHECKPOINT)

    def _answer(self, ask: Any, batch: Mapping[str, Any], noise: Tensor | None) -> Tensor:
        if noise is not None:
            raise UsageError("noise: a policy of omp draws its own, from --policy.seed")
        device = next(self.policy.parameters()).device
        with torch.autocast(device.type, enabled=False):  # it was trained and measured in the checkpoint's own type
            return torch.from_numpy(ask(frame_of(batch, self._read))).to(device)

    def _same_as_config(self) -> None:
        """DataError when ``config.json``, or the environment that is to be acted in, has other features."""
        given: dict[str, Any] = {**(self.config.input_features or {})}
        for feature in self._read:
            _same_shape(feature, given.pop(feature.key, None), CONFIG)
        if given:
            raise DataError(f"{CONFIG}: the checkpoint beside it reads no {next(iter(given))}; export the policy again")
        _same_shape(self._action, (self.config.output_features or {}).get(ACTION), "robot or environment")


def _same_shape(feature: Feature, found: Any, where: str) -> None:
    shape = None if found is None else tuple(found.shape)
    if shape != feature.shape:
        told = "is missing" if shape is None else f"has shape {shape}"
        raise DataError(f"{where}: {feature.key} {told}, the policy has {feature.shape}")
