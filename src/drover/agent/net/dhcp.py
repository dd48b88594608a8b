"""One dnsmasq per node: it gives each guest of this node its fixed address by MAC, and ignores all others.

It listens on ``dhcp0``, whose other end is a port of the bridge. All nodes use the same address and the same MAC for
it, so a guest that has moved goes on talking to "its" server and renews without a new discovery. The nodes do not
disturb each other, because this port and the uplink are *isolated* ports of the bridge: no frame passes between the
two, while guests' taps talk to both.

The process outlives the agent: it is adopted by its pid file, and started again when it ends. What it serves is a hosts
file made of one entry per copy, re-read at SIGHUP. It does not promise leases to anything but the VMs of this node, and
offers no DNS.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from drover.agent.net.commands import NetworkFailed, exists, ip
from drover.base.backoff import Backoff
from drover.base.clock import Clock
from drover.base.log import Log

LINK = "dhcp0"
_PORT = "dhcp0p"
_MAC = "02:00:00:00:0d:01"  # the same on every node, see above
_AGAIN = Backoff(first_s=0.5, most_s=10.0)
_STEADY_S = 30.0


@dataclass(frozen=True)
class DhcpSettings:
    """Where to serve what."""

    bridge: str
    uplink: str
    network: IPv4Network
    gateway: str
    directory: Path  # gone with the node, like the taps

    @property
    def address(self) -> str:
        """Of the server itself: the last but one before the broadcast address."""
        return str(self.network.broadcast_address - 2)


class DhcpServer:
    """``open`` once, then ``put`` and ``drop`` entries, with ``keep`` running beside."""

    def __init__(self, settings: DhcpSettings, clock: Clock, log: Log) -> None:
        self._settings = settings
        self._clock = clock
        self._log = log
        self._pid = 0

    @property
    def pid(self) -> int:
        """Of dnsmasq; 0 while it is being started again."""
        return self._pid

    async def open(self) -> None:
        """The server's link, and dnsmasq, found or started. Raises NetworkFailed."""
        self._entries.mkdir(parents=True, exist_ok=True)
        self._write_hosts()
        await self._make_link()
        self._pid = self._find() or self._start()

    async def _make_link(self) -> None:
        settings = self._settings
        if not exists(LINK):
            await ip(
                f"link add {LINK} address {_MAC} type veth peer name {_PORT}",
                f"link set {LINK} addrgenmode none",
                f"address add {settings.address}/{settings.network.prefixlen} dev {LINK}",
            )
        await ip(
            f"link set {_PORT} addrgenmode none master {settings.bridge} up",
            f"link set {_PORT} type bridge_slave isolated on",
            f"link set {settings.uplink} type bridge_slave isolated on",
            f"link set {LINK} up",
        )

    async def keep(self) -> None:
        """For ever: start dnsmasq again when it ends."""
        failures = 0
        while True:
            pid, since_s = self._pid, self._clock.monotonic()
            if pid:
                await _ended(pid)
            if pid != self._pid:
                continue  # replaced on purpose
            self._pid = 0
            failures = 1 if self._clock.monotonic() - since_s > _STEADY_S else failures + 1
            self._log.warn("dnsmasq ended", failures=failures)
            await self._clock.sleep(_AGAIN.delay_s(failures))
            if self._pid:
                continue  # ``drop`` was quicker
            try:
                self._pid = self._start()
            except NetworkFailed as error:
                self._log.error("dnsmasq cannot start", error=str(error))

    async def put(self, copy: str, mac: str, address: str) -> None:
        """Serve ``address`` to ``mac``."""
        entry, line = self._entries / copy, f"{mac.lower()},{address}\n"
        if entry.exists() and entry.read_text() == line:
            return
        entry.write_text(line)
        self._write_hosts()
        if self._pid and _catches_hup(self._pid):
            with contextlib.suppress(ProcessLookupError):  # ``keep`` starts it again
                os.kill(self._pid, signal.SIGHUP)

    async def drop(self, copy: str) -> None:
        """Stop serving a copy.

        By a new start, since dnsmasq would keep the lease, and refuse the address to the next VM that has it.
        """
        entry = self._entries / copy
        if not entry.exists():
            return
        entry.unlink()
        self._write_hosts()
        if self._pid:
            await self.close()
            self._pid = self._start()

    async def close(self) -> None:
        """End dnsmasq and forget its leases. Not for the end of an agent: guests go on needing it."""
        pid, self._pid = self._pid, 0
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            await _ended(pid)
        (self._settings.directory / "dhcp-leases").unlink(missing_ok=True)

    @property
    def _entries(self) -> Path:
        return self._settings.directory / "dhcp"

    def _write_hosts(self) -> None:
        """Two copies of one VM (a restart) have equal entries, which dnsmasq wants once."""
        lines = {path.read_text() for path in self._entries.iterdir()}
        part = self._settings.directory / "dhcp-hosts.part"
        part.write_text("".join(sorted(lines)))
        part.replace(self._settings.directory / "dhcp-hosts")

    def _find(self) -> int:
        """The dnsmasq that a former agent of this node has left; 0 when there is none."""
        try:
            pid = int((self._settings.directory / "dnsmasq.pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
        except (OSError, ValueError):
            return 0
        if command != self._command():
            return 0
        os.kill(pid, signal.SIGHUP)
        return pid

    def _command(self) -> list[str]:
        settings = self._settings
        directory = settings.directory
        return [
            shutil.which("dnsmasq") or "/usr/sbin/dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            f"--interface={LINK}",
            "--except-interface=lo",
            "--bind-interfaces",
            "--user=root",
            "--group=",
            "--pid-file=",
            "--log-facility=-",
            "--quiet-dhcp",
            "--no-ping",
            "--dhcp-authoritative",
            f"--dhcp-leasefile={directory}/dhcp-leases",
            f"--dhcp-hostsfile={directory}/dhcp-hosts",
            f"--dhcp-range={settings.network.network_address},static,{settings.network.netmask},10m",
            f"--dhcp-option=option:router,{settings.gateway}",
        ]

    def _start(self) -> int:
        command = self._command()
        actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
        try:
            pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions, setpgroup=0)
        except OSError as error:
            raise NetworkFailed(f"{command[0]}: {error.strerror}") from error
        (self._settings.directory / "dnsmasq.pid").write_text(str(pid))
        return pid


def _catches_hup(pid: int) -> bool:
    """False for a dnsmasq that has just been started: SIGHUP would end it, and it reads the file later anyway."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGHUP - 1) & 1)


async def _ended(pid: int) -> None:
    """Wait for the end of any process, child or not."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(fd, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)
    _reap(pid)


def _reap(pid: int) -> None:
    """A former agent's dnsmasq is no child of ours: the node's first process reaps it."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
