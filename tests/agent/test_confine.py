"""What a child of the node's first process is when it is confined: looked at from outside, in /proc."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import nodeinit

from drover.agent.confine import FIRST_FD
from drover.agent.spawner import NodeInitSpawner

USER = 2_000_003_999
SLEEP = ["sleep", "1000"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
async def first(tmp_path: Path) -> AsyncIterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([*nodeinit.COMMAND, str(tmp_path / "init")])
    async with asyncio.timeout(10):
        while not (tmp_path / "init").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
    yield process
    process.kill()
    process.wait(10)


def confined(*handed: tuple[int, str, str], **changes: Any) -> dict[str, Any]:
    return {"user": USER, "groups": [], "cgroups": [], "handed": handed, **changes}


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def become(pid: int, program: str) -> None:
    async with asyncio.timeout(10):
        while Path(f"/proc/{pid}/comm").read_text().strip() != program:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def holds(pid: int, names: list[str]) -> None:
    """Beside its three standard ones; soon, for it opens its libraries first, and closes what is looked at."""

    def held() -> list[str]:
        found = []
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if int(fd.name) > 2:
                    found.append(os.readlink(fd))
        return sorted(found)

    async with asyncio.timeout(10):
        while held() != names:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_confined_child_is_nobody_and_gains_nothing(
    tmp_path: Path, first: subprocess.Popen[bytes]
) -> None:
    spawner = NodeInitSpawner(tmp_path / "init")
    assert await spawner.confines()
    pid = await spawner.spawn("a", SLEEP, tmp_path / "log", confined=confined())
    await become(pid, "sleep")
    is_now = status(pid)
    assert is_now["Uid"].split() == is_now["Gid"].split() == [str(USER)] * 4
    assert is_now["Groups"] == ""
    assert (is_now["CapEff"], is_now["CapPrm"], is_now["CapAmb"]) == ("0" * 16,) * 3
    assert is_now["NoNewPrivs"] == "1"
    # Of the first process's own descriptors only its lock, which proves that a child of it lives.
    await holds(pid, [str(tmp_path / "init.lock")])


async def test_it_dies_with_the_first_process_whoever_it_is(
    tmp_path: Path, first: subprocess.Popen[bytes]
) -> None:
    """The kernel forgets PR_SET_PDEATHSIG at a change of user (safety rule 8)."""
    spawner = NodeInitSpawner(tmp_path / "init")
    pid = await spawner.spawn("a", SLEEP, tmp_path / "log", confined=confined())
    await become(pid, "sleep")
    ends = os.pidfd_open(pid)
    first.send_signal(signal.SIGKILL)
    ended, _, _ = await asyncio.to_thread(select.select, [ends], [], [], 5)
    os.close(ends)
    assert ended


_USES = f"""
import os, socket, sys
at = {FIRST_FD}
words = [os.read(at, 99), os.pread(at + 1, 99, 0)]
os.pwrite(at + 1, b'W', 0)
os.write(at + 2, b'more')
listens = socket.socket(fileno=at + 3)
listens.listen(1)
for name in sys.argv[1:]:
    try:
        open(name)
        words.append(b'opened')
    except PermissionError:
        words.append(b'refused')
print(words, flush=True)
listens.accept()
"""


async def test_it_is_handed_what_it_could_not_open(
    tmp_path: Path, first: subprocess.Popen[bytes]
) -> None:
    tmp_path.chmod(0o700)
    for name, text in {"seed": "seed", "disk": "disk", "log": "first "}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    names = [str(tmp_path / name) for name in ("seed", "disk", "log", "socket")]
    kinds = ("read", "write", "append", "socket")
    handed = [(FIRST_FD + i, kind, names[i]) for i, kind in enumerate(kinds)]
    out = tmp_path / "out"
    argv = ["/usr/bin/python3", "-I", "-S", "-c", _USES, *names[:2]]
    if not Path(argv[0]).exists():
        argv[0] = sys.executable
    spawner = NodeInitSpawner(tmp_path / "init")
    out.touch()
    await spawner.spawn("a", argv, out, confined=confined(*handed))
    async with asyncio.timeout(10):
        while b"]" not in out.read_bytes():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    assert out.read_text().strip() == "[b'seed', b'disk', b'refused', b'refused']"
    assert (tmp_path / "disk").read_text() == "Wisk"
    assert (tmp_path / "log").read_text() == "first more"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(names[3])
    assert (tmp_path / "socket").stat().st_uid == 0
    assert await spawner.wait("a") == 0


async def test_what_cannot_be_opened_is_said_as_qemu_says_it(
    tmp_path: Path, first: subprocess.Popen[bytes]
) -> None:
    spawner = NodeInitSpawner(tmp_path / "init")
    handed = (FIRST_FD, "write", "/no/such/disk")
    await spawner.spawn("a", SLEEP, tmp_path / "out", confined=confined(handed))
    assert await spawner.wait("a") == 127
    told = (tmp_path / "out").read_text()
    assert told == "Could not open '/no/such/disk': No such file or directory\n"


async def test_a_disk_that_cannot_be_opened_for_long_holds_nothing_of_the_first_process(
    tmp_path: Path, first: subprocess.Popen[bytes]
) -> None:
    """Not its watchdog device above all, which must be closed when it says so; and the child can be killed."""
    os.mkfifo(tmp_path / "hangs")
    spawner = NodeInitSpawner(tmp_path / "init")
    handed = (FIRST_FD, "read", str(tmp_path / "hangs"))
    pid = await spawner.spawn("a", SLEEP, tmp_path / "out", confined=confined(handed))

    await holds(pid, [str(tmp_path / "init.lock")])
    await spawner.kill("a")
    assert await spawner.wait("a") == -signal.SIGKILL


async def test_nothing_is_started_outside_its_control_group(
    tmp_path: Path, first: subprocess.Popen[bytes]
) -> None:
    spawner = NodeInitSpawner(tmp_path / "init")
    wanted = confined(cgroups=["/no/such/group/cgroup.procs"])
    await spawner.spawn("a", SLEEP, tmp_path / "out", confined=wanted)
    assert await spawner.wait("a") == 127
    assert "/no/such/group/cgroup.procs" in (tmp_path / "out").read_text()


async def test_newer_code_of_the_agent_takes_its_place_and_children_live_on(tmp_path: Path) -> None:
    agent = ["/bin/sh", "-c", f"echo once >> {tmp_path}/agents; exec sleep 1000"]
    process = subprocess.Popen([*nodeinit.COMMAND, str(tmp_path / "init"), *agent])
    spawner = NodeInitSpawner(tmp_path / "init")
    try:
        async with asyncio.timeout(10):
            while not (tmp_path / "agents").exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.01)
            child = await spawner.spawn("a", SLEEP, tmp_path / "out")
            process.send_signal(signal.SIGHUP)
            while (tmp_path / "agents").read_text() != "once\nonce\n":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await spawner.children() == {"a": child}
    finally:
        process.terminate()
        process.wait(10)
