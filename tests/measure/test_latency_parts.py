"""Parts, control ticks, where frames come from, and the state of the machine."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from omp_cli.core.measure.latency import machine
from omp_cli.core.measure.latency.machine import Watch, complaints, state
from omp_cli.core.measure.latency.parts import all_parts, measure_frames, measure_ticks
from omp_cli.core.measure.latency.sensors import Cameras, Frame, sensors
from omp_cli.core.measure.latency.subjects import from_document
from tests.measure.latency_policies import CPU, TOY, bench_of, document, subject


def test_the_parts_of_a_decision_and_the_tick_of_a_simulated_task(tmp_path: Path) -> None:
    policy = subject().load()
    parts, ticks = all_parts(subject(), policy, (1, 6), bench_of(tmp_path))
    names = [part.name for part in parts]
    assert names[0] == "observation"
    last = ["host to device", "encode", "sample, NFE 1", "sample, NFE 6", "un-normalise", "device to host"]
    assert names[-6:] == last
    least = {part.name: part.statistics.min for part in parts if part.statistics}
    assert least["sample, NFE 6"] > 2 * least["sample, NFE 1"]
    assert least["un-normalise"] < least["encode"]
    assert [tick.nfe for tick in ticks] == [1, 6]
    for tick in ticks:
        assert (tick.step_ms, tick.chunk_ms) == (50.0, 50.0 * policy.chunk.execute)
        assert tick.total.min >= tick.observe.min + tick.decide.min - 1e-9
        assert 0 <= tick.late_for_chunk <= tick.late_for_step <= 1


class Metronome:
    """A frame that takes 30 ms, 20 of them in the lens."""

    note = ""

    def __init__(self, frame: Frame) -> None:
        self.made, self.moved, self._frame = 0, 0, frame
        self.seconds: Mapping[str, float] = {"lens": 0.0}

    def advance(self) -> None:
        self.moved += 1

    def frame(self) -> Frame:
        import time

        self.made += 1
        time.sleep(0.03)
        self.seconds = {"lens": 0.02 * self.made}
        return self._frame

    def close(self) -> None:
        pass


def test_a_tick_observes_the_frames_that_are_read_and_counts_those_that_come_late(tmp_path: Path) -> None:
    policy = subject().load()
    frame = {"state": np.zeros(5, np.float32), "point_cloud": np.zeros((48, 3), np.float32)}
    source = Metronome(frame)
    tick = measure_ticks(policy, source, 1, bench_of(tmp_path, ticks=3))
    assert (policy.chunk.n_obs, policy.chunk.execute) == (2, 3)
    assert (source.moved, source.made) == (9, 1 + 3 * 2)
    assert tick.observe.min >= 60  # two frames
    assert (tick.late_for_step, tick.late_for_chunk) == (1.0, 0.0)
    whole, lens = measure_frames(source, 3)
    assert whole.statistics is not None
    assert whole.statistics.min >= 30
    assert lens.statistics is not None
    assert (lens.name, lens.within, round(lens.statistics.p50, 6)) == ("lens", "observation", 20)


def test_a_simulator_that_is_missing_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("metaworld", "metaworld.env_dict"):  # the second one too, if an earlier test has imported it
        monkeypatch.setitem(sys.modules, name, None)
    plain = document()
    del plain["bench"]
    meta = from_document("t", plain)
    parts, ticks = all_parts(meta, meta.load(), (1,), bench_of(tmp_path))
    assert ticks == []
    assert parts[0].name == "observation"
    assert parts[0].statistics is None
    assert "missing: Meta-World does not load" in parts[0].reason
    assert parts[1].statistics is not None


def test_a_suite_that_shows_something_else_is_not_taken(tmp_path: Path) -> None:
    other = from_document("t", document(spec={**TOY, "state_dim": 6}))
    parts, _ = all_parts(other, other.load(), (1,), bench_of(tmp_path))
    assert "shows state of shape (5,), the policy reads (6,)" in parts[0].reason


def test_pictures_are_resized_from_camera_frames(tmp_path: Path) -> None:
    spec = {**TOY, "points": None, "image": [32, 24, 6], "suite": "a suite nobody has"}
    pictured = from_document("t", document(encoder="light-vit", spec=spec))
    policy = pictured.load()
    source = sensors(pictured, policy, 0)
    assert isinstance(source, Cameras)
    assert "2 x 480x640 random pixels resized to 32x24" in source.note
    frame = source.frame()
    assert (frame["img"].shape, frame["img"].dtype) == ((32, 24, 6), np.uint8)
    first, again = frame["img"], source.frame()["img"]
    assert np.array_equal(first, again)
    source.advance()
    assert not np.array_equal(first, source.frame()["img"])
    assert abs(float(first.mean()) - 127.5) < 3  # averaged, not picked
    assert first.std() < 40
    parts, ticks = all_parts(pictured, policy, (1,), bench_of(tmp_path))
    assert parts[0].statistics is not None
    assert len(ticks) == 1


def test_what_the_system_does_not_tell_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "_lines", lambda path: [])
    monkeypatch.setattr(machine, "CPUS", tmp_path)
    found = state(CPU)
    for key in ("cpu_mhz", "scaling_mhz", "governor", "cgroup_cpus", "gpu"):
        assert found[key] is None
    monkeypatch.setattr(machine, "_cpu_ticks", lambda: machine._Ticks(0.0, 0.0, 0.0))
    with Watch(CPU) as watch:
        pass
    report = watch.report()
    assert (report["others_cores"], report["steal_percent"]) == (None, None)
    assert complaints(report) == []


def test_the_state_of_the_gpu_is_read_by_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    pynvml = pytest.importorskip("pynvml")

    def handle(uuid: str) -> int:
        if uuid != "GPU-8a5c":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return 3

    def untold(gpu: int) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    answers = {
        "Init": lambda: None,
        "SystemGetDriverVersion": lambda: "580.65",
        "DeviceGetHandleByUUID": handle,
        "DeviceGetName": {3: "NVIDIA H100"}.get,
        "DeviceGetPerformanceState": {3: 0}.get,
        "DeviceGetClockInfo": lambda gpu, kind: {(3, pynvml.NVML_CLOCK_SM): 1755, (3, pynvml.NVML_CLOCK_MEM): 2619}[
            gpu, kind
        ],
        "DeviceGetMaxClockInfo": lambda gpu, kind: {(3, pynvml.NVML_CLOCK_SM): 1980}[gpu, kind],
        "DeviceGetPowerUsage": {3: 345_678}.get,
        "DeviceGetPowerManagementLimit": {3: 700_000}.get,
        "DeviceGetTemperature": lambda gpu, sensor: {(3, pynvml.NVML_TEMPERATURE_GPU): 41}[gpu, sensor],
        "DeviceGetPersistenceMode": {3: 1}.get,
        "DeviceGetUtilizationRates": untold,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, f"nvml{name}", answer)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="8a5c"))
    found = state(torch.device("cuda"))["gpu"]
    assert found == {
        "name": "NVIDIA H100",
        "driver_version": "580.65",
        "pstate": "P0",
        "clocks.sm": "1755 MHz",
        "clocks.mem": "2619 MHz",
        "clocks.max.sm": "1980 MHz",
        "power.draw": "345.68 W",
        "power.limit": "700.00 W",
        "temperature.gpu": "41",
        "persistence_mode": "Enabled",
        "utilization.gpu": "[N/A]",
    }
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="another"))
    assert complaints(Watch(torch.device("cuda")).report()) == ["clocks and power of the GPU are not known (Not Found)"]


def test_without_nvidias_bindings_the_line_to_install_them_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    (line,) = complaints(Watch(torch.device("cuda")).report())
    assert "pip install 'omp-cli[gpu]'" in line


def test_clocks_governor_and_quota_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for cpu, mhz in ((0, 1200000), (1, 3400000)):
        folder = tmp_path / f"cpu{cpu}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(f"{mhz}\n")
        (folder / "scaling_governor").write_text("schedutil\n")
    monkeypatch.setattr(machine, "CPUS", tmp_path)
    honest = machine._lines
    monkeypatch.setattr(
        machine, "_lines", lambda path: ["150000 100000"] if str(path).endswith("cpu.max") else honest(path)
    )
    found = state(CPU)
    assert found["scaling_mhz"] == {"min": 1200.0, "max": 3400.0}
    assert found["governor"] == ["schedutil"]
    assert found["cgroup_cpus"] == 1.5


def test_a_busy_machine_is_complained_about(monkeypatch: pytest.MonkeyPatch) -> None:
    def ticks(busy: float, steal: float, total: float) -> machine._Ticks:
        return machine._Ticks(busy, steal, total)

    # two stretches of 2 s; what happens between them does not count
    moments = iter([ticks(100, 5, 1000), ticks(103, 6, 1020), ticks(500, 90, 9000), ticks(503, 91, 9020)])
    clock = iter([0.0, 2.0, 50.0, 52.0])
    monkeypatch.setattr(machine, "_cpu_ticks", lambda: next(moments))
    monkeypatch.setattr(machine, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(machine, "_own_cpu_seconds", lambda: 1.0)
    watch = Watch(CPU)
    for _ in range(2):
        with watch:
            pass
    report = watch.report()
    assert (report["seconds"], report["others_cores"], report["steal_percent"]) == (4.0, 1.5, 5.0)
    lines = complaints(report)
    assert len(lines) == 2
    assert "1.5 cores" in lines[0]
    assert "5.0 %" in lines[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_tells_its_clocks() -> None:
    gpu = state(torch.device("cuda"))["gpu"]
    assert gpu is None or {"name", "pstate", "clocks.sm"} <= gpu.keys()
