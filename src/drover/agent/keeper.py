"""One task per copy: look, decide, act, report, wait (the agent's loop in one place).

``Keeper.run`` is the only writer of its copy's process, marks and reports. Whatever wakes it (a Pod, a lease, a vmm, an
event of QEMU, a timer), it looks at the whole state again. Memory that is lost with the agent is only ever a reason to
ask again, never to run: the handle of the process is found anew by ``adopt``, marks are in the journal.
"""

# Long module: the one writer of a copy's process, marks and reports.

from __future__ import annotations

import asyncio
from dataclasses import replace

from drover.agent import acts, decide, handover, launching, steps, telling
from drover.agent.context import AgentContext, Limits
from drover.agent.memory import Memory
from drover.agent.ports import (
    HostError,
    HypervisorError,
    Machine,
    MachineEvent,
    MachineGone,
    MachineSpec,
    MonitorSilent,
    RunState,
)
from drover.agent.view import CopyView, LeaseState, MachineView, Marks, MoveView, PodView, Role
from drover.api import names, scheme, status
from drover.api.kinds import pod as pods
from drover.api.kinds import vmm as vmms
from drover.api.names import LastReason, VmmPhase
from drover.api.wire import Object
from drover.base.backoff import Backoff
from drover.base.tasks import TaskScope

# How often the guest's agent is asked whether it answers.
AGENT_FIRST_S, AGENT_AWAITED_S, AGENT_READY_S = 0.5, 2.0, 20.0
_MAY_HAVE_ENDED = (
    RunState.SHUTDOWN,
    RunState.PANICKED,
    RunState.FINISH_MIGRATE,
    RunState.POSTMIGRATE,
)
_RETRY = Backoff(first_s=0.02, most_s=5.0)


