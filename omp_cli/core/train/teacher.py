"""The trained policy that a distilling method learns from: whether it fits, and what the student takes over from it."""

from __future__ import annotations

import torch

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import UsageError
from omp_cli.core.checkpoint import Checkpoint
from omp_cli.core.methods.teaching import Teaching
from omp_cli.core.policy import Policy
from omp_cli.core.relative import with_relative
from omp_cli.core.spec import Spec
from omp_cli.core.train.config import PretrainConfig


def load_teacher(checkpoint: Checkpoint, config: PretrainConfig, spec: Spec, device: torch.device) -> Policy:
    """The checkpoint's policy (moving average) in evaluation mode, frozen.

    Args:
        checkpoint: the teacher's checkpoint.
        config: the configuration of the student's run.
        spec: the spec of the data that the student is trained on.
        device: the device that the policy is loaded onto.

    Raises:
        UsageError: it is no teacher for that student.
    """
    chunk = checkpoint.config().chunk
    # earlier checkpoints do not say them, and each has an encoder of its own
    own = ("displacements", "quaternions", "state_rotations")
    names = [name for name in Spec.model_fields if name not in own]
    must_agree: list[tuple[str, Settings, Settings]] = [(name, checkpoint.meta.spec, spec) for name in names]
    must_agree += [("n_obs", chunk, config.chunk), ("horizon", chunk, config.chunk)]
    for name, theirs, ours in must_agree:
        if (a := getattr(theirs, name)) != (b := getattr(ours, name)):
            raise UsageError(f"teacher {checkpoint.path}: its {name} is {a!r}, the student's is {b!r}")
    policy = checkpoint.load("ema", device).requires_grad_(False)
    if not isinstance(policy.method, Teaching):
        method = policy.config.method.name
        raise UsageError(f"teacher {checkpoint.path}: {method} cannot be distilled", "take a flow or diffusion policy")
    relative = with_relative(spec, config.chunk.relative, ()).relative_actions
    if list(map(str, policy.spec.relative_actions)) != list(map(str, relative)):
        a, b = (",".join(each.relative) or "nothing" for each in (chunk, config.chunk))
        what = f"what it learns relative to the state (chunk.relative) is {a}, the student's {b}"
        hint = f"--set chunk.relative={a}" if chunk.relative else "leave chunk.relative out"
        raise UsageError(f"teacher {checkpoint.path}: {what}", hint)
    return policy


def learn_from(policy: Policy, teacher: Policy) -> bool:
    """Give a fresh student its teacher's limits of actions, so that a chunk is the same numbers to both.

    And all weights where net, encoder and what it sees of rotations are the same, unless ``warm_start`` is off, or
    the teacher has two networks (``Policy.freeze_from``); returns whether they were taken.
    """
    ours, theirs = (
        (p.config.net, p.config.encoder, p.spec.quaternions, p.spec.state_rotations, p.spec.relative_state)
        for p in (policy, teacher)
    )
    alike = ours == theirs and teacher.frozen is None
    if policy.method.warm_start and alike:
        policy.load_state_dict(teacher.state_dict())
        return True
    policy.action_limits.load_state_dict(teacher.action_limits.state_dict())
    return False
