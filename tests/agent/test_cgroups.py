"""Where control groups are made, and what is written into them."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from drover.agent import cgroups
from drover.agent.cgroups import CPU, MEMORY, Groups, Place
from drover.agent.ports import HostError, Share

SHARE = Share(cpu_milli=500, cores=2, memory_bytes=512 << 20)
UNIFIED = "30 23 0:25 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
SERVICE = "0::/system.slice/drover-agent.service"
HYBRID = """\
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"""
HYBRID_OWN = "4:memory:/some/where\n1:cpu,cpuacct:/\n0::/"


def both(_mount: Path) -> list[str]:
    return ["cpuset", "cpu", "io", "memory", "pids"]


def neither(_mount: Path) -> list[str]:
    return ["hugetlb"]


@pytest.mark.parametrize("own", [SERVICE, SERVICE + "/host"])
def test_a_service_has_groups_below_its_own_whatever_an_earlier_agent_did(own: str) -> None:
    base = Path("/sys/fs/cgroup/system.slice/drover-agent.service")
    assert cgroups.find(False, UNIFIED, own, both) == [
        Place(base, frozenset((CPU, MEMORY)), unified=True)
    ]


def test_a_free_agent_has_them_below_the_root_of_version_2() -> None:
    (place,) = cgroups.find(True, UNIFIED, "0::/user.slice/session-1.scope", both)
    assert place.base == Path("/sys/fs/cgroup")


@pytest.mark.parametrize("free", [True, False])
def test_version_1_gives_what_version_2_lacks(free: bool) -> None:
    assert cgroups.find(free, HYBRID, HYBRID_OWN, neither) == [
        Place(Path("/sys/fs/cgroup/cpu"), frozenset((CPU,)), unified=False),
        Place(Path("/sys/fs/cgroup/memory/some/where"), frozenset((MEMORY,)), unified=False),
    ]


def test_a_container_sees_its_own_group_as_the_root() -> None:
    mounts = "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu"
    (place,) = cgroups.find(False, mounts, "1:cpu:/docker/abc", neither)
    assert place.base == Path("/sys/fs/cgroup/cpu")


def test_a_vm_weighs_what_it_reserves_and_has_its_cores_and_memory() -> None:
    place = Place(Path("/"), frozenset((CPU, MEMORY)), unified=True)
    assert cgroups.settings_of(SHARE, place) == {
        "cpu.weight": "20",
        "cpu.max": "300000 100000",
        "memory.max": str(512 << 20),
    }
    place = Place(Path("/"), frozenset((CPU, MEMORY)), unified=False)
    assert cgroups.settings_of(SHARE, place) == {
        "cpu.shares": "512",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "300000",
        "memory.limit_in_bytes": str(512 << 20),
    }


@pytest.mark.parametrize(("milli", "weight"), [(0, 1), (1, 1), (1000, 39), (256_000, 10_000)])
def test_weights_stay_within_what_the_kernel_takes(milli: int, weight: int) -> None:
    assert cgroups.weight(milli) == weight
    assert 2 <= cgroups.shares(milli) <= 262_144


def test_a_host_without_groups_says_so_and_how_to_mend_it(tmp_path: Path) -> None:
    groups = Groups([], "drover-n", free=True)
    groups.open(())
    assert "cpu and memory" in groups.trouble
    assert "Delegate=yes" in groups.trouble
    assert groups.make("a", SHARE) == []
    (tmp_path / "file").write_text("")
    refused = Place(tmp_path / "file", frozenset((CPU,)), unified=False)
    groups = Groups([refused], "drover-n", free=True)
    groups.open(())
    assert str(tmp_path / "file" / "drover-n") in groups.trouble


def test_groups_are_made_joined_and_swept(tmp_path: Path) -> None:
    """On a directory: files of a real one are the kernel's to refuse."""
    places = [Place(tmp_path / name, frozenset((name,)), unified=False) for name in (CPU, MEMORY)]
    for place in places:
        place.base.mkdir()
    groups = Groups(places, "drover-n", free=True)
    groups.open(())
    assert (groups.trouble, (tmp_path / "cpu/drover-n/cpu.shares").read_text()) == ("", "768")
    joins = groups.make("a", SHARE)
    assert joins == [f"{tmp_path}/{name}/drover-n/vm-a/cgroup.procs" for name in (CPU, MEMORY)]
    (tmp_path / "memory/drover-n/vm-b").mkdir()
    groups.sweep(["a"])
    assert not (tmp_path / "memory/drover-n/vm-b").exists()
    assert (tmp_path / "memory/drover-n/vm-a").exists()
    (tmp_path / "memory/drover-n/vm-c").write_text("")
    with pytest.raises(HostError):
        groups.make("c", SHARE)


def test_a_parent_that_was_swept_is_made_again(tmp_path: Path) -> None:
    groups = Groups([Place(tmp_path, frozenset((CPU,)), unified=False)], "drover-n", free=True)
    groups.open(())
    (tmp_path / "drover-n/cpu.shares").unlink()
    (tmp_path / "drover-n").rmdir()
    assert groups.make("a", SHARE) == [f"{tmp_path}/drover-n/vm-a/cgroup.procs"]
    assert (tmp_path / "drover-n/cpu.shares").read_text() == "768"


@pytest.mark.parametrize(
    ("unified", "file", "usual", "favoured"),
    [(False, "cpu.shares", "768", "8192"), (True, "cpu.weight", "75", "800")],
)
async def test_a_guest_that_is_let_go_on_comes_first_and_only_for_a_while(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unified: bool,
    file: str,
    usual: str,
    favoured: str,
) -> None:
    def lasts(seconds: float) -> None:
        monkeypatch.setattr(cgroups, "_FAVOURED_S", seconds)

    async def settled() -> bool:
        for _ in range(200):
            if weight.is_file() and weight.read_text() == usual:
                return True
            await asyncio.sleep(0.02)
        return False

    groups = Groups([Place(tmp_path, frozenset((CPU,)), unified)], "drover-n", free=True)
    groups.open(())
    weight = tmp_path / "drover-n" / file
    assert weight.read_text() == usual
    lasts(0.05)
    groups.favour()
    lasts(60)
    groups.favour()  # the next one: from now on
    await asyncio.sleep(0.2)
    assert weight.read_text() == favoured
    lasts(0.05)
    groups.favour()
    assert await settled()
    groups.favour()
    weight.unlink()
    weight.mkdir()  # it cannot be written just then
    await asyncio.sleep(0.2)
    weight.rmdir()
    weight.touch()
    assert await settled()
    shutil.rmtree(weight.parent)
    groups.favour()  # swept: no trouble
    await asyncio.sleep(0.2)
