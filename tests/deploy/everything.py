"""A task that lets a policy see everything: what tests of every encoder, net and method decide on."""

from __future__ import annotations

from omp_cli.core.spec import Quaternion, Spec

EVERYTHING = Spec(
    suite="toy",
    task="toy",
    action_dim=4,
    state_dim=9,
    points=40,
    end_effector=(0, 1, 2),
    max_steps=10,
    control_hz=10.0,
    image=(24, 24, 3),
    quaternions=(Quaternion(first=3, side=(1.0, 0.0, 0.0, 0.0)),),
)
