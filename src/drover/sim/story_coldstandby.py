"""The story ``coldstandby``: a fenced group whose nodes are lost in every way, while a few VMs are moved.

Clocks run at different rates, within the bound that the proof allows. The writer ledger is the judge: nothing ever runs
twice, whatever is lost (``losses``). Then everything is mended and must come to rest; and at last, in calm weather, one
node loses power for good: its VMs must run again on the others ``AFTER_PROOF_S`` after the proof at the latest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.api import conditions as cond
from drover.api import fencing, names
from drover.api.fencing import Armed
from drover.api.kinds import nodefence
from drover.api.kinds.node import evidence
from drover.api.kinds.nodefence import FenceReason
from drover.api.kinds.nodegroup import NodeGroupCondition
from drover.api.profiles import profile
from drover.api.scheme import LEASE, NODEGROUP, NODEROSTER
from drover.sim.faults import Faults
from drover.sim.losses import Losses
from drover.sim.stories import EvictStory, Pace
from drover.sim.world import GROUP, Shape

if TYPE_CHECKING:
    from drover.api.fencing import Timing
    from drover.api.wire import Object
    from drover.base.tasks import TaskScope
    from drover.sim.checkers.judge import Judge
    from drover.sim.scenario import Scenario
    from drover.sim.stories import Bad

# After the proof the Pod is made, and the guest started; all clocks may run slow.
AFTER_PROOF_S = 11.0
ARMED_S = 120.0  # a roster that had changed settles; a storm cools down
FOR_GOOD = 0.5  # chance that a node is lost at last


class ColdStandbyStory(EvictStory):
    """One run."""

    def _shape(self) -> Shape:
        return Shape(
            nodes=self._plan.nodes, fenced=self._plan.fencing, rate_error=0.98 * fencing.RATE_ERROR
        )

    def _people(self, scenario: Scenario, users: TaskScope, vms: list[str], pace: Pace) -> None:
        slower = Pace((pace.think_s[0] * 8, pace.think_s[1] * 4), pace.fault_means_s, pace.work_s)
        super()._people(scenario, users, vms, slower)

    def _weather(self, scenario: Scenario, pace: Pace) -> Bad:
        return Losses(scenario, self._plan.fencing)

    async def _afterwards(self, scenario: Scenario, judge: Judge) -> None:
        world = scenario.world
        await scenario.until(lambda: not world.settling, "a restore is settled", ARMED_S)
        if len(world.nodes) < 2 or not self._dice.happens(FOR_GOOD):
            return
        timing = profile(self._plan.fencing).timing()
        await scenario.until(
            lambda: _ready_for_a_loss(scenario, timing), "every node is armed", ARMED_S
        )
        node = self._dice.pick(list(world.nodes))
        world.note(f"{node} is lost for good")
        faults = Faults(world)
        faults.off[node] = None
        world.power_off(node)
        await judge.rest(timing.fence_s + AFTER_PROOF_S)


def _ready_for_a_loss(scenario: Scenario, timing: Timing) -> bool:
    """Every node lives by these times, since one that has not heard of them yet dies by those that it promised; and no
    brake holds."""
    world = scenario.world
    obj = world.find(NODEROSTER, GROUP)
    roster = nodefence.roster(obj) if obj is not None else None
    if roster is None or roster.previous or len(roster.members) < len(world.nodes):
        return False
    active = cond.get_condition(
        world.find(NODEGROUP, GROUP, "") or {}, NodeGroupCondition.FENCING_ACTIVE
    )
    if (active or {}).get("reason") != FenceReason.WATCHING:
        return False  # a storm cools down
    survivals = [node.agent.survival if node.agent else None for node in world.nodes.values()]
    if not all(survival is not None and survival.armed for survival in survivals):
        return False
    return all(
        _lives_by(world.find(LEASE, n, names.NODE_LEASE_NAMESPACE), timing) for n in world.nodes
    )


def _lives_by(lease: Object | None, timing: Timing) -> bool:
    """As its newest renewal promises."""
    said = evidence(lease) if lease is not None else None
    armed = said.armed if said is not None else None
    return armed is not None and armed == Armed.of(timing, armed.watchdog)
