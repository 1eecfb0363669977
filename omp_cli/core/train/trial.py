"""A trial of parts of the user's own on the first batch: a fault of theirs is told before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from omp_cli.core.base.errors import OmpError, UsageError, machine_error, one_line
from omp_cli.core.base.plugins import way_there
from omp_cli.core.base.registry import Family
from omp_cli.core.families import ENCODERS, METHODS, NETS
from omp_cli.core.methods import Draws, Jump, LossReport
from omp_cli.core.policy import LossModule, Policy, evaluating
from omp_cli.core.train.batches import Batch


def try_parts(module: LossModule, batch: Callable[[], Batch]) -> None:
    """Use every part of the policy once, as training and a decision do, where one of them is not shipped with omp.

    Nothing is learned, and the random numbers of the run stay as they are.

    Args:
        module: the loss; its policy has its weights and its normalisation.
        batch: gives the first batch.

    Raises:
        UsageError: a part fails or gives something else than its family asks for; the message names part and file.
    """
    policy = module.policy
    config = policy.config
    chosen: dict[Family[Any], str] = {
        ENCODERS: config.encoder.name,
        NETS: config.net.name,
        METHODS: config.method.name,
    }
    own = {f: f.where(name) for f, name in chosen.items() if not f.ships(name)}
    if not own:
        return
    device = policy.action_limits.scale.device
    forked = torch.random.fork_rng([device] if device.type == "cuda" else [], device_type=device.type)
    with forked, evaluating(module):  # no statistics of a batch are kept
        _try_draw(policy, own)
        with _told(own, "draw", METHODS):
            obs, actions, draws = batch()
        _try_decision(policy, own, obs)
        with _told(own, "loss", METHODS, NETS, ENCODERS):
            _check_loss(module(obs, actions, draws))


def _try_draw(policy: Policy, own: Mapping[Family[Any], str]) -> None:
    shape = (2, policy.chunk.horizon, policy.spec.learned_action_dim)
    with _told(own, "draw", METHODS):
        drawn = policy.method.draw(shape, torch.Generator())
        if not isinstance(drawn, Draws):
            raise _Fault(f"gave {_seen(drawn)}, expected Draws")
        _check_shape("noise", drawn.noise, shape)
        _check_shape("r", drawn.r, shape[:1])
        _check_shape("t", drawn.t, shape[:1])


@torch.no_grad()
def _try_decision(policy: Policy, own: Mapping[Family[Any], str], obs: Mapping[str, Tensor]) -> None:
    """Embed, ask the network once, and decide with the method's own number of evaluations."""
    count = len(next(iter(obs.values())))
    with _told(own, "forward", ENCODERS):
        _check_shape("embedding", h := policy.encoder(obs), (count, policy.encoder.out_dim))
    shape = (count, policy.chunk.horizon, policy.spec.learned_action_dim)
    noise, zero = torch.randn(shape).to(h.device), torch.zeros(count, device=h.device)
    with _told(own, "forward", NETS):
        _check_shape("velocity", policy.field(h)(noise, zero, zero + 1, []), shape)
    with _told(own, "jumps", METHODS):
        jumps = policy.method.jumps(policy.nfe, 0.0)
        if not isinstance(jumps, Sequence) or not jumps or not all(isinstance(jump, Jump) for jump in jumps):
            raise _Fault(f"gave {_seen(jumps)}, expected a tuple of one Jump or more")
        z = noise
        for jump in jumps:
            _check_shape("mean of a jump", z := jump.mean(policy.field(h), z), shape)
    with _told(own, "sample", METHODS):
        _check_shape("sample", policy.sample(h, noise, policy.nfe), shape)


def _check_loss(report: Any) -> None:
    if not isinstance(report, LossReport):
        raise _Fault(f"gave {_seen(report)}, expected a LossReport")
    for what, given in [("total", report.total), *report.parts.items(), *report.terms.items()]:
        value = torch.as_tensor(given) if isinstance(given, int | float) and what != "total" else given
        if not isinstance(value, Tensor) or value.numel() != 1 or (what == "total" and value.ndim):
            raise _Fault(f"{what} is {_seen(given)}, expected a tensor of one number")
    if not report.total.requires_grad:
        raise _Fault("total has no gradient, so nothing would be learned")
    if not report.total.isfinite():
        raise _Fault(f"total is {report.total.item()} on the first batch")


class _Fault(Exception):
    """What a part gave is not what its family asks for."""


@contextmanager
def _told(own: Mapping[Family[Any], str], what: str, *families: Family[Any]) -> Iterator[None]:
    """Tell a fault within with the first of these families' parts that is the user's own."""
    part = next((own[family] for family in families if family in own), None)
    try:
        yield
    except OmpError:
        raise
    except Exception as error:
        if part is None or machine_error(error) is not None:
            raise
        said = str(error) if isinstance(error, _Fault) else one_line(error, typed=True)
        hint = "" if isinstance(error, _Fault) else way_there(error)
        raise UsageError(f"{part}: {what}: {said}", hint) from error


def _check_shape(what: str, given: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(given, Tensor) or tuple(given.shape) != shape or not given.is_floating_point():
        raise _Fault(f"{what} is {_seen(given)}, expected a tensor {shape} of floating point numbers")
    if not given.isfinite().all():
        raise _Fault(f"{what} has numbers that are not finite, on the first batch and with fresh weights")


def _seen(given: Any) -> str:
    """What something is, in a few words."""
    return f"a tensor {tuple(given.shape)} {given.dtype}" if isinstance(given, Tensor) else f"{type(given).__name__}"