class Keeper:
    """Keeps one copy (a Pod uid) of one VM on this node."""

    def __init__(
        self, context: AgentContext, copy: str, vm: str, machine: Machine | None = None
    ) -> None:
        self.context = context
        self.copy = copy
        self.vm = vm
        self.memory = Memory()
        self.log = context.log.bind(vm=vm, copy=copy[:8])
        self._machine = machine
        self._unsure = False  # a process may live of which we have no hold
        self._begun = False
        if machine is not None:
            self.memory.listener = launching.remembered_listener(self)
            self.memory.hears = self.memory.listener is None
        self.receiver: handover.LookedAhead | None = None
        self._wake = asyncio.Event()
        self._scope = TaskScope(f"keeper-{copy[:8]}")

    def wake(self) -> None:
        """Look again."""
        self._wake.set()

    async def woken(self) -> None:
        """Until something may have changed: for an act that waits for it. The next look comes anyway."""
        self._wake.clear()
        await self._wake.wait()

    @property
    def machine(self) -> Machine | None:
        """The living process, if any."""
        if self._machine is not None and not self._machine.alive:
            self._machine = None
        return self._machine

    def took(self, machine: Machine) -> None:
        """A process was made for this copy."""
        self._machine = machine
        self._follow(machine)

    def lost_sight(self) -> None:
        """A process was asked for and nobody knows whether it lives."""
        self._unsure = True

    async def _found(self) -> bool:
        """Look for such a process; False when nobody can say."""
        try:
            living = await self.context.hypervisor.adopt()
        except MonitorSilent:
            await self.context.clock.sleep(decide.SILENT_POLL_S)
            return False
        self._unsure = False
        for machine in living:
            if machine.copy == self.copy:
                self.took(machine)
        return True

    def _follow(self, machine: Machine) -> None:
        self._scope.spawn(self._listen(machine), "events")
        self._scope.spawn(self._ask_guest(machine), "guest agent")

    @property
    def pod(self) -> Object | None:
        found = self.context.pods.by_index("uid", self.copy)
        return found[0] if found else None

    @property
    def incoming(self) -> bool:
        """A copy that waits for its guest: of a migration, and never let go on here."""
        pod = self.pod
        target = bool(self.context.migrations.by_index("target", self.copy))
        return (
            target or (pod is not None and bool(pods.migration_name(pod)))
        ) and not self._marks().resuming

    @property
    def spec(self) -> MachineSpec | None:
        """From the living process or the Pod."""
        if self._machine is not None:
            return self._machine.spec
        pod = self.pod
        return launching.spec_of(pod) if pod is not None else None

    async def run(self) -> None:
        """Until nothing is left of the copy."""
        if self._machine is not None:
            self._follow(self._machine)
        failures = 0
        async with self._scope:
            while True:
                self._wake.clear()
                try:
                    done = await self._turn()
                except HostError as error:
                    self.troubled(names.HOST_TROUBLE, str(error))
                    done = False
                except (
                    Exception
                ) as bug:  # it must not end the agent, which keeps everybody's VMs alive
                    self.log.bug(bug)
                    done = False
                if self._scope.failure is not None:
                    raise self._scope.failure  # nobody would hear of QEMU's events any more
                if done is None:
                    return
                failures = 0 if done else failures + 1
                if failures:
                    await self._pause(_RETRY.delay_s(failures))

    async def _turn(self) -> bool | None:
        """Look, decide, act. False: to be tried again after a pause; None: nothing is left. Raises HostError."""
        if not self._begun:
            await launching.begin(self)
            self._begun = True
        view = await self.look()
        step = decide.decide(view)
        if not self._urgent(step):
            telling.tell(self, view)
        if isinstance(step, steps.Done):
            await acts.forget(self)
            return None
        if isinstance(step, steps.Wait):
            await self._pause(step.after_s)
            return True
        return await self._acted(step, view)

    def _urgent(self, step: steps.Step) -> bool:
        """The guest stands still until this is done: what there is to tell waits for the next look."""
        arrives = isinstance(step, steps.Resume) and self.incoming
        return isinstance(step, steps.HandOver) or (arrives and self.memory.refused_since is None)

    async def _acted(self, step: steps.Step, view: CopyView) -> bool:
        """Carry out one step; False when it must be tried again after a pause. Raises HostError."""
        try:
            return await acts.act(self, step, view)
        except HostError as error:
            if isinstance(step, steps.Resume | steps.TakeBack):
                self._refused(error)
            raise
        except (HypervisorError, status.ApiError, status.Unanswered) as error:
            if isinstance(step, steps.Resume | steps.TakeBack) and isinstance(
                error, HypervisorError
            ):
                self._refused(error)
            self.log.warn(
                "a step failed and is tried again", step=type(step).__name__, why=str(error)
            )
            return False

    def _refused(self, error: HypervisorError | HostError) -> None:
        """QEMU, or the host, does not let the guest go on."""
        self.memory.message = launching.told(self, error)
        if self.memory.refused_since is None:
            self.memory.refused_since = self.context.clock.monotonic()
            self.warn("GuestNotRunning", self.memory.message)

    def troubled(self, reason: str, message: str) -> None:
        """Tell users once what stands in the way; it is tried again."""
        self.log.warn("a step cannot be taken and is tried again", why=message)
        if message not in self.memory.troubles:
            self.memory.troubles = frozenset((message,))
            self.warn(reason, message)

    def warn(self, reason: str, message: str) -> None:
        """An Event of the Pod."""
        pod = self.pod
        if pod is not None:
            self.context.recorder.event(pod, "Warning", reason, message)

    async def _pause(self, after_s: float | None) -> None:
        try:
            async with asyncio.timeout(after_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _listen(self, machine: Machine) -> None:
        try:
            async for event in machine.events():
                if machine is self._machine:
                    self._take(event)
                if event.name in ("SHUTDOWN", "EXIT", "GUEST_PANICKED", "BLOCK_IO_ERROR"):
                    self.log.info("qemu", event=event.name, data=event.data)
                self.wake()
        finally:
            self.wake()

    def _take(self, event: MachineEvent) -> None:
        """What only an event tells."""
        self.memory.heard(event.name)
        match event.name:
            case "SHUTDOWN":
                self.memory.guest_end = str(event.data.get("reason", ""))
            case "GUEST_PANICKED":  # a copy in progress may complete, and then no state tells of it
                self.memory.guest_end = "guest-panic"
            case "BLOCK_IO_ERROR":
                self.memory.disk_error = str(event.data.get("reason", ""))
            case "STOP" if self.memory.handover_uid:
                self.receiver = handover.look_ahead(self, self._scope)

    async def _ask_guest(self, machine: Machine) -> None:
        """Find out, now and then, whether the guest's agent answers."""
        while machine.alive:
            if not self.memory.running:  # an incoming guest has no state of its own yet
                await self.context.clock.sleep(AGENT_FIRST_S)
                continue
            ready = await machine.guest_agent()
            if ready is not self.memory.agent_ready:
                self.memory.agent_ready = ready
                self.wake()
            await self.context.clock.sleep(AGENT_READY_S if ready else AGENT_AWAITED_S)

    async def look(self) -> CopyView:
        """Gather everything a decision needs. Raises HostError."""
        context, memory = self.context, self.memory
        machine = await self._machine_view()
        now = context.clock.monotonic()
        # After the only await, so that all of what follows is of one moment.
        pod = self.pod
        # A guest that arrives stands still: the epoch goes to disk with the mark that it may run here, in one write.
        lease = context.leases.view(
            context.leases.cached(self.vm), self.copy, note=not self.incoming
        )
        move = self._move(pod)
        if move is not None and move.role is Role.SOURCE and machine is not None:
            limits = self.limits()
            begins = move.phase == VmmPhase.COPYING and self._marks().copying != move.uid
            move = replace(
                move,
                let_for_s=memory.let_for_s(move.uid if begins else "", now),
                overdue=memory.overdue(now, limits, machine, self._machine),
                allow_ms=memory.allow_ms(now, limits, machine),
                stalled_s=memory.stalled_s(now),
            )
        left = None if memory.stop_at is None else memory.stop_at - now
        refused_s = 0.0 if memory.refused_since is None else now - memory.refused_since
        mine = lease.state is LeaseState.MINE
        return CopyView(
            copy=self.copy,
            vm=self.vm,
            lease=lease,
            pod=_pod_view(pod),
            machine=machine,
            marks=self._marks(),
            move=move,
            node_fresh=context.node_lease.fresh,
            stop_left_s=left,
            press_s=memory.press_s(now),
            hears=memory.hears,
            disk_try_s=memory.disk_try_s(now),
            refused_s=refused_s,
            mine_for_s=memory.mine_for_s(mine, now),
            ask_s=memory.ask_s(not mine and decide.stands_copied(machine), now),
        )

    def limits(self) -> Limits:
        """The time limits of the migration that this copy takes part in."""
        vmm = self.vmm()
        return self.context.limits.told(vmms.copy_limits(vmm) if vmm is not None else {})

    async def _machine_view(self) -> MachineView | None:
        if self._unsure and not await self._found():
            return MachineView(RunState.OTHER)
        machine, memory = self.machine, self.memory
        if machine is None:
            return None
        try:
            migration, state = await machine.standing()
        except MachineGone:
            return None
        except MonitorSilent:
            now = self.context.clock.monotonic()
            memory.silent_since = memory.silent_since or now
            silent_s = now - memory.silent_since
            return MachineView(RunState.OTHER, memory.last_migration, memory.guest_end, silent_s)
        memory.silent_since = None
        memory.running = state is RunState.RUNNING
        memory.may_stand = not memory.running
        if memory.running:
            memory.refused_since = None
            memory.disk_error = ""
        elif state in _MAY_HAVE_ENDED and not memory.guest_end:
            # The event may have come while nobody listened, or not be heard yet; the note is older than the state.
            memory.guest_end = machine.guest_end()
        memory.last_migration = migration
        return MachineView(state, migration, memory.guest_end)

    def _marks(self) -> Marks:
        journal = self.context.journal
        return Marks(
            started=journal.get(self.copy, "started") is not None,
            listening=journal.get(self.copy, launching.LISTENING) is not None,
            resuming=journal.get(self.copy, "resuming") is not None,
            ended=journal.get(self.copy, "ended") or "",
            copying=journal.get(self.copy, "copying") or "",
        )

    def vmm(self) -> Object | None:
        """The migration this copy takes part in: as target by its Pod, else the newest that is not final."""
        pod = self.pod
        as_target = self.context.migrations.by_index("target", self.copy)
        if as_target and not self._marks().resuming:
            return as_target[-1]
        if pod is not None and pods.migration_name(pod) and not self._marks().resuming:
            namespace, _ = scheme.split_key(self.vm)
            return self.context.migrations.get(f"{namespace}/{pods.migration_name(pod)}")
        mine = self.context.migrations.by_index("source", self.copy)
        copying = self.context.journal.get(self.copy, "copying")
        sent = [m for m in mine if m["metadata"]["uid"] == copying]
        # What is being copied comes first: two migrations of one VM must not take each other's place.
        alive = [m for m in sent if not vmms.final(m)] or [m for m in mine if not vmms.final(m)]
        alive = alive or sent
        return alive[-1] if alive else (as_target[-1] if as_target else None)

    def _move(self, pod: Object | None) -> MoveView | None:
        vmm = self.vmm()
        if vmm is None:
            return None
        source = vmms.source_pod_uid(vmm)
        return MoveView(
            uid=str(vmm["metadata"]["uid"]),
            role=Role.SOURCE if source == self.copy else Role.TARGET,
            phase=vmms.phase(vmm),
            aborting="deletionTimestamp" in vmm["metadata"],
            final=vmms.final(vmm),
            source_copy=source,
            target_copy=vmms.target_pod_uid(vmm),
            source_phase=self._source_phase(vmm),
            target_phase=str(vmms.target_report(vmm).get("phase", "")),
            guest_ended=vmms.target_report(vmm).get("reason") == LastReason.RESET_DURING_MIGRATION,
            handover=self.memory.handover_of(str(vmm["metadata"]["uid"])),
        )

    def _source_phase(self, vmm: Object) -> str:
        """As reported, and already when the report that it failed is still on its way."""
        if vmm["metadata"]["uid"] == self.memory.gave_up:
            return "Failed"
        return str(vmms.source_report(vmm).get("phase", ""))


def _pod_view(pod: Object | None) -> PodView | None:
    if pod is None:
        return None
    return PodView(
        name=pod["metadata"]["name"],
        deleting=pods.deleting(pod),
        final=pods.ended(pod),
        running=pods.phase(pod) is pods.PodPhase.RUNNING,
        stop=str((pod["metadata"].get("annotations") or {}).get(names.STOP_ANNOTATION, "")),
        migration=pods.migration_name(pod),
    )
