"""A source's side of a migration: begun through a relay, ended by QEMU, or by us, who break its connection.

Not by `migrate_cancel`: when that comes as QEMU 7.2 stops the guest for the last pass, the guest goes on with disks
that QEMU has given up. The next write, or the next migration, ends QEMU in an assertion. `yank` has the monitor's own
thread shut the socket down, also while the main loop hangs on a dead link, and QEMU takes the way of a failed copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from drover.agent.ports import (
    MOST_THROTTLE_PERCENT,
    HypervisorError,
    MigrationInfo,
    MigrationOptions,
    MigrationState,
    MonitorSilent,
)
from drover.agent.qemu.monitor import Monitor
from drover.agent.qemu.relaying import Relay

_CANCEL_LIMIT_S = 1.0
_THROTTLE = {
    "cpu-throttle-initial": 40,
    "cpu-throttle-increment": 20,
    "max-cpu-throttle": MOST_THROTTLE_PERCENT,
    "throttle-trigger-threshold": 50,
}
# A guest that came has them set.
_WITHOUT_TLS = {"tls-creds": "", "tls-hostname": "", "tls-authz": ""}


class Ask(Protocol):
    """Of the first monitor."""

    async def __call__(
        self, command: str, arguments: Mapping[str, object], *, fd: int = -1
    ) -> Any: ...


class Outgoing:
    """Of one machine, which lives and sends one copy at a time: its callers see to that."""

    def __init__(self, relay: Relay, ask: Ask, rescue: Monitor) -> None:
        self._relay = relay
        self._ask = ask
        self._rescue = rescue
        self._cancelled = False  # the last one, by this agent

    async def begin(self, options: MigrationOptions) -> None:
        self._cancelled = False
        async with self._relay.opened(options) as plain:
            capabilities = [
                {"capability": "return-path", "state": True},
                {"capability": "auto-converge", "state": options.auto_converge},
            ]
            await self._ask("migrate-set-capabilities", {"capabilities": capabilities})
            limits = {
                "downtime-limit": options.downtime_limit_ms,
                "max-bandwidth": options.bandwidth_bytes_per_second,
            }
            await self._ask("migrate-set-parameters", {**limits, **_THROTTLE, **_WITHOUT_TLS})
            await self._ask("getfd", {"fdname": "outgoing"}, fd=plain.fileno())
            await self._ask("migrate", {"uri": "fd:outgoing"})

    async def cancel(self) -> None:
        self._cancelled = True
        migration = {"instances": [{"type": "migration"}]}
        try:
            await self._rescue.execute("yank", migration, oob=True, limit_s=_CANCEL_LIMIT_S)
        except MonitorSilent:
            raise
        except HypervisorError:
            pass  # there is none

    def seen(self, info: MigrationInfo) -> MigrationInfo:
        """With what QEMU does not know: who broke the connection, and why."""
        if info.state is not MigrationState.FAILED:
            return info
        if self._cancelled:
            return replace(info, state=MigrationState.CANCELLED, error="")
        return replace(info, error=self._relay.said() or info.error)
