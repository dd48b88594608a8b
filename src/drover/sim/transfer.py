"""A model of one migration: memory over a link, switchover, and who runs after each way to fail.

The rule that all of drover's hand-over rests on is here as QEMU has it: until it is ``completed``
the *source resumes by itself* on any failure, also when the target has loaded everything and only
its last word was lost (then the target stands paused and complete). After ``completed`` the source
stays in postmigrate until somebody says ``cont``.

    setup --> active --> device --> completed
      |         |          |   a dead link here hangs the source's monitor; only ``yank`` frees it
      +---------+----------+--> failed | cancelled: the source runs, an unfinished target exits

A dead link raises no error while copying: nothing moves, until it heals or somebody cancels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from drover.agent.ports import (
    MOST_THROTTLE_PERCENT,
    ImageLocked,
    MigrationInfo,
    MigrationState,
    RunState,
)
from drover.sim.qemu_model import LOAD_FAILED_STATUS, ModelQemu

if TYPE_CHECKING:
    from drover.agent.ports import MigrationOptions
    from drover.base.clock import Clock

_TICK_S = 0.02
_DEVICE_BYTES = 600_000  # state of devices, sent while the guest stands still
_THROTTLE_AFTER_S = 3.0
_THROTTLE_STEP_S = 2.0


@dataclass
class Link:
    """One direction of the wire between two nodes; worlds cut, slow and heal it."""

    up: bool = True
    bytes_per_second: float = 500 << 20
    delay_s: float = 0.0002
    loses_last_word: bool = (
        False  # fault: the target's final message never arrives, the connection breaks
    )
    holds_last_word: bool = False  # fault: it never arrives, and nobody notices
    mute: str = ""  # fault: what this node says to a peer is lost; it hears all the same


class Transfer:
    """One attempt. ``run`` is its life; every outcome is set exactly once."""

    def __init__(
        self,
        clock: Clock,
        link: Link,
        source: ModelQemu,
        options: MigrationOptions,
    ) -> None:
        self._clock = clock
        self._link = link
        self._options = options
        self.source = source
        self.target: ModelQemu | None = None
        self._over = False
        self._loaded = False
        self._source_state = RunState.RUNNING
        self._begun_s = clock.monotonic()
        self._stopped_s = 0.0
        self._info = MigrationInfo(MigrationState.SETUP, total_bytes=source.spec.memory_bytes)

    def over(self) -> bool:
        return self._over

    def holds_monitor(self, qemu: ModelQemu) -> bool:
        in_device = self._info.state is MigrationState.DEVICE
        return not self._over and qemu is self.source and in_device and not self._link.up

    async def run(self, target: ModelQemu) -> None:
        """From the accepted connection to the end."""
        self.target = target
        target.transfer = self
        target.say_migration(MigrationInfo(MigrationState.ACTIVE))
        self._say(state=MigrationState.ACTIVE, iteration=1)
        remaining = await self._copy()
        if not self.over():
            await self._switch_over(remaining)

    def allow_downtime(self, limit_ms: int) -> None:
        self._options = replace(self._options, downtime_limit_ms=limit_ms)

    # --- phases ---

    def begin(self) -> None:
        self._say()

    async def _copy(self) -> float:
        """Until what remains fits into the downtime; bytes that remain."""
        remaining = float(min(self.source.guest.used_bytes, self._info.total_bytes))
        sent = iteration_bytes = 0.0
        while not self.over():
            rate = min(self._link.bytes_per_second, self._options.bandwidth_bytes_per_second)
            if remaining <= rate * self._options.downtime_limit_ms / 1000:
                break
            await self._clock.sleep(_TICK_S)
            if self.over() or not self._link.up:
                continue
            moved = min(remaining, rate * _TICK_S)
            throttle = self._throttle_percent()
            dirtied = self._dirty_rate() * (100 - throttle) / 100 * _TICK_S
            left = min(remaining - moved + dirtied, self.source.guest.used_bytes)
            sent, remaining = sent + moved, left
            iteration_bytes += moved
            turned = iteration_bytes >= self.source.guest.used_bytes
            iteration_bytes = 0.0 if turned else iteration_bytes
            self._say(
                transferred_bytes=int(sent),
                remaining_bytes=int(remaining),
                dirty_bytes_per_second=int(self._dirty_rate()),
                iteration=self._info.iteration + int(turned),
                mbps=rate * 8 / 1e6,
                throttle_percent=throttle,
            )
        return remaining

    async def _switch_over(self, remaining: float) -> None:
        self._source_state = self.source.state
        self._stopped_s = self._clock.monotonic()
        if self._source_state is RunState.RUNNING:
            self.source.stop(RunState.FINISH_MIGRATE)
        self._say(state=MigrationState.DEVICE)
        self.source.unlock_disks()
        await self._send(remaining + _DEVICE_BYTES)
        if self.over() or self.target is None:
            return
        self._loaded = True
        self.target.arrive(self._source_state)
        await self._send(0)  # the last word, back to the source
        while self._link.holds_last_word and not self.over():
            await self._clock.sleep(_TICK_S)
        if self.over():
            return
        if self._link.loses_last_word:
            self.fail("the return path broke")
            return
        self._over = True
        now_s = self._clock.monotonic()
        self.source.stop(RunState.POSTMIGRATE)
        self._say(
            state=MigrationState.COMPLETED,
            remaining_bytes=0,
            downtime_ms=max(1, round((now_s - self._stopped_s) * 1000)),
            total_ms=max(1, round((now_s - self._begun_s) * 1000)),
        )

    async def _send(self, size: float) -> None:
        await self._clock.sleep(self._link.delay_s + size / self._link.bytes_per_second)
        while not self._link.up and not self.over():
            await self._clock.sleep(_TICK_S)

    # --- ends before completion ---

    def fail(self, error: str) -> None:
        self._give_up(MigrationState.FAILED, error)

    def cancel(self) -> None:
        """What ``yank`` comes to. Harmless when all is over."""
        self._give_up(MigrationState.CANCELLED, "")

    def _give_up(self, state: MigrationState, error: str) -> None:
        if self._over:
            return
        self._over = True
        self._say(state=state, error=error)
        if self.source.alive and self.source.state is RunState.FINISH_MIGRATE:
            self._source_goes_on()
        if self.target is not None and not self._loaded:
            self.target.end(LOAD_FAILED_STATUS)

    def _source_goes_on(self) -> None:
        try:
            self.source.lock_disks()
        except (
            ImageLocked
        ):  # QEMU says so on its log and goes on without the disk; its first write kills it
            self.source.crash()
            return
        self.source.run()

    def process_ended(self, qemu: ModelQemu) -> None:
        """One end is gone; the other notices."""
        if qemu is self.source and not self._over:
            self._over = True
            if self.target is not None and not self._loaded:
                self.target.end(LOAD_FAILED_STATUS)
        elif qemu is self.target:
            self.fail("the target hung up")

    # --- what the source says ---

    def _say(self, **changes: object) -> None:
        self._info = replace(self._info, **changes)  # type: ignore[arg-type]
        if self.source.alive:
            self.source.say_migration(self._info)

    def _dirty_rate(self) -> float:
        running = self.source.state is RunState.RUNNING
        return self.source.guest.dirty_bytes_per_second if running else 0.0

    def _throttle_percent(self) -> int:
        over_s = self._clock.monotonic() - self._begun_s - _THROTTLE_AFTER_S
        if not self._options.auto_converge or over_s < 0:
            return 0
        return min(MOST_THROTTLE_PERCENT, 40 + 20 * int(over_s / _THROTTLE_STEP_S))
