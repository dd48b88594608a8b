"""The node's first process, as a real one: children outlive who asked for them, never nodeinit itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support import nodeinit

from drover.agent import spawner
from drover.agent.ports import HypervisorError, MonitorSilent
from drover.agent.spawner import NodeInitSpawner

SLEEP = ["sleep", "1000"]


class Node:
    def __init__(self, root: Path, agent: list[str]) -> None:
        self.log = root / "log"
        self.socket = root / "init"
        command = [*nodeinit.COMMAND, str(self.socket), *agent]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log)
        self.spawner = NodeInitSpawner(self.socket)
        self.stdio = root / "stdio"

    def lines(self, message: str) -> list[dict[str, object]]:
        entries = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [entry for entry in entries if entry["msg"] == message]

    async def up(self) -> None:
        async with asyncio.timeout(10):
            while not self.socket.exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.01)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path, [])
    await node.up()
    yield node
    node.process.terminate()
    node.process.wait(10)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it may end between open and read
        return False


async def test_child_is_listed_until_it_is_killed(node: Node) -> None:
    pid = await node.spawner.spawn("a", SLEEP, node.stdio)
    assert await NodeInitSpawner(node.socket).children() == {"a": pid}
    await node.spawner.kill("a")
    assert await node.spawner.children() == {}
    assert not running(pid)
    await node.spawner.kill("a")


async def test_wait_tells_how_it_ended(node: Node) -> None:
    await node.spawner.spawn("a", ["sh", "-c", "echo words >&2; exit 3"], node.stdio)
    assert await node.spawner.wait("a") == 3
    assert await node.spawner.wait("a") == 3
    assert node.stdio.read_text() == "words\n"
    assert await node.spawner.wait("never-seen") is None


async def test_several_wait_and_one_goes_away(node: Node) -> None:
    await node.spawner.spawn("a", SLEEP, node.stdio)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(node.spawner.wait("a"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await node.spawner.wait("a")
        await node.spawner.kill("a")
        assert await first == -signal.SIGKILL


async def test_one_process_per_copy(node: Node) -> None:
    await node.spawner.spawn("a", SLEEP, node.stdio)
    with pytest.raises(HypervisorError, match="a runs already"):
        await node.spawner.spawn("a", SLEEP, node.stdio)


async def test_process_that_nobody_waits_for_any_more_is_not_started(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request was read late: it would run without anybody knowing."""
    monkeypatch.setattr(spawner, "_CALL_LIMIT_S", 0.2)
    node.process.send_signal(signal.SIGSTOP)
    with pytest.raises(MonitorSilent):
        await node.spawner.spawn("a", SLEEP, node.stdio)
    node.process.send_signal(signal.SIGCONT)
    monkeypatch.undo()
    await node.spawner.spawn("b", SLEEP, node.stdio)
    assert list(await node.spawner.children()) == ["b"]


async def test_program_that_cannot_be_started_ends_with_its_reason(node: Node) -> None:
    await node.spawner.spawn("a", ["/no/such/program"], node.stdio)
    assert await node.spawner.wait("a") == 127
    assert "No such file" in node.stdio.read_text()


async def test_bad_requests_are_answered(node: Node) -> None:
    reader, writer = await asyncio.open_unix_connection(node.socket)
    writer.write(b'{"op": "spawn"}\n')
    assert "bad request" in json.loads(await reader.readline())["error"]
    writer.close()
    assert await node.spawner.children() == {}


async def test_children_die_with_nodeinit_even_when_it_is_killed(node: Node) -> None:
    pid = await node.spawner.spawn("a", SLEEP, node.stdio)
    node.process.kill()
    node.process.wait(10)
    async with asyncio.timeout(5):
        while running(pid):  # noqa: ASYNC110 - the kernel does it
            await asyncio.sleep(0.01)
    with pytest.raises(MonitorSilent):
        await node.spawner.children()


async def test_sigterm_ends_stubborn_children_too(node: Node) -> None:
    stubborn = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"]
    pid = await node.spawner.spawn("a", stubborn, node.stdio)
    async with asyncio.timeout(5):
        while not node.stdio.exists() or "up" not in node.stdio.read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    node.process.terminate()
    assert node.process.wait(10) == 0
    assert not running(pid)


async def test_agent_is_started_again_and_children_stay(tmp_path: Path) -> None:
    node = Node(tmp_path, SLEEP)
    await node.up()
    try:
        pid = await node.spawner.spawn("a", SLEEP, node.stdio)
        async with asyncio.timeout(10):
            while not node.lines("agent started"):  # noqa: ASYNC110 - another process logs it
                await asyncio.sleep(0.01)
            os.kill(int(str(node.lines("agent started")[0]["pid"])), signal.SIGKILL)
            while len(node.lines("agent started")) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await node.spawner.children() == {"a": pid}
        assert node.lines("agent ended")[0]["status"] == -signal.SIGKILL
    finally:
        node.process.terminate()
        node.process.wait(10)


def boottime(in_s: float = 0.0) -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) + in_s


async def gone(pid: int, limit_s: float = 5.0) -> None:
    async with asyncio.timeout(limit_s):
        while running(pid):  # noqa: ASYNC110 - another process ends it
            await asyncio.sleep(0.01)


