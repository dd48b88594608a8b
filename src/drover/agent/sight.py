"""What an agent sees of its group's fencing: the times that are wanted, the roster, the open inquests. Reads only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from drover.agent.watchdog import NONE, Watchdog
from drover.api import names, scheme
from drover.api.fencing import Timing
from drover.api.kinds import nodefence, nodegroup
from drover.api.kinds.nodefence import Roster
from drover.api.kinds.nodegroup import FencingMode
from drover.api.status import ApiError, NotFound, Unanswered
from drover.runtime.client import Client
from drover.runtime.informer import Informer

NO_ROSTER = Roster(0, ())


@dataclass(frozen=True)
class Sight:
    """Of one node."""

    group: str  # the NodeGroup's name; empty: none
    node: str
    groups: Informer
    nodes: Informer
    fences: Informer
    rosters: Informer
    configs: Informer  # ModuleConfigs: the cluster's switch
    client: Client

    def on_change(self, tell: Callable[[], None]) -> None:
        for informer in (self.groups, self.nodes, self.fences, self.rosters, self.configs):
            informer.add_handler(lambda _old, _new: tell())

    async def wait_synced(self) -> None:
        """The Node may be absent for long: nobody waits for it."""
        for informer in (self.groups, self.fences, self.rosters, self.configs):
            await informer.wait_synced()

    def wanted(self, watchdog: Watchdog) -> Timing | None:
        """The times to live by; None: not fenced, paused, or not to be had here."""
        timing = self._asked_for(watchdog)
        return None if timing is None or timing.problems() else timing

    def unfit(self, watchdog: Watchdog) -> str:
        """Why the times that the NodeGroup asks for are not to be had with this watchdog; empty: they are, or none."""
        timing = self._asked_for(watchdog)
        return "; ".join(timing.problems()) if timing is not None else ""

    def _asked_for(self, watchdog: Watchdog) -> Timing | None:
        group = self.groups.get(self.group) if self.group else None
        if group is None or watchdog.kind == NONE:
            return None
        if nodegroup.mode(group) is not FencingMode.WATCHDOG:
            return None
        switches = (group, self.nodes.get(self.node), self.configs.get(names.MODULE_CONFIG))
        if any(obj is not None and nodegroup.paused_by(obj) for obj in switches):
            return None
        try:
            return nodegroup.timing(group, watchdog.kick_s)
        except ValueError:
            return None  # the fencing controller says so on the group

    def roster(self) -> Roster:
        obj = self.rosters.get(self.group) if self.group else None
        return NO_ROSTER if obj is None else nodefence.roster(obj)

    async def knows_roster(self, limit_s: float) -> bool:
        """Read it anew. Nobody waits for a node that is not armed before the roster changes again: should it die right
        after its first armed renewal, that has to name a roster which the controller still knows."""
        client = self.client.within(limit_s)
        try:
            self.rosters.observe(await client.get(scheme.NODEROSTER, self.group))
        except NotFound:
            return True
        except (ApiError, Unanswered):
            return False
        return True

    def inquests(self) -> dict[str, str]:
        """The open ones about other nodes, by node."""
        return {
            nodefence.node(fence): nodefence.inquest(fence)
            for fence in self.fences.all()
            if nodefence.inquest(fence) and nodefence.node(fence) != self.node
        }
