"""Memory that may be taken: the machine's, or what a control group leaves of it, in both versions of Linux's."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from omp_cli.core.base import memory as module
from omp_cli.core.base.memory import Memory, memory

GB = 1 << 30


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "_GROUPS", tmp_path)
    monkeypatch.setattr(module, "_OWN", tmp_path / "own")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=64 * GB, available=40 * GB))
    return tmp_path


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"memory.{name}").write_text(f"{content}\n")


def test_without_a_group_it_is_the_machines(groups: Path) -> None:
    assert memory() == Memory(64 * GB, 40 * GB)
    (groups / "own").write_text("0::/user/job\n")
    write(groups / "user", max="max", current=GB, stat="anon 5")
    assert memory() == Memory(64 * GB, 40 * GB)


def test_a_batch_systems_limit_is_of_the_group_or_of_one_above(groups: Path) -> None:
    """What files are cached in can be taken; the lowest limit counts."""
    (groups / "own").write_text("0::/slurm/job7/step0\n")
    write(groups / "slurm/job7", max=8 * GB, current=5 * GB, stat=f"anon 7\ninactive_file {3 * GB}")
    write(groups / "slurm/job7/step0", max="max", current=2 * GB, stat="inactive_file 0")
    assert memory() == Memory(8 * GB, 6 * GB)
    write(groups / "slurm/job7/step0", max=6 * GB, current=5 * GB, stat="inactive_file 0")
    assert memory() == Memory(6 * GB, 1 * GB)
    write(groups / "slurm/job7/step0", max=6 * GB, current=0, stat="")
    write(groups / "slurm/job7", max=8 * GB, current=8 * GB, stat=f"inactive_file 5\nactive_file {GB}")
    assert memory() == Memory(6 * GB, GB + 5), "a fuller one above counts, whatever its limit"
    (groups / "slurm/job7/memory.current").write_text("")
    assert memory().total == 6 * GB


def test_a_container_sees_its_group_as_the_root(groups: Path) -> None:
    (groups / "own").write_text("0::/\n")
    write(groups, max=2 * GB, current=3 * GB, stat="inactive_file 5")
    assert memory() == Memory(2 * GB, 0)


def test_version_1_of_groups(groups: Path) -> None:
    (groups / "own").write_text("7:cpu:/x\n4:memory:/docker/abc\n1:name=systemd:/\n")
    write(groups / "memory", limit_in_bytes=2**63 - 4096, usage_in_bytes=50 * GB, stat="total_inactive_file 0")
    write(groups / "memory/docker/abc", limit_in_bytes=4 * GB, usage_in_bytes=3 * GB, stat=f"total_inactive_file {GB}")
    assert memory() == Memory(4 * GB, 2 * GB)
