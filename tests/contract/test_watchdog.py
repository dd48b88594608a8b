"""One contract for every watchdog: the deadline of nodeinit, a device behind it, the simulation's, and none."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support import fifo_watchdog

from drover.agent.deadline import Deadline as Latch
from drover.agent.device import Device as RealDevice
from drover.agent.device import DeviceRefused
from drover.agent.ports import HypervisorError
from drover.agent.spawner import NodeInitSpawner
from drover.agent.watchdog import Deadline, Device, NoWatchdog, Watchdog
from drover.api.fencing import Timing
from drover.base.clock import RealClock
from drover.base.tasks import TaskScope
from drover.sim.hypervisor import ModelHypervisor, Site
from drover.sim.ledger import WriterLedger
from drover.sim.qemu_model import ModelQemu
from drover.sim.watchdog import Guard, SimWatchdog

T_S = 1
ROOT = Path(__file__).parents[2]


@dataclass
class Bench:
    """A node with a watchdog, on the real clock. ``start`` makes a process of a life; the answer tells if it lives."""

    watchdog: Watchdog
    clock: RealClock
    start: Callable[[str, str], Awaitable[Callable[[], bool]]]
    guards: bool = True
    process: subprocess.Popen[bytes] | None = None
    model: fifo_watchdog.Model | None = None

    async def until(self, condition: Callable[[], bool], limit_s: float = 5.0) -> None:
        async with asyncio.timeout(limit_s):
            while not condition():
                if self.model is not None:
                    self.model.look()
                await asyncio.sleep(0.01)

    async def watch(self, for_s: float) -> None:
        end_s = time.monotonic() + for_s
        await self.until(lambda: time.monotonic() >= end_s, for_s + 5)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (
        FileNotFoundError,
        ProcessLookupError,
    ):  # gone before the open, or between it and the read
        return False


async def _real(root: Path, kind: str) -> Bench:
    clock, socket = RealClock(), root / "init"
    log = (root / "log").open("wb")
    command = [sys.executable, fifo_watchdog.__file__, str(socket)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    with log:
        process = subprocess.Popen(command, stderr=log, stdout=log, env=environment)
    spawner = NodeInitSpawner(socket)

    async def start(copy: str, life: str) -> Callable[[], bool]:
        spawner.life = life
        pid = await spawner.spawn(copy, ["sleep", "1000"], root / "stdio")
        return lambda: _lives(pid)

    watchdog: Watchdog = Deadline(spawner, clock.boottime, clock)
    model = None
    if kind == "device":
        model = fifo_watchdog.Model(root / "fifo", T_S)
        watchdog = Device(spawner, clock.boottime, clock, str(model.path), T_S)
    bench = Bench(watchdog, clock, start, process=process, model=model)
    await bench.until(socket.exists, 10)
    return bench


def _modelled(scope: TaskScope, kind: str) -> Bench:
    clock = RealClock()
    site = Site(clock, scope)
    guard = Guard("n1", site, clock)
    hypervisor = ModelHypervisor(site, "n1", "10.0.0.1")

    async def start(copy: str, life: str) -> Callable[[], bool]:
        if refusal := guard.refusal(life):
            raise HypervisorError(refusal)
        qemu = ModelQemu(copy, None, "n1", WriterLedger(), site.locks, life)  # type: ignore[arg-type]
        qemu.end = lambda status: setattr(qemu, "exit_status", status)  # type: ignore[method-assign]
        site.qemus[copy] = qemu
        return lambda: qemu.alive

    if kind == "none":
        return Bench(NoWatchdog(hypervisor, clock), clock, start, guards=False)
    return Bench(SimWatchdog(guard), clock, start)


@pytest.fixture(params=["deadline", "device", "simulated", "none"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    kind = request.param
    async with TaskScope("bench") as scope:
        made = (
            await _real(tmp_path, kind)
            if kind in ("deadline", "device")
            else _modelled(scope, kind)
        )
        yield made
        if made.process is not None:
            made.process.send_signal(signal.SIGCONT)
            made.process.kill()
            made.process.wait(10)
        if made.model is not None:
            made.model.close()


def guarding(bench: Bench) -> Bench:
    if not bench.guards:
        pytest.skip("it guards nothing, and says so")
    return bench


async def test_one_that_guards_nothing_says_so_before_anything_is_promised(bench: Bench) -> None:
    if bench.guards:
        await bench.watchdog.arm()
        await bench.watchdog.arm()
        await bench.watchdog.live("life-1", bench.clock.monotonic() + 60)
    else:
        for promise in (bench.watchdog.arm(), bench.watchdog.live("life-1", 1e9)):
            with pytest.raises(HypervisorError, match="no watchdog"):
                await promise


async def test_a_deadline_that_is_not_put_off_kills_and_shuts_the_door(bench: Bench) -> None:
    watchdog, now_s = guarding(bench).watchdog, bench.clock.monotonic
    await watchdog.arm()
    alive = await bench.start("a", "life-1")
    until_s = now_s() + 2.0
    await watchdog.live("life-1", until_s)
    await watchdog.live("life-1", until_s - 1.5)  # never shortened
    await bench.watch(max(0.0, until_s - now_s() - 1.0))
    assert alive()
    standing_s = await watchdog.until("life-1")  # what an agent that is started anew goes on with
    assert standing_s == pytest.approx(until_s, abs=0.01)
    assert await watchdog.until("life-2") is None
    await bench.until(lambda: not alive())
    assert await watchdog.until("life-1") is None
    assert until_s <= now_s() < until_s + 1
    assert await watchdog.ended() == ["life-1"]
    for late in (watchdog.live("life-1", now_s() + 60), bench.start("b", "life-1")):
        with pytest.raises(HypervisorError, match="is over"):
            await late
    await watchdog.arm()
    await watchdog.live("life-2", now_s() + 60)
    assert (await bench.start("b", "life-2"))()


async def test_a_life_that_is_freed_has_no_deadline(bench: Bench) -> None:
    watchdog = guarding(bench).watchdog
    await watchdog.arm()
    alive = await bench.start("a", "life-1")
    await watchdog.live("life-1", bench.clock.monotonic() + 1.0)
    await watchdog.free("life-1")
    await bench.watch(1.3)
    assert alive()
    assert await watchdog.ended() == []


async def test_a_life_is_buried_and_the_next_is_not_touched(bench: Bench) -> None:
    alive = await bench.start("a", "life-1")
    await bench.watchdog.bury("life-1")
    await bench.until(lambda: not alive())
    if bench.guards:
        after = await bench.start("b", "life-2")
        await bench.watchdog.bury("life-1")
        assert after()


# --- the device alone ---


@pytest.fixture
async def device(tmp_path: Path) -> AsyncIterator[Bench]:
    made = await _real(tmp_path, "device")
    yield made
    assert made.process is not None
    made.process.send_signal(signal.SIGCONT)
    made.process.kill()
    made.process.wait(10)


async def test_a_device_is_fed_while_there_is_life_and_closed_when_the_node_is_disarmed(
    device: Bench,
) -> None:
    assert device.model is not None
    await device.watchdog.arm()
    await device.watchdog.live("life-1", device.clock.monotonic() + 60)
    await device.watch(2.5 * T_S)
    assert len(device.model.fed_s) >= 5  # twice in its time, though we may read two at once
    assert not device.model.fired
    await device.watchdog.free("life-1")
    await device.until(lambda: device.model.closed)
    await device.watch(1.5 * T_S)
    assert not device.model.fired


async def test_a_device_resets_the_host_whose_first_process_stands_still(device: Bench) -> None:
    """What a deadline alone does not survive. The bound is D + 2 T, of which the group's times know."""
    assert device.model is not None
    assert device.process is not None
    await device.watchdog.arm()
    until_s = device.clock.monotonic() + 0.5
    alive = await device.start("a", "life-1")
    await device.watchdog.live("life-1", until_s)
    device.process.send_signal(signal.SIGSTOP)
    await device.until(lambda: device.model.fired)
    assert alive()  # nobody but the device could
    assert device.clock.monotonic() < until_s + 2 * T_S


