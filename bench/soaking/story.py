"""One soak, from its first VM to the verdict."""

from __future__ import annotations

import asyncio
import re
import time

from tests.faults.marks import MarkLog
from tests.faults.outcome import eventually
from tests.faults.story import LOCK_REFUSED
from tests.support.guest import Guest, GuestSilent

from bench.soaking import checkers, samples
from bench.soaking.actors import Actors
from bench.soaking.checkers import Hand, Life, Look, Stock
from bench.soaking.objects import NAMESPACE, disk, vm
from bench.soaking.weather import plan
from drover.api import firmware, names, scheme
from drover.api.kinds import node as nodes
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vml as vmls
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.meta import uid_of
from drover.api.scheme import key_of
from drover.api.status import ApiError, Unanswered
from drover.api.wire import Object
from drover.base.clock import RealClock
from drover.base.ids import RealIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.lab import processes
from drover.lab.lab import Lab
from drover.runtime.client import Client
from drover.runtime.manager import Manager

BOOT_LIMIT_S = 150.0
SETTLE_LIMIT_S = 240.0
LOOK_S = 1.0
COURSE_S = 10.0
POLICIES = ("AlwaysOn", "AlwaysOnUnlessStoppedManually")
_CRASH = re.compile(r"Traceback \(most recent call last\)|an object has found a bug")


