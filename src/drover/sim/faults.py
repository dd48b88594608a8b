"""Everything that can break in a world, each with its mending. ``heal`` mends all.

The verbs are for named scenarios; ``weather`` throws them by chance.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from drover.controllers.restoring.restorer import Restored
from drover.sim.world import CONTROLLERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from drover.api.scheme import Kind
    from drover.api.wire import Request
    from drover.sim.api.store import Backup
    from drover.sim.net import Link as ApiLink
    from drover.sim.qemu_model import ModelQemu
    from drover.sim.transfer import Link as Wire
    from drover.sim.world import World

_WIRE_BYTES_PER_SECOND = 500 << 20


class Held:
    """Requests that are held on their way to the API server, however long their senders wait."""

    def __init__(self, link: ApiLink, chosen: Callable[[Request], bool], most: int) -> None:
        self._link = link
        self._chosen = chosen
        self._most = most
        self.requests: list[Request] = []
        link.holds = self._holds

    def _holds(self, request: Request) -> bool:
        if any(request is held for held in self.requests):
            return True
        if len(self.requests) < self._most and self._chosen(request):
            self.requests.append(request)
            return True
        return False

    def let_go(self) -> None:
        """They go on now, whatever has happened meanwhile."""
        self._link.holds = None
        self._link.change()


def lease_write(request: Request) -> bool:
    """A write to a VM lease."""
    return request.method in ("PUT", "PATCH") and "/virtualmachineleases/" in request.path


class Faults:
    """Of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.off: dict[str, None] = {}  # nodes without power
        self._frozen: dict[str, None] = {}  # processes

    # --- processes ---

    async def restart_agent(self, node: str, after_s: float = 1.0) -> None:
        """Kill the agent of a node, and start it again later. Its QEMUs live on."""
        self.kill_agent(node)
        await asyncio.sleep(after_s)
        self.start_agent(node)

    def kill_agent(self, node: str) -> None:
        if self.world.nodes[node].process:
            self.world.fault(f"the agent of {node} is killed")
            self.world.kill_agent(node)

    def start_agent(self, node: str) -> None:
        if not self.world.nodes[node].process and node not in self.off:
            self.world.note(f"mend: the agent of {node} starts")
            self.world.start_agent(node)

    async def freeze(self, process: str, for_s: float) -> None:
        """SIGSTOP and SIGCONT. ``process``: a node (its agent) or ``controllers``."""
        world = self.world
        name = world.controllers if process == CONTROLLERS else world.nodes[process].process
        if not name or name in self._frozen:
            return
        world.fault(f"{name} is frozen for {for_s:.3f} s")
        self._frozen[name] = None
        world.loop.freeze(name)
        await asyncio.sleep(for_s)
        self._thaw(name)

    def _thaw(self, name: str) -> None:
        if name in self._frozen:
            del self._frozen[name]
            self.world.note(f"mend: {name} is thawed")
            self.world.loop.thaw(name)

    async def restart_controllers(self, after_s: float = 1.0) -> None:
        self.kill_controllers()
        await asyncio.sleep(after_s)
        self.start_controllers()

    def kill_controllers(self) -> None:
        if self.world.controllers:
            self.world.fault("the controllers are killed")
            self.world.kill_controllers()

    def start_controllers(self) -> None:
        if not self.world.controllers:
            self.world.note("mend: the controllers start")
            self.world.start_controllers()

    async def rival_controllers(self, for_s: float) -> None:
        """The controllers stand still, others take their place, and then both are at work: nothing elects one here."""
        world, former = self.world, self.world.controllers
        if not former or former in self._frozen:
            return
        world.fault(f"{former} stands still for {for_s:.3f} s, and others take its place")
        world.loop.freeze(former)
        world.start_controllers()
        try:
            await asyncio.sleep(for_s)
            world.fault(f"{former} goes on beside the others")
            world.loop.thaw(former)
            await asyncio.sleep(for_s)
        finally:
            world.note(f"mend: {former} is killed")
            world.loop.kill(former)

    async def power_cycle(self, node: str, after_s: float) -> None:
        """The node loses power with all that runs on it, and boots again later."""
        if node in self.off:
            return
        self.world.fault(f"{node} loses power")
        self.off[node] = None
        self.world.power_off(node)
        await asyncio.sleep(after_s)
        self.power_on(node)

    def power_on(self, node: str) -> None:
        if node in self.off:
            self.world.note(f"mend: {node} boots")
            del self.off[node]
            self.world.power_on(node)

    def crash(self, qemu: ModelQemu) -> None:
        if qemu.alive:
            self.world.fault(f"QEMU of {qemu.spec.vm} on {qemu.node} dies")
            qemu.crash()

    async def hang(self, qemu: ModelQemu, for_s: float) -> None:
        """The process answers nothing for a while; the guest is not touched."""
        self.world.fault(f"QEMU of {qemu.spec.vm} on {qemu.node} answers nothing")
        qemu.frozen = True
        await asyncio.sleep(for_s)
        qemu.frozen = False

    async def fail_disks(self, node: str, for_s: float) -> None:
        """Reads and writes of the guests on this node give errors."""
        self.world.fault(f"the disks of {node} are gone for {for_s:.3f} s")
        failing = self.world.site.living(node)
        for qemu in failing:
            qemu.disk_error()
        await asyncio.sleep(for_s)
        for qemu in failing:
            qemu.disks_fail = False

    # --- the API ---

    def api_link(self, name: str) -> ApiLink:
        """Of a node or of the controllers."""
        return self.world.net.link(name)

    async def cut_api(self, name: str, for_s: float) -> None:
        self.world.fault(f"{name} does not reach the API for {for_s:.3f} s")
        self.world.net.cut(name)
        await asyncio.sleep(for_s)
        self.world.net.heal(name)

    async def clog_api(self, name: str, for_s: float) -> None:
        """All that is sent is held up, and arrives late."""
        self.world.fault(f"the line from {name} to the API is clogged for {for_s:.3f} s")
        self.world.net.clog(name)
        await asyncio.sleep(for_s)
        self.world.net.heal(name)

    async def lag(self, name: str, kind: Kind, for_s: float) -> None:
        """The watch of one kind tells nothing for a while: caches of one process are never of one moment."""
        link, path = self.world.net.link(name), kind.path()
        self.world.fault(f"{name} hears nothing of {kind.plural} for {for_s:.3f} s")
        link.lags[path] = None
        await asyncio.sleep(for_s)
        link.lags.pop(path, None)
        link.change()

    def hold(self, name: str, chosen: Callable[[Request], bool], most: int = 1) -> Held:
        """Keep the first ``most`` such requests on the way until ``Held.let_go``: they land late."""
        held = Held(self.world.net.link(name), chosen, most)
        self.world.fault(f"{most} requests from {name} are held on the way")
        return held

    async def restart_api(self, down_s: float) -> None:
        self.world.fault(f"the API server is down for {down_s:.3f} s")
        self.world.api.break_watches()
        await self.world.net.restart_server(down_s)

    def restore(self, backup: Backup, off: tuple[str, ...] = ()) -> None:
        """etcd is put back to what it was, and the control plane started anew; agents and guests go on."""
        world = self.world
        world.kill_controllers()
        world.fault("etcd is restored from a backup")
        world.api.store.restore(backup)
        world.api.break_watches()
        world.restored = Restored(f"at-{world.loop.time()}", tuple(world.nodes), off)
        world.settling = True
        world.start_controllers()

    # --- between nodes ---

    def wire(self, a: str, b: str) -> Wire:
        return self.world.site.link(a, b)

    async def cut_wire(self, a: str, b: str, for_s: float) -> None:
        self.world.fault(f"the wire {a}-{b} is cut for {for_s:.3f} s")
        self.wire(a, b).up = False
        await asyncio.sleep(for_s)
        self.wire(a, b).up = True

    async def lose_last_word(self, a: str, b: str, for_s: float) -> None:
        """The target loads everything, and its last message never arrives."""
        self.world.fault(f"{a}-{b} loses last words for {for_s:.3f} s")
        self.wire(a, b).loses_last_word = True
        await asyncio.sleep(for_s)
        self.wire(a, b).loses_last_word = False

    async def hold_last_word(self, a: str, b: str, for_s: float) -> None:
        """The target loads everything, and its last message is on the way for ever."""
        self.world.fault(f"{a}-{b} holds last words for {for_s:.3f} s")
        self.wire(a, b).holds_last_word = True
        await asyncio.sleep(for_s)
        self.wire(a, b).holds_last_word = False

    async def mute(self, a: str, b: str, for_s: float) -> None:
        """``b`` does not hear ``a`` any more, and ``a`` hears ``b``."""
        self.world.fault(f"{b} does not hear {a} for {for_s:.3f} s")
        self.wire(a, b).mute = a
        await asyncio.sleep(for_s)
        self.wire(a, b).mute = ""

    async def slow_wire(self, a: str, b: str, bytes_per_second: float, for_s: float) -> None:
        self.world.fault(f"{a}-{b} carries {bytes_per_second:.0f} B/s for {for_s:.3f} s")
        self.wire(a, b).bytes_per_second = bytes_per_second
        await asyncio.sleep(for_s)
        self.wire(a, b).bytes_per_second = _WIRE_BYTES_PER_SECOND

    async def refuse_launch(self, node: str, for_s: float) -> None:
        """QEMU does not start on this node."""
        self.world.fault(f"QEMU does not start on {node} for {for_s:.3f} s")
        self.world.site.refuse_launch[node] = "could not load PC BIOS 'bios-256k.bin'"
        await asyncio.sleep(for_s)
        self.world.site.refuse_launch.pop(node, None)

    # --- the end ---

    def heal(self) -> None:
        """All is as it should be, from now on."""
        world = self.world
        world.note("mend: everything")
        for process in list(self._frozen):
            self._thaw(process)
        for node in world.nodes:
            self.power_on(node)
            self.start_agent(node)
        self.start_controllers()
        for name in (*world.nodes, CONTROLLERS, "witness"):
            world.net.heal(name)
            link = world.net.link(name)
            link.lose_request = link.lose_answer = link.late = 0.0
            link.lags.clear()
            link.change()
        for wire in world.site.links.values():
            wire.up, wire.loses_last_word, wire.holds_last_word = True, False, False
            wire.mute = ""
            wire.bytes_per_second = _WIRE_BYTES_PER_SECOND
        world.site.refuse_launch.clear()
        for qemu in world.site.qemus.values():
            qemu.frozen = qemu.disks_fail = False
