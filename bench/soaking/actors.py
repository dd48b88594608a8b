"""Carries acts of the plan out on a lab: what people ask for through the API, and what breaks.

An act that is refused, or that finds nothing to do, is told and no more: the API may be away, a node off. What was
broken is mended by the same act, and by ``heal`` in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable

from bench.common import CHECKOUT
from bench.soaking.objects import NAMESPACE
from bench.soaking.weather import Act
from drover.api import names, scheme
from drover.api.firmware import SET_ANNOTATION
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.status import ApiError, Unanswered
from drover.api.wire import Object
from drover.base.clock import RealClock, rfc3339
from drover.lab import faults, processes
from drover.lab.errors import LabError
from drover.lab.lab import Lab
from drover.runtime.client import Client

DRAIN_LIMIT_S = 25


class Actors:
    """``tell`` is given one line an act. ``versions`` of QEMU to go to and fro between; one: no firmware acts."""

    def __init__(
        self,
        lab: Lab,
        client: Client,
        vm_names: list[str],
        versions: list[str],
        tell: Callable[[str], None],
    ) -> None:
        self._lab = lab
        self._client = client
        self._names = vm_names
        self._nodes = lab.settings().node_names
        self._versions = versions
        self._tell = tell
        self._count = 0
        self.done: dict[str, int] = {}
        self.refused: dict[str, int] = {}

    async def act(self, act: Act) -> None:
        """One act, its second half included."""
        self._tell(str(act))
        does = getattr(self, "_" + act.what.replace("-", "_"))
        try:
            await does(act)
            self.done[act.what] = self.done.get(act.what, 0) + 1
        except (ApiError, Unanswered, LabError) as error:
            self.refused[act.what] = self.refused.get(act.what, 0) + 1
            self._tell(f"       {act.what}: {error}"[:160])

    # --- people ---

    async def operate(self, kind: str, vm: str, **spec: object) -> str:
        self._count += 1
        name = f"soak-{kind.lower()}-{self._count}"
        wish: Object = {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"type": kind, "virtualMachineName": vm, **spec},
        }
        await self._client.create(scheme.VMOP, wish)
        return name

    async def _evict(self, act: Act) -> None:
        await self.operate("Evict", self._names[act.vm])

    async def _abort(self, act: Act) -> None:
        name = await self.operate("Evict", self._names[act.vm])
        await asyncio.sleep(act.last_s)
        await self._client.delete(scheme.VMOP, name, NAMESPACE)

    async def _migrate(self, act: Act) -> None:
        selector = {"kubernetes.io/hostname": self._nodes[act.node]}
        name = await self.operate(
            "Migrate", self._names[act.vm], migrate={"nodeSelector": selector}
        )
        await asyncio.sleep(act.last_s)
        await self._client.delete(scheme.VMOP, name, NAMESPACE)

    async def _restart(self, act: Act) -> None:
        await self.operate("Restart", self._names[act.vm])

    async def _stop(self, act: Act) -> None:
        await self.operate("Stop", self._names[act.vm])

    async def _start(self, act: Act) -> None:
        await self.operate("Start", self._names[act.vm])

    async def _delete_pod(self, act: Act) -> None:
        found, _ = await self._client.list(scheme.POD, NAMESPACE, labels=names.VM_NAME_LABEL)
        mine = [pod for pod in found if pods.vm_name(pod) == self._names[act.vm]]
        if mine:
            await self._client.delete(scheme.POD, mine[0]["metadata"]["name"], NAMESPACE)

    async def _drain(self, act: Act) -> None:
        """Cordon, evict, wait a little, and uncordon, whether all have left or not."""
        node = self._nodes[act.node]
        try:
            await self._kubectl("drain", node, "--ignore-daemonsets", f"--timeout={DRAIN_LIMIT_S}s")
            await asyncio.sleep(act.last_s)
        finally:
            await self._kubectl("uncordon", node)

    async def _kubectl(self, *arguments: str) -> None:
        argv = [sys.executable, "-m", "drover.cli.main", "--home", str(self._lab.home.path), "k"]
        env = {**os.environ, "PYTHONPATH": str(CHECKOUT / "src"), "NO_COLOR": "1"}
        quiet = asyncio.subprocess.DEVNULL
        child = await asyncio.create_subprocess_exec(
            *argv, *arguments, env=env, stdout=quiet, stderr=quiet, stdin=quiet
        )
        try:
            async with asyncio.timeout(DRAIN_LIMIT_S + 20):
                code = await child.wait()
        except TimeoutError:
            child.kill()
            code = await child.wait()
        if code:
            raise LabError(f"k {' '.join(arguments)} ended with {code}")

    async def _firmware(self, act: Act) -> None:
        if len(self._versions) < 2:
            raise LabError("there is one version of QEMU only")
        wanted = self._versions[self.done.get("firmware", 0) % len(self._versions)]
        await self.want_firmware(wanted)

    async def want_firmware(self, version: str) -> None:
        patch: Object = {
            "metadata": {"annotations": {SET_ANNOTATION: rfc3339(RealClock().wall())}},
            "spec": {"settings": {"firmware": {"version": version}}},
        }
        await self._client.patch(scheme.MODULECONFIG, names.MODULE_CONFIG, "", patch)

    # --- what breaks ---

    async def _for_a_while(
        self, act: Act, begin: Callable[[], object], end: Callable[[], object]
    ) -> None:
        begin()
        try:
            await asyncio.sleep(act.last_s)
        finally:
            end()

    async def _power_off(self, act: Act) -> None:
        await self._at_node(act, faults.power_off, faults.power_on)

    async def _isolate(self, act: Act) -> None:
        await self._at_node(act, faults.isolate, faults.rejoin)

    async def _freeze(self, act: Act) -> None:
        await self._at_node(act, faults.freeze, faults.thaw)

    async def _at_node(
        self, act: Act, begin: Callable[[Lab, str], str], end: Callable[[Lab, str], str]
    ) -> None:
        lab, node = self._lab, self._nodes[act.node]
        await self._for_a_while(act, lambda: begin(lab, node), lambda: end(lab, node))

    async def _api_down(self, act: Act) -> None:
        lab = self._lab
        await self._for_a_while(act, lambda: faults.api_down(lab), lambda: faults.api_up(lab))

    async def _cut(self, act: Act) -> None:
        lab, node = self._lab, self._nodes[act.node]
        other = self._nodes[(act.node + 1 + act.vm % 2) % len(self._nodes)]
        await self._for_a_while(
            act, lambda: faults.cut(lab, node, other), lambda: faults.mend(lab, node, other)
        )

    async def _kill_controllers(self, _: Act) -> None:
        faults.kill_control_plane_part(self._lab, "controllers")

    async def _kill_etcd(self, _: Act) -> None:
        faults.kill_control_plane_part(self._lab, "etcd")

    async def _kill_agent(self, act: Act) -> None:
        faults.kill_agent(self._lab, self._nodes[act.node])

    async def _kill_qemu(self, act: Act) -> None:
        vm = f"{NAMESPACE}/{self._names[act.vm]}"
        found = [m for m in processes.machines(self._lab.lab_id) if m.vm == vm]
        if not found:
            raise LabError(f"{vm} has no QEMU")
        processes.send([found[0].pid], signal.SIGKILL)

    # --- afterwards ---

    async def heal(self) -> None:
        """Everything is on, plugged in and thawed; nodes are open; VMs that were stopped are asked to start."""
        lab = self._lab
        with contextlib.suppress(LabError):
            faults.api_up(lab)
        for node in self._nodes:
            for mend in (faults.power_on, faults.rejoin, faults.thaw):
                with contextlib.suppress(LabError):
                    mend(lab, node)
        for number, node in enumerate(self._nodes):
            with contextlib.suppress(LabError):
                faults.mend(lab, node, self._nodes[(number + 1) % len(self._nodes)])

    async def reopen(self) -> None:
        """No node is cordoned. Raises what the API says."""
        for node in self._nodes:
            with contextlib.suppress(ApiError):
                await self._client.patch(scheme.NODE, node, "", {"spec": {"unschedulable": None}})

    async def start_the_stopped(self) -> None:
        """Those that somebody has stopped, as their owners would."""
        for name in self._names:
            vm = await self._client.get(scheme.VM, name, NAMESPACE)
            if vms.phase(vm) is vms.VmPhase.STOPPED:
                with contextlib.suppress(ApiError):
                    await self.operate("Start", name)