async def test_a_device_is_closed_when_the_dead_are_reaped_and_not_before(device: Bench) -> None:
    assert device.model is not None
    await device.watchdog.arm()
    alive = await device.start("a", "life-1")
    await device.watchdog.live("life-1", device.clock.monotonic() + 0.3)
    await device.until(lambda: device.model.closed)
    assert not alive()
    await device.watch(1.5 * T_S)
    assert not device.model.fired


async def test_a_first_process_that_dies_has_the_host_reset(device: Bench) -> None:
    assert device.model is not None
    assert device.process is not None
    await device.watchdog.arm()
    await device.until(lambda: bool(device.model.fed_s))
    device.process.kill()
    await device.until(lambda: device.model.fired)


def test_nothing_is_fed_past_a_deadline_nor_while_one_of_the_dead_lives_on() -> None:
    latch = Latch()
    assert latch.live("life-1", 10.0, 0.0, []) == ""
    assert latch.in_time(9.9, ["life-1"])
    assert not latch.in_time(10.0, ["life-1"])
    latch.end("life-1")
    assert not latch.in_time(11.0, ["life-1"])  # a QEMU that the kernel cannot kill
    assert latch.in_time(11.0, [])


class Shelf(fifo_watchdog.FifoDriver):
    """A driver without a file."""

    def __init__(self, most_s: int = 60) -> None:
        super().__init__(most_s)
        self.written: list[bytes] = []

    def open(self, path: str) -> None:
        self.written.append(b"open")

    def write(self, content: bytes) -> None:
        self.written.append(content)

    def close(self) -> None:
        self.written.append(b"close")


def test_what_the_driver_took_is_read_back_and_a_longer_time_is_refused() -> None:
    driver = Shelf(most_s=5)
    device = RealDevice(driver)
    with pytest.raises(DeviceRefused, match="takes 16 s instead of 8 s"):
        device.arm("/dev/none", 8, 0.0)
    assert driver.written == [b"open", b"V", b"close"]
    assert not device.armed
    assert device.arm("/dev/none", 5, 0.0) == 5
    with pytest.raises(DeviceRefused, match="armed already with 5 s"):
        device.arm("/dev/none", 4, 0.0)


async def test_what_is_no_device_is_refused_in_words(tmp_path: Path, device: Bench) -> None:
    clock = RealClock()
    other = Device(NodeInitSpawner(tmp_path / "init"), clock.boottime, clock, "/no/such", T_S)
    with pytest.raises(HypervisorError, match="/no/such"):
        await other.arm()


def test_the_groups_times_know_of_the_device() -> None:
    timing = Timing(timeout_s=30, kick_s=8)
    assert (timing.age_s, timing.slack_s) == (14, 16)
    assert Timing(timeout_s=6, kick_s=8).problems()
