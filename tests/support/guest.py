"""Talks to a guest of a running lab over its serial line, and reads the ledger that the guest keeps.

The guest's own file is the judge of a migration: one boot id, no number twice, none missing. The serial line of the
copy that runs is found anew for every command, since the guest moves. A command that was under way when the guest
moved or died fails with ``GuestSilent`` and may be tried again.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drover.lab import processes
from drover.lab.processes import NODE_RUN, MachineProcess

if TYPE_CHECKING:
    from drover.lab.lab import Lab

LEDGER = "/var/ledger"
TICK_MS = 20
_BOOT = "cat /proc/sys/kernel/random/boot_id"


class GuestSilent(AssertionError):
    """The guest did not answer in time, or there is not exactly one running copy to ask."""


@dataclass(frozen=True)
class Ledger:
    """What ``guest-tool check`` says of the file, and in which boot the guest is now."""

    boot: str
    boots: list[str]
    lines: int
    duplicates: int
    missing: int
    worst_pause_ms: int


class Guest:
    """The guest of one VM (namespace/name)."""

    def __init__(self, lab: Lab, vm: str) -> None:
        self._lab = lab
        self._vm = vm

    def copies(self) -> list[MachineProcess]:
        """All living QEMUs of this VM, on every node."""
        return [m for m in processes.machines(self._lab.lab_id) if m.vm == self._vm]

    async def shell(self, command: str, limit_s: float = 20.0) -> str:
        """Run a line in the guest's root shell and return what it printed."""
        deadline = time.monotonic() + limit_s
        while True:
            left = deadline - time.monotonic()
            try:
                return await self._ask(command, min(left, 8.0))
            except (OSError, TimeoutError, GuestSilent) as error:
                if time.monotonic() > deadline - 0.5:
                    said = f"{self._vm} does not answer {command!r}: {error!r}"
                    raise GuestSilent(f"{said}; its serial line ends so: {self.tail()}") from error
                await asyncio.sleep(0.3)

    def tail(self, characters: int = 1200) -> str:
        """The end of what the living copies wrote to their serial lines."""
        nodes = self._lab.home.path / "nodes"
        copies = self.copies()
        logs = [nodes / c.node / "state" / "log" / c.copy / "serial.log" for c in copies]
        texts = [log.read_text(errors="replace")[-characters:] for log in logs if log.exists()]
        return f"{[(c.node, c.pid) for c in copies]} {texts}"

    async def _ask(self, command: str, limit_s: float) -> str:
        copies = self.copies()
        if len(copies) != 1:
            raise GuestSilent(f"there are {len(copies)} QEMUs of it")
        path = f"/proc/{copies[0].pid}/root{NODE_RUN}/copies/{copies[0].copy}/tty"
        async with asyncio.timeout(max(limit_s, 0.5)):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                # The quotes tell the marks from their echo by the line editor; the word tells this answer from a
                # late one to an earlier question.
                word = secrets.token_hex(4)
                # What a booting guest took of an earlier question may end in an open quote: give it up.
                writer.write(b"\x03")
                await asyncio.sleep(0.1)
                writer.write(f"echo BEG''IN {word}; {command}; echo END''MARK {word}\n".encode())
                return await _answer(reader, word)
            finally:
                writer.close()

    async def boot(self, limit_s: float = 60.0) -> str:
        """The id of its present boot."""
        return (await self.shell(_BOOT, limit_s)).strip()

    async def wait_booted(self, limit_s: float = 90.0) -> None:
        """Until its shell answers and user data has run."""
        await self.shell("while pidof late >/dev/null; do sleep 0.1; done", limit_s)

    async def begin_ledger(self, anew: bool = True) -> str:
        """A new, empty ledger, or what an earlier boot left, written from now on. Returns the boot id."""
        empty = f"rm -f {LEDGER}" if anew else ":"
        stop = "kill $(cat /run/ledger.pid) 2>/dev/null"
        begin = f"(guest-tool ledger {LEDGER} {TICK_MS} </dev/null & echo $! >/run/ledger.pid)"
        wait = f"until [ $(wc -l <{LEDGER}) -gt 1 ]; do sleep 0.1; done"  # it is on the disk then
        said = await self.shell(f"{stop}; {empty}; {begin}; {wait}; {_BOOT}", 60)
        return said.split()[-1]

    async def ledger(self) -> Ledger:
        """What the ledger says."""
        said = await self.shell(f"guest-tool check {LEDGER}; {_BOOT}", 60)
        found = re.search(r"(\{.*\})\s+(\S+)", said, re.DOTALL)
        assert found, said
        summary = json.loads(found[1])
        fields = {
            k: summary[k] for k in ("boots", "lines", "duplicates", "missing", "worst_pause_ms")
        }
        return Ledger(boot=found[2], **fields)

    async def dirty(self, mebibytes: int, rate: int, seconds: int) -> None:
        """Write to memory in the background."""
        await self.shell(f"(guest-tool dirty {mebibytes} {rate} {seconds} &)")


async def _answer(reader: asyncio.StreamReader, word: str) -> str:
    pattern = re.compile(rf"BEGIN {word}\n(.*?)ENDMARK {word}\n", re.DOTALL)
    text = ""
    while True:
        chunk = await reader.read(65536)
        if not chunk:
            raise GuestSilent("its serial line ended")
        text += chunk.decode(errors="replace").replace("\r", "")
        if found := pattern.search(text):
            return found[1]
