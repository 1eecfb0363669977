"""The state of the machine that figures were measured on: clocks, power, load. What is not there is None."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import psutil
import torch

from omp_cli.core.measure.latency.gpu import UNKNOWN, gpu_state

CPUS = Path("/sys/devices/system/cpu")
BUSY_CORES, STEAL_PERCENT = 0.25, 2.0
"""Above these the figures are called into question."""


def state(device: torch.device) -> dict[str, Any]:
    """Clocks and power state at this moment; JSON types, None where the system does not tell."""
    return {
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "cpu_mhz": _span([float(line.partition(":")[2]) for line in _lines("/proc/cpuinfo") if "MHz" in line]),
        "scaling_mhz": _span([float(x) / 1000 for x in _cpufreq("scaling_cur_freq")]),
        "governor": sorted(set(_cpufreq("scaling_governor"))) or None,
        "cgroup_cpus": _cgroup_cpus(),
        "gpu": gpu_state(device),
        "float32_matmul": torch.get_float32_matmul_precision(),
    }


def _lines(path: str | Path) -> list[str]:
    """Lines of a file that may not be there."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _cpufreq(name: str) -> list[str]:
    return [line for path in sorted(CPUS.glob(f"cpu[0-9]*/cpufreq/{name}")) for line in _lines(path)]


def _span(values: list[float]) -> dict[str, float] | None:
    return {"min": min(values), "max": max(values)} if values else None


def _cgroup_cpus() -> float | None:
    """Cores that the container may use (cgroup v2, then v1); None without a limit."""
    quota = "".join(_lines("/sys/fs/cgroup/cpu.max")).split()
    if not quota:
        folder = Path("/sys/fs/cgroup/cpu")
        quota = [*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")]
    if len(quota) != 2 or not all(x.isdigit() for x in quota):
        return None
    return int(quota[0]) / int(quota[1])


@dataclass(frozen=True)
class _Ticks:
    """Processor time of the whole machine so far, seconds over all cores."""

    busy: float
    steal: float
    total: float


def _cpu_ticks() -> _Ticks:
    times = psutil.cpu_times()._asdict()
    total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)  # these count as user's, too
    steal = times.get("steal", 0.0)
    return _Ticks(total - times["idle"] - times.get("iowait", 0.0) - steal, steal, total)


def _own_cpu_seconds() -> float:
    """CPU time of this process, of its finished children (compilers) and of those at work (runtimes)."""
    times = os.times()
    total = process_time() + times.children_user + times.children_system
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended since, and counts among the finished ones
            total += sum(child.cpu_times()[:4])
    return total


class Watch:
    """What else the machine did while calls were timed; ``with watch:`` around each stretch of timing.

    Args:
        device: the device whose state is read at the start, and after each stretch, while its clocks are still up.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = self._after = state(device)
        self._seconds = self._others = self._steal = self._total = 0.0

    def __enter__(self) -> Watch:
        self._start = _cpu_ticks(), _own_cpu_seconds(), perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        ticks, own, clock = self._start
        self._seconds += perf_counter() - clock
        now = _cpu_ticks()
        self._others += now.busy - ticks.busy - (_own_cpu_seconds() - own)
        self._steal += now.steal - ticks.steal
        self._total += now.total - ticks.total
        self._after = state(self._device)

    def report(self) -> dict[str, Any]:
        """State before and after; cores that other processes kept busy; share of time the hypervisor took."""
        known = self._seconds > 0 and self._total > 0
        return {
            "seconds": round(self._seconds, 1),
            "others_cores": round(max(self._others, 0.0) / self._seconds, 2) if known else None,
            "steal_percent": round(100 * self._steal / self._total, 2) if known else None,
            "before": self._before,
            "after": self._after,
        }


def complaints(report: dict[str, Any]) -> list[str]:
    """Why figures from this machine in this state should not be quoted, or say too little; one line each."""
    found = []
    if why := (report["after"]["gpu"] or {}).get(UNKNOWN):
        found.append(f"clocks and power of the GPU are not known ({why})")
    if (report["others_cores"] or 0) > BUSY_CORES:
        others = f"other processes used {report['others_cores']} cores meanwhile"
        found.append(f"the machine was busy: {others}; the minima suffer least")
    if (report["steal_percent"] or 0) > STEAL_PERCENT:
        found.append(f"the hypervisor gave {report['steal_percent']} % of this machine's time to others")
    return found