class Soak:
    """One lab, from its first VM to the verdict."""

    def __init__(self, lab: Lab, client: Client, seed: int, work_s: float, vm_count: int) -> None:
        self._lab = lab
        self._client = client
        self._seed = seed
        self._work_s = work_s
        self._names = [f"vm{number + 1}" for number in range(vm_count)]
        self._began = time.monotonic()
        self._hands: list[Hand] = []
        self._looks: list[Look] = []
        self._courses = samples.Courses()
        log = Log(RealClock(), lambda _: None)
        self._manager = Manager(client, RealClock(), RealIds(), log, "drover-soak")
        self._vmls = self._manager.informer(scheme.VML)
        self._vmls.add_handler(self._saw_lease)
        self.wrong: list[str] = []

    def tell(self, words: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f}  {words}", flush=True)

    async def play(self) -> None:
        marks = MarkLog(self._lab.home.logs)
        async with TaskScope("soak") as scope:
            scope.guard(self._manager.run(), "leases")
            await self._furnish()
            before = samples.stock(self._lab)
            disk_mib = samples.disk_mib(self._lab.home.path)
            actors = Actors(self._lab, self._client, self._names, await self._versions(), self.tell)
            looking = scope.spawn(self._look(), "looks")
            await self._work(actors)
            self.tell("all is mended, and people go home")
            await self._rest(actors)
            looking.cancel()
            await self._judge(before, marks)
            self._report(actors, samples.disk_mib(self._lab.home.path) - disk_mib)

    # --- before ---

    async def _furnish(self) -> None:
        """Fencing and rebalancing on, and VMs whose guests keep a ledger."""
        client = self._client
        fencing = {"mode": "Watchdog", "profile": "lab"}
        await client.patch(scheme.NODEGROUP, "worker", "", {"spec": {"fencing": fencing}})
        thresholds = {"thresholds": {"cpu": 6}, "targetThresholds": {"cpu": 13}}
        strategies = {"lowNodeUtilization": {"enabled": True, **thresholds}}
        await client.patch(
            scheme.DESCHEDULER, names.DESCHEDULER, "", {"spec": {"strategies": strategies}}
        )
        rebalance = {"mode": "Automatic", "settlingTime": 10, "cooldown": 30}
        await client.create(
            scheme.MODULECONFIG,
            {
                "metadata": {"name": names.REBALANCE_MODULE},
                "spec": {"enabled": True, "settings": {"rebalance": rebalance}},
            },
        )
        for number, name in enumerate(self._names):
            await client.create(scheme.VDISK, disk(name))
            await client.create(scheme.VM, vm(name, POLICIES[number % len(POLICIES)]))
        for name in self._names:
            wrong = await eventually(lambda name=name: self._unsettled_vm(name), BOOT_LIMIT_S)
            if wrong:
                raise SystemExit(f"before anything was broken: {wrong}")
            guest = Guest(self._lab, f"{NAMESPACE}/{name}")
            await guest.wait_booted(BOOT_LIMIT_S)
            await guest.shell("until [ -s /var/ledger ]; do sleep 0.2; done", 30)
        self.tell(f"{len(self._names)} VMs run and keep their ledgers")

    async def _versions(self) -> list[str]:
        """That every node offers."""
        found, _ = await self._client.list(scheme.NODE)
        offers = [{offer.version for offer in firmware.offers_of(node)} for node in found]
        return sorted(set.intersection(*offers)) if offers else []

    # --- meanwhile ---

    async def _work(self, actors: Actors) -> None:
        acts = plan(
            self._seed, self._work_s, len(self._names), len(self._lab.settings().node_names)
        )
        self.tell(f"seed {self._seed}: {len(acts)} acts in {self._work_s:.0f} s")
        began = time.monotonic()
        async with TaskScope("acts") as scope:
            running = []
            for act in acts:
                await asyncio.sleep(max(0.0, began + act.at_s - time.monotonic()))
                running.append(scope.spawn(actors.act(act), act.what))
            await asyncio.sleep(max(0.0, began + self._work_s - time.monotonic()))
            for one in running:
                await one
        await actors.heal()

    def _saw_lease(self, _: Object | None, lease: Object | None) -> None:
        if lease is not None:
            self._hands.append(
                Hand(key_of(lease), uid_of(lease), vmls.epoch(lease), vmls.holder(lease))
            )

    async def _look(self) -> None:
        """Count QEMUs, and now and then memory, for ever."""
        courses_s = 0.0
        while True:
            at_s = time.monotonic() - self._began
            copies: dict[str, int] = {}
            for machine in processes.machines(self._lab.lab_id):
                copies[machine.vm] = copies.get(machine.vm, 0) + 1
            twins = any(count > 1 for count in copies.values())
            moving = await self._moving() if twins else frozenset()
            self._looks.append(Look(at_s, copies, moving))
            if at_s >= courses_s:
                self._courses.look(self._lab, at_s)
                courses_s = at_s + COURSE_S
            await asyncio.sleep(LOOK_S)

    async def _moving(self) -> frozenset[str] | None:
        """VMs with a migration that is not over, or that has ended a moment ago."""
        try:
            found, _ = await self._client.within(2.0).list(scheme.VMM, NAMESPACE)
        except (ApiError, Unanswered):
            return None
        return frozenset(vmms.vm_key(vmm) for vmm in found if not vmms.final(vmm))

    # --- afterwards ---

    async def _rest(self, actors: Actors) -> None:
        began = time.monotonic()
        again_s = 0.0

        async def unsettled() -> str:
            nonlocal again_s
            await asyncio.sleep(0.5)
            if time.monotonic() >= again_s:
                again_s = time.monotonic() + 15.0
                await actors.reopen()
                await actors.start_the_stopped()
            for name in self._names:
                if wrong := await self._unsettled_vm(name):
                    return wrong
            return await self._open()

        wrong = await eventually(unsettled, SETTLE_LIMIT_S)
        if wrong:
            self.wrong.append(f"not at rest after {SETTLE_LIMIT_S:.0f} s: {wrong}")
        self.tell(wrong or f"at rest after {time.monotonic() - began:.0f} s")

    async def _unsettled_vm(self, name: str) -> str:
        """It runs, once, where its lease says."""
        vm = await self._client.get(scheme.VM, name, NAMESPACE)
        if vms.phase(vm) is not vms.VmPhase.RUNNING:
            return f"{name} is {vms.phase(vm)}"
        copies = Guest(self._lab, f"{NAMESPACE}/{name}").copies()
        lease = await self._client.get(scheme.VML, name, NAMESPACE)
        if [(vmls.holder(lease), vmls.node(lease))] != [(c.copy, c.node) for c in copies]:
            return f"{vmls.holder(lease)} on {vmls.node(lease)} may run {name}, and {copies} do"
        if vms.node_name(vm) != copies[0].node:
            return f"{name} is said to be on {vms.node_name(vm)}, and is on {copies[0].node}"
        found, _ = await self._client.list(scheme.POD, NAMESPACE, labels=names.VM_NAME_LABEL)
        for pod in found:
            mine = pods.vm_name(pod) == name and uid_of(pod) != copies[0].copy
            if mine and (not pods.ended(pod) or pods.deleting(pod)):
                return f"Pod {pod['metadata']['name']} is left over: {pods.phase(pod)}"
        return ""

    async def _open(self) -> str:
        for vmop in (await self._client.list(scheme.VMOP, NAMESPACE))[0]:
            if not vmops.finished(vmop):
                return f"operation {key_of(vmop)} is {vmops.phase(vmop)}"
        for vmm in (await self._client.list(scheme.VMM, NAMESPACE))[0]:
            if not vmms.final(vmm):
                return f"migration {key_of(vmm)} is {vmms.phase(vmm)}"
        found = (await self._client.list(scheme.NODE))[0]
        ready = [node for node in found if nodes.ready(node)]
        return "" if len(ready) == len(self._lab.settings().node_names) else "a node is not Ready"

    async def _judge(self, before: Stock, marks: MarkLog) -> None:
        """Everything that can be told when all is at rest."""
        lives = []
        for name in self._names:
            try:
                lives.append(await self._life(name))
            except (GuestSilent, AssertionError) as error:
                self.wrong.append(f"{name} does not answer: {str(error)[:300]}")
        self.wrong += checkers.guests(lives)
        self.wrong += checkers.hands(self._hands)
        self.wrong += checkers.twins(self._looks)

        async def leaks() -> str:
            await asyncio.sleep(2.0)
            return "; ".join(checkers.leaks(before, samples.stock(self._lab)))

        if wrong := await eventually(leaks, 30.0):
            self.wrong.append(wrong)
        self.wrong += checkers.growth(self._courses.all())
        self.wrong += self._logs(marks)

    async def _life(self, name: str) -> Life:
        guest = Guest(self._lab, f"{NAMESPACE}/{name}")
        await guest.wait_booted(BOOT_LIMIT_S)
        ledger = await guest.ledger()
        lease = await self._client.get(scheme.VML, name, NAMESPACE)
        return Life(
            name, ledger.boots, ledger.duplicates, ledger.missing, ledger.boot, vmls.epoch(lease)
        )

    def _logs(self, marks: MarkLog) -> list[str]:
        """Refused image locks, safety marks, and tracebacks of our processes."""
        marks.read()
        wrong = [f"mark {m.name}: {m.fields}" for m in marks.seen if m.name.startswith("safety.")]
        for log in (self._lab.home.path / "nodes").glob("*/state/log/*/qemu.log"):
            said = log.read_text(errors="replace")
            if LOCK_REFUSED.search(said):
                wrong.append(f"an image lock was refused to {log.parent.name}: {said[-200:]}")
        for log in sorted(self._lab.home.logs.glob("*.log")):
            said = log.read_text(errors="replace")
            if found := _CRASH.search(said):
                wrong.append(f"{log.name}: {said[found.start() : found.start() + 1500]}")
        return wrong

    def _report(self, actors: Actors, disk_mib: float) -> None:
        for words, found in (("acts", actors.done), ("refused", actors.refused)):
            print(f"{words}: {', '.join(f'{k} {v}' for k, v in sorted(found.items()))}")
        print(f"{len(self._hands)} changes of leases seen; disk grew by {disk_mib:.0f} MiB")
        for course in self._courses.all():
            if course.life_s >= checkers.LEAST_LIFE_S:
                print(
                    f"  {course.name:<42} {course.mib[0]:6.1f} MiB, {course.mib[-1]:6.1f} at the end, "
                    f"{checkers.late_slope(course):+.2f} a minute in the later half of {course.life_s:.0f} s"
                )
