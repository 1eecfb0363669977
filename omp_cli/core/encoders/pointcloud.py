"""Point cloud and state.

Legend: B batch, T observation steps, N points, P points used, S state dimension, D embedding dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from omp_cli.core.base.config import Above0, AtLeast0, Count, Width
from omp_cli.core.base.errors import UsageError
from omp_cli.core.encoders.base import ENCODERS, Encoder, EncoderConfig, Limits, StateLimits
from omp_cli.core.encoders.pointnet import PointNet
from omp_cli.core.spec import Spec


class PointCloudConfig(EncoderConfig):
    """Settings of the point-cloud encoder; the sizes are those of DP3, FlowPolicy and MP1."""

    name: Literal["pointcloud"] = "pointcloud"
    channels: tuple[Width, ...] = Field((64, 128, 256), min_length=1)
    """Widths of the per-point layers."""
    out: Width = 64
    """Width of the cloud's embedding of one frame."""
    state: Width = 64
    """Width of the state's embedding of one frame, and of its hidden layer."""
    points: Count | None = None
    """P, the largest number of points that is read, from the start of the cloud; None reads all. Clouds are stored in
    farthest-point order, so the first P are a farthest-point sample too.
    """
    origin: Literal["gripper", "world"] = "gripper"
    """"gripper" subtracts the frame's end-effector position and divides by ``scale``; "world" maps the limits of the
    data to [-1, 1].
    """
    scale: Above0 = 0.3
    """Metres that become 1 in the gripper frame."""
    two_pass: bool = True
    """Exact and faster gradient through the critical points only."""
    jitter: AtLeast0 = 0.0
    """Metres, standard deviation of noise on every coordinate of every point, in training only."""
    translate: AtLeast0 = 0.0
    """Metres, largest shift per axis of cloud and positions in the state together, the same for all frames of a sample,
    in training only; for tasks whose actions are displacements (``Spec.positions``).
    """

    def passed_over(self) -> dict[str, str]:
        """The gripper frame's unit, in another frame."""
        return {} if self.origin == "gripper" else {"scale": f"the origin is {self.origin}"}


@ENCODERS.register("pointcloud")
class PointCloudEncoder(Encoder):
    """PointNet over the cloud and an MLP over the state of each frame; D = T (out + state)."""

    Config = PointCloudConfig
    config: PointCloudConfig
    keys = ("state", "point_cloud")
    _end_effector: Tensor
    _positions: Tensor

    def __init__(self, config: PointCloudConfig, spec: Spec, n_obs: int) -> None:
        super().__init__(config, spec, n_obs)
        if spec.points is None:
            raise UsageError(
                f"encoder pointcloud: {spec.suite} {spec.task} has no point cloud",
                "--preset dmpo learns from pictures, --preset dmpo-state from the state alone",
            )
        if config.origin == "gripper" and spec.end_effector is None:
            raise UsageError(
                f"encoder.origin: gripper, but {spec.suite} {spec.task} has no end-effector",
                "use --set encoder.origin=world",
            )
        if config.origin == "gripper" and not spec.cloud_in_world:
            raise UsageError(
                "encoder.origin: gripper needs clouds in the world frame",
                "use --set encoder.origin=world for frame dp3",
            )
        if config.points is not None and config.points < spec.points and not spec.cloud_in_fps_order:
            raise UsageError(
                f"encoder.points: the first {config.points} points of clouds that are in no order are no sample",
                "use --set encoder.points=none, or prepare them with fewer points (--points), which are in order then",
            )
        if config.translate and not (spec.positions and spec.cloud_in_world):
            raise UsageError(
                f"encoder.translate: {spec.suite} {spec.task} does not say that cloud and state may be moved together",
                "leave encoder.translate at 0; clouds of frame dp3 and data of an earlier omp cannot be moved",
            )
        self.out_dim = n_obs * (config.out + config.state)
        # a buffer, for an index made from numbers is copied from the host at every call
        self.register_buffer("_end_effector", torch.tensor(spec.end_effector or ()), persistent=False)
        positions = torch.tensor(spec.positions or (), dtype=torch.long).flatten()
        self.register_buffer("_positions", positions, persistent=False)
        self.state_limits, self.cloud_limits = StateLimits(spec), Limits(3)
        self.cloud = PointNet(config.channels, config.out, config.two_pass)
        self.state = nn.Sequential(
            nn.Linear(spec.seen_state_dim, config.state), nn.ReLU(), nn.Linear(config.state, config.state)
        )

    def fit(self, arrays: Mapping[str, Tensor]) -> None:
        """Take the limits from the state and point_cloud (frames, N, 3)."""
        self.state_limits.fit(arrays["state"])
        self.cloud_limits.fit(arrays["point_cloud"])

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """state (B, T, S), point_cloud (B, T, N, 3), metres in the world frame -> (B, D)."""
        state, cloud = obs["state"], obs["point_cloud"][:, :, : self.config.points]
        if self.training:
            state, cloud = self._augmented(state, cloud)
        cloud = self._placed(cloud, state)
        embedded = self.cloud(cloud.flatten(0, 1)).unflatten(0, state.shape[:2])
        return self.scaled(torch.cat([embedded, self.state(self.state_limits(state))], dim=-1).flatten(1))

    def _augmented(self, state: Tensor, cloud: Tensor) -> tuple[Tensor, Tensor]:
        """State and cloud with ``translate`` and ``jitter``; draws from torch's global generator."""
        if self.config.translate:
            shift = (torch.rand_like(state[:, :1, :3]) * 2 - 1) * self.config.translate
            cloud = cloud + shift[:, :, None]
            state = state.index_add(-1, self._positions, shift.repeat(1, state.shape[1], len(self.spec.positions)))
        if self.config.jitter:
            cloud = cloud + torch.randn_like(cloud) * self.config.jitter
        return state, cloud

    def _placed(self, cloud: Tensor, state: Tensor) -> Tensor:
        """The clouds in the frame and units that the network sees: (B, T, P, 3) -> (B, T, P, 3)."""
        if self.config.origin == "world":
            return self.cloud_limits(cloud)
        end_effector = state.index_select(-1, self._end_effector)
        return (cloud - end_effector[:, :, None]) / self.config.scale
