"""The clocks, power and load of an NVIDIA GPU, as its driver tells them to NVML."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import torch

UNKNOWN, INSTALL = "not read", "pip install 'omp-cli[gpu]'"


def gpu_state(device: torch.device) -> dict[str, str] | None:
    """The state at this moment, units included, under the names that nvidia-smi has for them.

    Returns:
        None for another kind of device. ``UNKNOWN`` alone, with the reason, where NVML cannot be asked, and "[N/A]" for
        what this GPU does not tell.
    """
    if device.type != "cuda":
        return None
    try:
        import pynvml as nvml
    except ImportError:
        return {UNKNOWN: INSTALL}
    try:
        nvml.nvmlInit()
        # NVML does not know CUDA_VISIBLE_DEVICES: its numbers are others than torch's
        gpu = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    except nvml.NVMLError as error:
        return {UNKNOWN: str(error)}
    readings: dict[str, Callable[[], str]] = {
        "name": lambda: nvml.nvmlDeviceGetName(gpu),
        "driver_version": lambda: nvml.nvmlSystemGetDriverVersion(),
        "pstate": lambda: f"P{nvml.nvmlDeviceGetPerformanceState(gpu)}",
        "clocks.sm": lambda: f"{nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM)} MHz",
        "clocks.mem": lambda: f"{nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM)} MHz",
        "clocks.max.sm": lambda: f"{nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_SM)} MHz",
        "power.draw": lambda: f"{nvml.nvmlDeviceGetPowerUsage(gpu) / 1000:.2f} W",
        "power.limit": lambda: f"{nvml.nvmlDeviceGetPowerManagementLimit(gpu) / 1000:.2f} W",
        "temperature.gpu": lambda: f"{nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)}",
        "persistence_mode": lambda: "Enabled" if nvml.nvmlDeviceGetPersistenceMode(gpu) else "Disabled",
        "utilization.gpu": lambda: f"{nvml.nvmlDeviceGetUtilizationRates(gpu).gpu} %",
    }
    state = dict.fromkeys(readings, "[N/A]")
    for name, reading in readings.items():
        with suppress(nvml.NVMLError):  # a virtual GPU has no clocks, a laptop's no limit of its power
            state[name] = reading()
    return state