async def test_a_deadline_that_is_not_put_off_kills_every_child_and_shuts_the_door(
    node: Node,
) -> None:
    node.spawner.life = "life-1"
    pids = [await node.spawner.spawn(name, SLEEP, node.stdio) for name in ("a", "b")]
    until = boottime(2.5)
    await node.spawner.judge("live", "life-1", until - 1.5)
    await node.spawner.judge("live", "life-1", until)
    await node.spawner.judge("live", "life-1", boottime(0.1))  # never shortened
    await asyncio.sleep(until - boottime() - 1.0)
    assert all(map(running, pids))
    for pid in pids:
        await gone(pid)
    assert 0 <= boottime() - until < 2
    assert await node.spawner.ended() == ["life-1"]
    # An agent that was frozen meanwhile cannot start anything, nor put the deadline off.
    with pytest.raises(HypervisorError, match="is over"):
        await node.spawner.spawn("c", SLEEP, node.stdio)
    with pytest.raises(HypervisorError, match="is over"):
        await node.spawner.judge("live", "life-1", boottime(60))
    with pytest.raises(HypervisorError, match="is over"):
        await node.spawner.judge("free", "life-1")
    node.spawner.life = "life-2"
    await node.spawner.judge("live", "life-2", boottime(60))
    await node.spawner.spawn("c", SLEEP, node.stdio)


async def test_nothing_is_started_for_another_life_than_the_present(node: Node) -> None:
    await node.spawner.judge("live", "life-2", boottime(60))
    for life in ("life-1", ""):
        node.spawner.life = life
        with pytest.raises(HypervisorError, match="life-2"):
            await node.spawner.spawn("a", SLEEP, node.stdio)
    with pytest.raises(HypervisorError, match="life-2"):
        await node.spawner.judge("live", "life-1", boottime(60))


async def test_a_life_that_is_ended_by_word_ends_at_once(node: Node) -> None:
    node.spawner.life = "life-1"
    await node.spawner.judge("live", "life-1", boottime(60))
    pid = await node.spawner.spawn("a", SLEEP, node.stdio)
    await node.spawner.judge("end", "life-1")
    await gone(pid)
    with pytest.raises(HypervisorError, match="is over"):
        await node.spawner.spawn("a", SLEEP, node.stdio)


async def test_a_life_that_is_freed_has_no_deadline(node: Node) -> None:
    node.spawner.life = "life-1"
    await node.spawner.judge("live", "life-1", boottime(1.0))
    pid = await node.spawner.spawn("a", SLEEP, node.stdio)
    await node.spawner.judge("free", "life-1")
    await asyncio.sleep(1.3)
    assert running(pid)


async def test_a_deadline_that_passed_before_it_was_told_kills(node: Node) -> None:
    node.spawner.life = "life-1"
    pid = await node.spawner.spawn("a", SLEEP, node.stdio)
    await node.spawner.judge("live", "life-1", boottime(-1))
    await gone(pid)


async def test_to_end_a_former_life_again_touches_nobody(node: Node) -> None:
    await node.spawner.judge("end", "life-1")
    node.spawner.life = "life-2"
    await node.spawner.judge("live", "life-2", boottime(60))
    pid = await node.spawner.spawn("a", SLEEP, node.stdio)
    assert await node.spawner.of_life("life-2") == ["a"]
    await node.spawner.judge("end", "life-1")
    assert await node.spawner.of_life("life-1") == []
    assert running(pid)
    await node.spawner.judge("free", "life-2")
    await node.spawner.judge("live", "life-2", boottime(60))  # though a former life is over
    assert running(pid)


async def test_no_life_begins_while_a_qemu_of_another_lives(node: Node) -> None:
    node.spawner.life = "life-1"
    await node.spawner.spawn("a", SLEEP, node.stdio)
    with pytest.raises(HypervisorError, match="another life"):
        await node.spawner.judge("live", "life-2", boottime(60))


def second(node: Node) -> subprocess.CompletedProcess[str]:
    command = [*nodeinit.COMMAND, str(node.socket)]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)


async def test_there_is_one_first_process_and_the_other_leaves_its_socket_alone(node: Node) -> None:
    """Else the agent would ask the new one, hear that no QEMU lives, and give their leases away."""
    pid = await node.spawner.spawn("a", SLEEP, node.stdio)
    ended = second(node)
    assert ended.returncode == 75
    assert "another first process" in ended.stderr
    assert await node.spawner.children() == {"a": pid}


async def test_a_successor_waits_for_the_last_child_of_the_former(node: Node) -> None:
    """A guest that the kernel cannot end keeps the lock; here one that asks not to die with its parent."""
    stays = "import ctypes,time; ctypes.CDLL(None).prctl(1, 0); print('up', flush=True); time.sleep(1000)"
    pid = await node.spawner.spawn("a", [sys.executable, "-c", stays], node.stdio)
    try:
        async with asyncio.timeout(5):
            while not node.stdio.exists() or "up" not in node.stdio.read_text():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        node.process.kill()
        node.process.wait(10)
        assert running(pid)
        assert second(node).returncode == 75
    finally:
        os.kill(pid, signal.SIGKILL)


async def test_a_log_that_nobody_reads_holds_no_deadline_up(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    socket = tmp_path / "init"
    with os.fdopen(writer, "wb", buffering=0) as log:
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"x" * 4096)
        os.set_blocking(writer, True)
        command = [*nodeinit.COMMAND, str(socket)]
        process = subprocess.Popen(command, stderr=log, stdout=log)
    spawner = NodeInitSpawner(socket, "life-1")
    try:
        async with asyncio.timeout(10):
            while not socket.exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.01)
        pid = await spawner.spawn("a", SLEEP, tmp_path / "stdio")
        await spawner.judge("live", "life-1", boottime(0.1))
        await gone(pid)
        assert await spawner.ended() == ["life-1"]
    finally:
        process.kill()
        process.wait(10)
        os.close(reader)
