"""One migration that is struck at one step, and what is true afterwards: a cell of the table.

The judge asks the machine (which QEMUs live), the API (phases, lease, Pods), the log (safety marks) and the guest (its
ledger). A cell is good when the VM runs exactly once, nothing of its memory is lost unless its own QEMU was the victim,
nothing is left over, and the next Evict works.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.faults import strikes
from tests.faults.cells import (
    FAULT_S,
    LASTING,
    PROGRESS_S,
    Fault,
    Step,
    may_restart,
    must_restart,
    needs_slow_link,
)
from tests.faults.marks import Mark, MarkLog, fell_into
from tests.faults.outcome import Cell, eventually
from tests.faults.ping import Ping
from tests.support.guest import Guest

from drover.api import names, scheme, status
from drover.api.wire import Object
from drover.base.clock import rfc3339_micro
from drover.lab import faults, processes
from drover.lab.errors import LabError
from drover.lab.lab import Lab
from drover.runtime.client import Client

NAMESPACE = "default"
SLOW_BYTES = 24 * 2**20
STEP_LIMIT_S = 90.0
SETTLE_LIMIT_S = 120.0
BOOT_LIMIT_S = 90.0
# The guest's own work may stand still for so long, on a busy machine, while its kernel answers pings.
UNSEEN_MS = 1000
LOCK_REFUSED = re.compile(r"Failed to get .* lock")
FINAL = ("Completed", "Failed", "Superseded")


class Story:
    """Migrations of one VM in a running lab."""

    def __init__(self, lab: Lab, client: Client, name: str) -> None:
        self.lab = lab
        self.client = client
        self.name = name
        self.vm = f"{NAMESPACE}/{name}"
        self.guest = Guest(lab, self.vm)

    async def get_vm(self) -> Object:
        return await self.client.get(scheme.VM, self.name, NAMESPACE)

    async def evict(self) -> str:
        """Create an Evict; the name of the operation."""
        vmop = {
            "apiVersion": scheme.VMOP.api_version,
            "kind": scheme.VMOP.kind,
            "metadata": {"generateName": f"{self.name}-", "namespace": NAMESPACE},
            "spec": {"type": "Evict", "virtualMachineName": self.name},
        }
        made = await self.client.create(scheme.VMOP, vmop)
        return str(made["metadata"]["name"])

    async def finished(self, vmop: str) -> str:
        try:
            found = await self.client.get(scheme.VMOP, vmop, NAMESPACE)
        except status.NotFound:
            return ""
        phase = (found.get("status") or {}).get("phase", "")
        return "" if phase in FINAL else f"{vmop} is {phase or 'new'}"

    async def cell(self, step: Step, fault: Fault) -> Cell:
        """Play and judge."""
        cell, began = Cell(step, fault), time.monotonic()
        try:
            await self._play(cell)
        except (AssertionError, LabError, status.ApiError, status.Unanswered) as error:
            cell.wrong.append(f"{type(error).__name__}: {error}")
        cell.took_s = time.monotonic() - began
        return cell

    async def _whole(self) -> str:
        """Everything that an earlier fault has ended is there again."""
        off = [row.name for row in self.lab.status() if row.state != "Running"]
        nodes = self.lab.settings().node_names
        off += [node for node in nodes if not processes.agents(self.lab.lab_id, node)]
        return f"not running: {off}" if off else ""

    async def _play(self, cell: Cell) -> None:
        with cell.timed("whole"):
            wrong = await eventually(self._whole, STEP_LIMIT_S)
            assert not wrong, wrong
        with cell.timed("begin"):
            boot = await self.guest.begin_ledger()
            vm = await self.get_vm()
        source = str(vm["status"]["nodeName"])
        log = MarkLog(self.lab.home.logs)
        async with Ping(str(vm["status"]["ipAddress"])) as ping:
            async with self._patience(cell.fault), self._link(source, cell.step):
                with cell.timed("evict"):
                    vmop = await self.evict()
                cast = strikes.Cast(self.lab, self.vm, source)
                mend = await self._strike(cell, log, vmop, cast)
            with cell.timed("finished"):
                wrong = await eventually(lambda: self.finished(vmop), SETTLE_LIMIT_S)
                cell.wrong += [wrong] if wrong else []
            if mend is not None:
                mend()
            with cell.timed("settled"):
                await self._settled(cell)
            with cell.timed("sees"):
                await self._sees(cell, boot)
        cell.gap_ms = ping.longest_ms()
        cell.vmop = await self._outcome(vmop)
        if cell.fault in LASTING and cell.vmop != "Failed":
            cell.wrong.append(f"the move is {cell.vmop}, though it could not end")
        if cell.vmop != "Completed" or not cell.good:
            with cell.timed("again"):
                await self._again(cell)  # else the next cell shows it
        with cell.timed("judge"):
            await self._judge_guest(cell, boot)
        log.read()
        cell.wrong += [
            f"mark {m.name}: {m.fields}" for m in log.seen if m.name.startswith("safety.")
        ]
        cell.wrong += self._refused_locks()

    def _refused_locks(self) -> list[str]:
        """What QEMUs wrote of image locks that somebody else held: the second guard must never have to hold."""
        logs = (self.lab.home.path / "nodes").glob("*/state/log/*/qemu.log")
        found = []
        for log in logs:
            with contextlib.suppress(FileNotFoundError):
                said = log.read_text(errors="replace")
                found += [f"{log.parent.name}: {said[-300:]}"] if LOCK_REFUSED.search(said) else []
        return found

    @asynccontextmanager
    async def _patience(self, fault: Fault) -> AsyncIterator[None]:
        """A copy without progress is given up early, where that is waited for."""
        if fault is not Fault.CUT_FOR_GOOD:
            yield
            return
        await self._progress_limit(PROGRESS_S)
        try:
            yield
        finally:
            await self._progress_limit(None)

    async def _progress_limit(self, seconds: int | None) -> None:
        """None: as delivered."""
        wanted = {"spec": {"settings": {"liveMigration": {"progressTimeout": seconds}}}}
        await self.client.patch(scheme.MODULECONFIG, names.MODULE_CONFIG, "", wanted)

    @asynccontextmanager
    async def _link(self, source: str, step: Step) -> AsyncIterator[None]:
        """Slow the copy down, where there must be time for a fault."""
        if not needs_slow_link(step):
            yield
            return
        faults.slow(self.lab, source, SLOW_BYTES)
        try:
            yield
        finally:
            faults.slow(self.lab, source, None)

    async def _strike(
        self, cell: Cell, log: MarkLog, vmop: str, cast: strikes.Cast
    ) -> strikes.Mend | None:
        """Returns what is left to mend when the operation has ended."""
        with cell.timed("reach"):
            held = await self._reach(cell, log, vmop, cast)
        mend, at = strikes.strike(cast, cell.fault), rfc3339_micro(time.time())
        log.read()
        cell.fell, cell.held = fell_into(cell.step, log.seen, self.vm, at), bool(held)
        if held and held != strikes.FREEZES.get(cell.fault):
            cast.thaw(held)
        if mend is None or cell.fault in LASTING:
            return mend
        with cell.timed("fault"):
            await asyncio.sleep(FAULT_S)
            mend()
        return None

    async def _reach(self, cell: Cell, log: MarkLog, vmop: str, cast: strikes.Cast) -> str:
        """Wait for the step. Returns the role whose agent was stopped to hold the story there, if any."""

        async def mark(name: str, **fields: str) -> Mark:
            fields = {"vm": self.vm, **fields}
            return await log.wait(lambda m: _fits(m, name, fields), STEP_LIMIT_S, name)

        cast.look()
        if cell.step is Step.SCHEDULING:
            await mark("migration.scheduling", vm="", vmm=f"vmop-{vmop}")
            return ""
        cast.target = (await mark("evict.listening")).get("node")
        if cell.step is Step.LISTENING and cell.fault is not Fault.TARGET_QEMU:
            cast.look()
            return ""
        await _until(lambda: "target" in cast.qemus, cast.look)
        if cell.step is Step.LISTENING:
            return ""
        await mark("evict.copy")
        if cell.step is Step.EARLY:
            await asyncio.sleep(0.3)
            return ""
        if cell.step is Step.LATE:
            assert not await eventually(lambda: self._nearly(vmop), STEP_LIMIT_S)
            return ""
        await mark("evict.completed")
        if cell.step is Step.COMPLETED:
            slow = cell.fault in (Fault.CUT, Fault.ISOLATE_SOURCE, Fault.ISOLATE_TARGET)
            if slow:
                cast.freeze("source")
            return "source" if slow else ""
        if cell.step is Step.HANDED_OVER:
            cast.freeze("target")
        await mark("evict.hand-over", outcome="acked")
        if cell.step is Step.HANDED_OVER:
            return "target"
        await mark("resumed", ground="arrival")
        if cell.step is Step.DONE:
            await mark("vmop.completed", vm="", vmop=vmop)
        return ""

    async def _nearly(self, vmop: str) -> str:
        """The last tenth of the copy."""
        vmm = await self.client.get(scheme.VMM, f"vmop-{vmop}", NAMESPACE)
        said = (vmm.get("status") or {}).get("source") or {}
        total, left = int(said.get("ramTotalBytes", 0)), int(said.get("ramRemainingBytes", 0))
        sent = int(said.get("ramTransferredBytes", 0))
        return "" if total and sent and left < total / 4 else f"{left} of {total} bytes to go"

    async def _settled(self, cell: Cell) -> None:
        """The VM runs, once, where its lease says, and nothing else is left."""
        wrong = await eventually(self._unsettled, SETTLE_LIMIT_S)
        cell.wrong += [wrong] if wrong else []

    async def _unsettled(self) -> str:
        vm = await self.get_vm()
        phase = vm["status"].get("phase")
        if phase != "Running":
            return f"the VM is {phase}"
        copies = self.guest.copies()
        if len(copies) != 1:
            return f"{len(copies)} QEMUs live: {copies}"
        lease = (await self.client.get(scheme.VML, self.name, NAMESPACE))["spec"]
        if lease["holder"] != copies[0].copy or lease["node"] != copies[0].node:
            return f"{lease['holder']} on {lease['node']} holds the lease, {copies[0]} runs"
        if vm["status"].get("nodeName") != copies[0].node:
            return f"VM.status names {vm['status'].get('nodeName')}, it runs on {copies[0].node}"
        return await self._pods(copies[0].copy)

    async def _pods(self, running: str) -> str:
        pods, _ = await self.client.list(scheme.POD, NAMESPACE)
        for pod in pods:
            meta, phase = pod["metadata"], (pod.get("status") or {}).get("phase")
            mine = any(o["name"] == self.name for o in meta.get("ownerReferences", []))
            ended = phase in ("Succeeded", "Failed") and "deletionTimestamp" not in meta
            if mine and not ended and meta["uid"] != running:
                return f"Pod {meta['name']} is left over: {phase}"
        return ""

    async def _sees(self, cell: Cell, boot: str) -> None:
        """The guest answers; a new one has booted."""
        cell.restarted = await self.guest.boot(BOOT_LIMIT_S) != boot
        if cell.restarted:
            await self.guest.wait_booted(BOOT_LIMIT_S)

    async def _outcome(self, vmop: str) -> str:
        try:
            found = await self.client.get(scheme.VMOP, vmop, NAMESPACE)
        except status.NotFound:
            return "gone"
        return str(found["status"]["phase"])

    async def _again(self, cell: Cell) -> None:
        """A new Evict works."""

        async def accepted() -> str:
            self._next = await self.evict()
            return ""

        wrong = await eventually(accepted, 30)
        wrong = wrong or await eventually(lambda: self.finished(self._next), SETTLE_LIMIT_S)
        if wrong:
            cell.wrong.append(f"the next Evict: {wrong}")
            return
        found = await self.client.get(scheme.VMOP, self._next, NAMESPACE)
        if found["status"]["phase"] != "Completed":
            said = [c.get("message") for c in found["status"].get("conditions", [])]
            cell.wrong.append(f"the next Evict {found['status']['phase']}: {said}")
        await self._settled(cell)

    async def _judge_guest(self, cell: Cell, boot: str) -> None:
        ledger = await self.guest.ledger()
        cell.pause_ms = ledger.worst_pause_ms
        if cell.restarted != (ledger.boot != boot):
            cell.wrong.append("the guest was restarted after the story")
        fell = cell.fell or cell.step
        if cell.restarted and not may_restart(fell, cell.fault, cell.held):
            cell.wrong.append("the guest was restarted, though its own QEMU was not the victim")
        if not cell.restarted and must_restart(fell, cell.fault):
            cell.wrong.append("the guest goes on, though its QEMU was killed")
        if ledger.boots != [boot]:
            cell.wrong.append(f"{ledger.boots} wrote the ledger that {boot} had begun")
        if ledger.duplicates or ledger.missing or not ledger.lines:
            cell.wrong.append(f"the ledger is not whole: {ledger}")
        if not cell.restarted and ledger.worst_pause_ms > cell.gap_ms + UNSEEN_MS:
            seen = f"{cell.gap_ms} ms from outside"
            cell.wrong.append(f"the guest misses {ledger.worst_pause_ms} ms, of which {seen}")


def _fits(mark: Mark, name: str, fields: dict[str, str]) -> bool:
    return mark.name == name and all(mark.get(k) == v for k, v in fields.items())


async def _until(check: Callable[[], bool], look: Callable[[], None]) -> None:
    for _ in range(300):
        look()
        if check():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("no QEMU waits on the target")
