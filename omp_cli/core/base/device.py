"""Where tensors live and how many threads work on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from omp_cli.core.base.errors import MissingDependency, UsageError


def pick_device(name: str) -> torch.device:
    """The device of a name: ``auto`` (CUDA, then MPS, then CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        UsageError: the name is no device's.
        MissingDependency: this machine does not have the device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdigit()):
        raise UsageError(f"unknown device {name!r}", "use auto, cpu, cuda, cuda:N or mps")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[kind]
    if not there or (kind == "cuda" and index and int(index) >= torch.cuda.device_count()):
        raise MissingDependency(f"device {name!r} is not available here", "use --device auto")
    return torch.device(name)


def waiting_for(device: torch.device) -> Callable[[], object] | None:
    """Waits for all that was launched on a CUDA device; None for the others, which return when they are done."""
    return partial(torch.cuda.synchronize, device) if device.type == "cuda" else None


def moved(x: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device; on CUDA the host goes on while it is copied."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)


def no_graph(device: torch.device) -> str | None:
    """Why a device replays no graphs of what was launched on it; None where it can."""
    return None if device.type == "cuda" else f"a graph needs CUDA, and this runs on {device.type}"


def check_graph(setting: str, asked: str, device: torch.device) -> None:
    """UsageError where a graph was asked for ("on") by the setting of that name and the device has none."""
    if asked == "on" and (reason := no_graph(device)) is not None:
        raise UsageError(f"{setting}: on, but {reason}", "leave it at auto")


def check_tf32(setting: str, asked: str, device: torch.device) -> None:
    """UsageError where the setting of that name asks a device to round products ("tf32") that rounds none."""
    if asked == "tf32" and device.type != "cuda":
        raise UsageError(f"{setting}: tf32 is of NVIDIA GPUs, and this runs on {device.type}", "leave it out")


def device_name(device: torch.device) -> str:
    """The accelerator's own name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which a loss is computed: bfloat16 autocast with ``bf16``, nothing with ``fp32`` and ``tf32``.

    Autocast's cache of cast weights is off. That of torch before PR 165068 (pytorch #158232) keeps a cast of an
    unrecorded pass, such as a target's, for the recorded pass that follows, in which the weight then has no gradient.
    """
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False) if precision == "bf16" else nullcontext()


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether float32 products and convolutions on NVIDIA GPUs may round their operands to TF32's 10 bits inside.

    torch itself leaves it on for convolutions and off for products; nothing changes on other devices.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    kept = matmul.allow_tf32, cudnn.allow_tf32
    allow_tf32(allowed)
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = kept


def allow_tf32(allowed: bool) -> None:
    """What ``tf32`` does, for the rest of a process."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed torch's own generators of the CPU and of a device; ``torch.manual_seed`` looks for all devices there are."""
    torch.default_generator.manual_seed(seed)
    own_generator(device).manual_seed(seed)


def own_generator(device: torch.device) -> torch.Generator:
    """torch's own generator of a CUDA device, which graphs record; of the CPU for all other devices."""
    if device.type != "cuda":
        return torch.default_generator
    generator: torch.Generator = torch.cuda.default_generators[_index(device)]
    return generator


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index


def recording_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream of all recordings on a CUDA device, and of what runs before them: cuBLAS keeps memory for each stream.

    torch's own is of the first device that ever recorded: another device's work would be executed instead, and its
    graph be empty.
    """
    return _stream(_index(device))


@lru_cache
def _stream(index: int) -> torch.cuda.Stream:
    return torch.cuda.Stream(index)


@contextmanager
def recording(graph: torch.cuda.CUDAGraph, device: torch.device, pool: Any = None) -> Iterator[None]:
    """Record what is launched on a CUDA device, without executing it; with a pool, in memory shared with its others.

    Raises:
        RuntimeError: something waited for the device or copied from the host.
    """
    generator, stream = own_generator(device), recording_stream(device)
    state, pool = generator.get_state(), pool or torch.cuda.graph_pool_handle()
    try:
        # torch leaves the stream of a recording that failed as the current one; the context around it takes it back.
        with torch.cuda.device(device), torch.cuda.stream(stream), torch.cuda.graph(graph, pool, stream):
            yield
    except RuntimeError:
        # torch leaves the device's generator as if its numbers were still being recorded, and it draws none.
        generator.graphsafe_set_state(torch.Generator(device).graphsafe_get_state())
        generator.set_state(state)
        _end_recording_of_memory(_index(device), pool)
        raise


def _end_recording_of_memory(index: int, pool: Any) -> None:
    """What torch before 2.13 leaves out after a recording that failed: its allocator went on as in a recording.

    It would give no memory back before it runs out, and torch 2.7 would begin no other recording. Where torch has ended
    it, the first of these two raises, and there is nothing to release.
    """
    with suppress(RuntimeError):
        torch._C._cuda_endAllocateToPool(index, pool)
        torch._C._cuda_releasePool(index, pool)


def use_threads(threads: int) -> None:
    """Set the number of torch's threads; beside another process several are slower, as barriers wait for a core."""
    torch.set_num_threads(max(threads, 1))


@contextmanager
def one_thread() -> Iterator[None]:
    """A context with one thread of torch's, in which results do not depend, to the bit, on how many the process has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
