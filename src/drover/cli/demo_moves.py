"""The two moves of the demo: one that is carried out under a ping, one that is aborted.

The commands do it; the API is only *read* beside them, for the moments that no command prints to the millisecond.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from drover.api import names, scheme, status
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.wire import Object
from drover.cli import demo_ping
from drover.cli.connect import Api
from drover.cli.demo_stage import Background, DemoFailed, Stage
from drover.cli.operations import migration_name
from drover.cli.session import PROGRAM, say

NAMESPACE = "default"
MOVE_LIMIT_S = 180.0
ABORT_PROMISE_S = 2.0
POLL_S = 0.02
STEADY_S = 1.0  # of answers before and after a move

_EVICT = """\
{program} k create -f - <<EOF
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualMachineOperation
metadata:
  generateName: evict-{vm}-
spec:
  # Virtual machine name.
  virtualMachineName: {vm}
  # An operation for the migration.
  type: Evict
EOF"""


@dataclass
class Figures:
    """What the demo measured; 0: that story was not played."""

    total_s: float = 0.0
    downtime_ms: int = 0
    ping: demo_ping.PingReport = field(default_factory=lambda: demo_ping.PingReport(0, 0, 0.0))
    target_gone_s: float = 0.0
    operation_gone_s: float = 0.0
    drain_s: float = 0.0
    firmware_s: float = 0.0  # or there is one version only
    balance_s: float = 0.0
    losses_s: tuple[float, float] = (0.0, 0.0)  # of power, of the network

    def rows(self) -> list[tuple[str, str]]:
        rows = self._move_rows() if self.total_s else []
        if self.drain_s:
            rows.append(("drain: until all VMs had left their node", f"{self.drain_s:.1f} s"))
        if self.firmware_s:
            rows.append(("firmware: until every VM ran on it", f"{self.firmware_s:.1f} s"))
        if self.balance_s:
            rows.append(("full host: until every host was below 80 %", f"{self.balance_s:.1f} s"))
        for what, took_s in zip(("power", "network"), self.losses_s, strict=True):
            if took_s:
                rows.append(
                    (f"host without {what}: until its VM answered again", f"{took_s:.1f} s")
                )
        return rows

    def _move_rows(self) -> list[tuple[str, str]]:
        every = f"pinged every {demo_ping.INTERVAL_MS} ms"
        gap = f"{self.ping.longest_gap_ms:.0f} ms"
        return [
            ("move: from the operation's creation to the new node", f"{self.total_s:.2f} s"),
            ("move: the guest stood still, as QEMU reports it", f"{self.downtime_ms} ms"),
            (f"move: longest time without an answer, {every}", gap),
            ("move: answers / lost", f"{self.ping.answers} / {self.ping.lost}"),
            ("abort: from the deletion to the target Pod's end", f"{self.target_gone_s:.2f} s"),
            ("abort: from the deletion to the operation's end", f"{self.operation_gone_s:.2f} s"),
        ]


class Moves:
    """Both moves, and what goes before them."""

    def __init__(self, stage: Stage, api: Api) -> None:
        self._stage = stage
        self._api = api

    # --- before ---

    async def clear_leftovers(self, vm_names: tuple[str, ...]) -> None:
        """An interrupted demo may have left an operation at work: deleting it aborts it."""
        operations, _ = await self._api.client.list(scheme.VMOP, NAMESPACE)
        left = [
            op["metadata"]["name"]
            for op in operations
            if vmops.vm_name(op) in vm_names and not vmops.finished(op)
        ]
        if left:
            self._stage.tell("left by an earlier run:")
            await self._stage.run(f"{PROGRAM} k delete vmop {' '.join(left)}")

    async def address(self, vm: str) -> str:
        found = vms.status(await self._vm(vm)).get("ipAddress", "")
        if not found:
            raise DemoFailed(
                f"{vm} runs but has no address; `{PROGRAM} k describe vm {vm}` tells why"
            )
        return str(found)

    async def wait_answer(self, vm: str, address: str, limit_s: float) -> None:
        """Until the guest answers a ping, which it does when it has booted."""
        clock = self._stage.clock
        end = clock.monotonic() + limit_s
        async with self._stage.ticking("booting"):
            while clock.monotonic() < end:
                async with self._stage.background(demo_ping.once(address)) as ping:
                    await ping.wait_end()
                if ping.code == 0:
                    break
                await clock.sleep(0.2)
            else:
                raise DemoFailed(
                    f"{vm} does not answer at {address} after {limit_s:.0f} s; "
                    f"`{PROGRAM} console {vm}` shows what it is at"
                )
        say(next((line.text for line in ping.lines if "bytes from" in line.text), "it answers"))

    # --- the move ---

    async def evict(self, vm: str, figures: Figures) -> None:
        """The migration as the user manual tells it, under a ping."""
        stage, clock = self._stage, self._stage.clock
        stage.title(f"Live migration: {vm} moves to another host while it runs")
        address = await self.address(vm)
        async with stage.step(f"{vm} moved"):
            await stage.run(f"{PROGRAM} k get vm")
            source = self._node(await self._vm(vm))
            ping_command, watch_command = demo_ping.command(address), f"{PROGRAM} k get vm -w"
            stage.tell(f"Beside it run `{ping_command}` and, so that it misses nothing, the watch")
            stage.tell("that is shown after the next command.")
            async with (
                stage.background(ping_command) as ping,
                stage.background(watch_command) as watch,
            ):
                await self._until_row(watch, vm, lambda row: True)
                await clock.sleep(STEADY_S)
                operation = await self._create(vm)
                began_s = clock.monotonic()
                stage.announce(watch_command)
                watch.show()
                ended_s = await self._until_row(watch, vm, lambda row: _moved(row, source))
                figures.total_s = max(0.0, ended_s - began_s)
                await clock.sleep(STEADY_S)
            say()
            await self._completed(operation)
            figures.ping = demo_ping.report(line.text for line in ping.lines)
            figures.downtime_ms = await self._downtime(operation)
            if figures.ping.answers == 0 or await self.address(vm) != address:
                raise DemoFailed(f"{vm} does not answer at {address} any more")

    async def _create(self, vm: str) -> str:
        """Create the operation by the command; its generated name."""
        said = await self._stage.run(_EVICT.format(program=PROGRAM, vm=vm))
        for word in said.replace("/", " ").split():
            if word.startswith(f"evict-{vm}-"):
                return word
        raise DemoFailed(f"no operation's name in {said!r}")

    async def _until_row(
        self, watch: Background, vm: str, wanted: Callable[[list[str]], bool]
    ) -> float:
        """Until the watch has a row of the VM as wanted; when that row came."""
        clock = self._stage.clock
        end = clock.monotonic() + MOVE_LIMIT_S
        seen = 0
        while True:
            fresh, seen = watch.lines[seen:], len(watch.lines)
            for line in fresh:
                row = line.text.split()
                if len(row) >= 4 and row[0] == vm and wanted(row):
                    return line.at_s
            if clock.monotonic() > end or watch.ended:
                raise DemoFailed(f"`{watch.command}` never showed it: {await self._why(vm)}")
            await watch.news(1.0)

    async def _completed(self, operation: str) -> None:
        completed = "--for=jsonpath='{.status.phase}'=Completed"
        await self._stage.run(f"{PROGRAM} k wait vmop/{operation} {completed} --timeout=60s")
        await self._stage.run(f"{PROGRAM} k get vmop {operation}")

    async def _downtime(self, operation: str) -> int:
        path = "-o jsonpath='{.status.source.downtimeMs}{\"\\n\"}'"
        said = await self._stage.run(f"{PROGRAM} k get vmm {migration_name(operation)} {path}")
        if not said.strip().isdigit():
            raise DemoFailed(f"the migration of {operation} tells no downtime")
        return int(said)

    # --- the abort ---

    async def abort(self, vm: str, figures: Figures) -> None:
        """Begin a move that takes long, and delete its operation while the memory is being copied."""
        stage = self._stage
        stage.title(f"Abort: {vm} begins to move, and its operation is deleted on the way")
        async with stage.step(f"a move of {vm} was aborted"):
            source = self._node(await self._vm(vm))
            operation = await self._create(vm)
            vmm = await self._until_copying(operation)
            await stage.run(f"{PROGRAM} k get vmop {operation}")
            await stage.run(f"{PROGRAM} k get pods -l {names.VM_NAME_LABEL}={vm} -o wide")
            watching = stage.scope.spawn(
                self._watch_end(operation, vmms.target_pod_name(vmm), figures), "abort"
            )
            await stage.run(f"{PROGRAM} k delete vmop {operation}")
            await watching
            await stage.run(f"{PROGRAM} k get vm {vm}")
            await stage.run(f"{PROGRAM} k get pods -l {names.VM_NAME_LABEL}={vm} -o wide")
            after = await self._vm(vm)
            if vms.phase(after) != "Running" or self._node(after) != source:
                raise DemoFailed(f"{vm} is not Running on {source} any more: {await self._why(vm)}")
            slowest_s = max(figures.target_gone_s, figures.operation_gone_s)
            if slowest_s > ABORT_PROMISE_S:
                stage.tell(f"slower than {ABORT_PROMISE_S:.0f} s: is this machine busy?")

    async def _until_copying(self, operation: str) -> Object:
        """Until memory flows; the migration as read then."""
        end = self._stage.clock.monotonic() + MOVE_LIMIT_S
        async with self._stage.ticking("until its memory is being copied"):
            while self._stage.clock.monotonic() < end:
                vmm = await self._found(scheme.VMM, migration_name(operation))
                if vmm is not None and vmms.final(vmm):
                    raise DemoFailed(f"it ended before it could be aborted: {vmms.phase(vmm)}")
                if vmm is not None and vmms.source_report(vmm).get("ramTransferredBytes", 0) > 0:
                    return vmm
                await self._stage.clock.sleep(POLL_S)
        raise DemoFailed(f"{operation} does not begin to copy; `{PROGRAM} k get vmm -o wide`")

    async def _watch_end(self, operation: str, target_pod: str, figures: Figures) -> None:
        """Note when the deletion is asked for, and when target Pod and operation are gone."""
        clock = self._stage.clock
        asked_s = pod_gone_s = op_gone_s = 0.0
        end = clock.monotonic() + MOVE_LIMIT_S
        while not (pod_gone_s and op_gone_s) and clock.monotonic() < end:
            vmop = await self._found(scheme.VMOP, operation)
            pod = await self._found(scheme.POD, target_pod)
            now_s = clock.monotonic()
            if not asked_s and (vmop is None or vmop["metadata"].get("deletionTimestamp")):
                asked_s = now_s
            # On a busy machine it may have ended by itself before anybody had to delete it.
            if not pod_gone_s and asked_s and (pod is None or pods.ended(pod)):
                pod_gone_s = now_s
            if not op_gone_s and asked_s and vmop is None:
                op_gone_s = now_s
            await clock.sleep(POLL_S)
        if not (pod_gone_s and op_gone_s):
            raise DemoFailed(f"{operation} or its target Pod {target_pod} is still there")
        figures.target_gone_s = pod_gone_s - asked_s
        figures.operation_gone_s = op_gone_s - asked_s

    # --- reading ---

    async def _found(self, kind: scheme.Kind, name: str) -> Object | None:
        try:
            return await self._api.client.get(kind, name, NAMESPACE)
        except status.NotFound:
            return None

    async def _vm(self, vm: str) -> Object:
        return await self._api.client.get(scheme.VM, vm, NAMESPACE)

    def _node(self, vm: Object) -> str:
        return str(vms.status(vm).get("nodeName", ""))

    async def _why(self, vm: str) -> str:
        """The latest operation's message, for a failure."""
        operations, _ = await self._api.client.list(scheme.VMOP, NAMESPACE)
        said = [
            f"{op['metadata']['name']} is {vmops.phase(op)}: {condition.get('message', '')}"
            for op in sorted(operations, key=lambda op: str(op["metadata"]["creationTimestamp"]))
            if vmops.vm_name(op) == vm
            for condition in (op.get("status") or {}).get("conditions") or []
            if condition["type"] == "Completed"
        ]
        return said[-1] if said else f"{vm} has no operation with a word on it"


def _moved(row: list[str], source: str) -> bool:
    return row[1] == "Running" and row[2] != source
