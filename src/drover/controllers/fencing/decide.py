"""From the first suspicion to the return of a node: ``decide(view) -> intents``. Pure.

    Healthy --no renewal--> Suspect --all of the proof but K--> Condemned --K--> Fenced --> Released --> Rejoined
       ^----- a renewal --------'          (from here on only a new life comes back)

The proof (tests/proof, docs/safety.md), for the life that the Lease names:

- C1. Its newest renewal has been seen unchanged for k (A + x), on this process's clock.
- C2. q peers of the roster promised this very inquest in a renewal, and with it say that their last voucher is, by
  now, older than k (H + x). Before a change of the roster has settled, q in the former one too.
- C3. The compare-and-swap on that very version succeeds: no renewal was committed since. Only then, and K later, is it
  Fenced. So a node is condemned when its VMs are dead already, never in order to kill them.

What is armed is the node's own word, committed with the renewal that stands still; one that said nothing is never
fenced by time. Brakes come before the deed, and each says why nothing is done. A person who has confirmed that a node
is off (``evidence``) is asked for nothing more, and held by no brake: such a person is their way out.
"""

from __future__ import annotations

from drover.api import fencing
from drover.api.kinds import node as nodes
from drover.api.kinds import nodefence
from drover.api.kinds.nodefence import FenceEvidence, FencePhase, FenceReason, Roster
from drover.api.kinds.nodegroup import FencingMode
from drover.api.wire import Object
from drover.controllers.fencing.evidence import Evidence, Missing, confirmed, unconfirmed
from drover.controllers.fencing.intents import (
    Advance,
    Condemn,
    Cordon,
    Decision,
    Drop,
    Intent,
    KeepRoster,
    OpenInquest,
    Record,
    Release,
    Restore,
    Suspect,
    Tell,
    Welcome,
)
from drover.controllers.fencing.roster import wanted_roster
from drover.controllers.fencing.view import GroupView, NodeView

HEALTHY_S = 10.0  # a node that came back is Ready for so long before it takes VMs
KEEP_FENCES = 5  # closed ones, per node


def decide(view: GroupView) -> Decision:
    brake, storm = _group_brake(view)
    intents: list[Intent] = []
    if view.mode is not None and not view.problems:
        roster = wanted_roster(view)
        if roster is not None and roster != view.roster:
            intents.append(KeepRoster(roster))
    for node in view.nodes:
        intents += _node(view, node, brake)
    intents += _closed(view)
    intents += _restarts(view)
    if brake is None:
        return Decision(tuple(intents), True, FenceReason.WATCHING, "")
    active = brake[0] in (FenceReason.TOO_MANY_UNHEALTHY, FenceReason.STORM_COOL_DOWN)
    return Decision(tuple(intents), active, *brake, storm)


def most_unhealthy(view: GroupView) -> int:
    """Fewer than half unless the group says otherwise, at least one."""
    return fencing.most_unhealthy(view.max_unhealthy, len(view.nodes))


def _lost(node: NodeView) -> bool:
    """Silent, and not dealt with yet."""
    if node.seen is None or node.phase in (FencePhase.RELEASED, FencePhase.REJOINED):
        return False
    return node.still_s >= node.suspect_s


def _due(node: NodeView) -> bool:
    """Its VMs are dead by time alone."""
    armed = node.armed
    return armed is not None and node.still_s >= armed.dead_s()


def _group_brake(view: GroupView) -> tuple[Missing | None, bool]:
    """The reason why no node of the group is condemned now; and whether this is a storm: too many are silent, and one
    of them would be condemned else. A short silence of all is none: the API stalled, or this process did."""
    lost = [node for node in view.nodes if _lost(node)]
    most = most_unhealthy(view)
    if view.mode is None:
        return (FenceReason.OFF, "spec.fencing is not set"), False
    if view.problems:
        return (FenceReason.UNSAFE_TIMES, "; ".join(view.problems)), False
    if view.mode is FencingMode.NOTIFY:
        return (FenceReason.NOTIFY, "lost nodes are only told: nothing proves that they die"), False
    if view.paused:
        return (FenceReason.PAUSED, view.paused), False
    if len(lost) > most:
        said = f"{len(lost)} nodes are silent at once, at most {most} may be lost"
        return (FenceReason.TOO_MANY_UNHEALTHY, said), any(map(_due, lost))
    if view.storm_s > 0:
        return (FenceReason.STORM_COOL_DOWN, "too many nodes were silent a moment ago"), False
    return None, False


def _node(view: GroupView, node: NodeView, brake: Missing | None) -> list[Intent]:
    seen, fence = node.seen, node.fence
    if seen is None or node.proved_dead:
        return _after_proof(node)
    silent = node.still_s >= node.suspect_s
    off = (view.mode is None or bool(view.problems)) and not confirmed(node)
    suspected = seen.condemned or (silent and not off)
    if fence is None:
        return [Suspect(node)] if suspected else []
    if not suspected:
        return [Drop(fence)]  # it renewed, or nobody asks any more
    inquest = view.inquest(node, fence)
    if nodefence.inquest(fence) != inquest:
        return [OpenInquest(fence, inquest)]
    if seen.condemned:
        return [*_cordon(node), _condemned(view, node, fence)]
    stop = None if confirmed(node) else _brake_of(node) or brake
    stop = stop or _proof(view, node, 0.0)[1]
    return [Condemn(node)] if stop is None else [Tell(fence, *stop)]


def _cordon(node: NodeView) -> list[Intent]:
    there = node.node
    return [] if there is None or nodes.cordoned(there) else [Cordon(there)]


def _condemned(view: GroupView, node: NodeView, fence: Object) -> Intent:
    if node.phase is FencePhase.SUSPECT:
        return Advance(fence, FencePhase.CONDEMNED)
    evidence, missing = _proof(view, node, node.late_s(view.timing))
    return Advance(fence, FencePhase.FENCED, evidence) if missing is None else Tell(fence, *missing)


def _proof(
    view: GroupView, node: NodeView, extra_s: float
) -> tuple[FenceEvidence | None, Missing | None]:
    """The kind of evidence of which nothing is missing; else what is missing of what comes by itself."""
    kinds: dict[FenceEvidence, Evidence] = {
        FenceEvidence.CONFIRMED: unconfirmed,
        FenceEvidence.WATCHDOG_TIME: unproved,
    }
    tried = {kind: evidence(view, node, extra_s) for kind, evidence in kinds.items()}
    enough = [kind for kind, missing in tried.items() if missing is None]
    return (enough[0], None) if enough else (None, tried[FenceEvidence.WATCHDOG_TIME])


def _brake_of(node: NodeView) -> Missing | None:
    if node.paused:
        return FenceReason.PAUSED, f"the Node carries the annotation {node.paused}"
    if node.armed is None:
        return (
            FenceReason.NOT_ARMED,
            "its last renewal did not say that a watchdog holds its VMs to a deadline",
        )
    return None


def unproved(view: GroupView, node: NodeView, extra_s: float) -> Missing | None:
    """What of the proof is missing for this node; None: nothing. ``extra_s`` is K, or 0 before the compare-and-swap."""
    armed = node.armed
    if armed is None:
        return (
            FenceReason.NOT_ARMED,
            "its last renewal did not say that a watchdog holds its VMs to a deadline",
        )
    left_s = armed.dead_s() + extra_s - node.still_s
    if left_s > 0:
        return FenceReason.WAITING, f"its VMs may live for {left_s:.1f} s more"
    if view.roster is None:
        return FenceReason.NO_ROSTER, "it is not settled yet whose word counts"
    if not _goes_by(view.roster, node):
        return (
            FenceReason.ROSTER_UNKNOWN,
            "its last renewal named a roster of long ago: others may vouch for it",
        )
    rosters = [view.roster.names]
    if not view.settled:
        rosters.append(view.roster.former)
    for members in rosters:
        needed = fencing.clean_needed(len(members))
        clean = [peer for peer in members if _clean(view, node, peer, armed.window_s() + extra_s)]
        if len(clean) < needed:
            return (
                FenceReason.PEERS_NEEDED,
                f"{len(clean)} of {needed} peers have promised not to vouch for it, long enough ago; a roster of "
                f"{len(members)} needs that many, so that no hold round can keep it alive",
            )
    return None


def _goes_by(roster: Roster, node: NodeView) -> bool:
    """Whether it holds by this roster, or by the one before while that counts still (before the first is none). A node
    that was not armed while the roster changed was not waited for, and its cache may be behind."""
    assert node.seen is not None
    assert node.seen.evidence is not None
    before = bool(roster.previous) or roster.generation == 1
    return node.seen.evidence.roster in (roster.generation, roster.generation - before)


def _clean(view: GroupView, node: NodeView, peer_name: str, window_s: float) -> bool:
    """This peer's renewal carries the promise, and its last voucher for the node is too old to count (C2)."""
    peer = view.node(peer_name)
    if peer is None or peer.seen is None or peer.name == node.name:
        return False
    said = peer.seen.evidence
    if said is None or node.fence is None:
        return False
    if (said.promises or {}).get(node.name) != view.inquest(node, node.fence):
        return False
    return said.voucher_age_s(node.name) + peer.still_s >= window_s


def _after_proof(node: NodeView) -> list[Intent]:
    """Its life is proved dead; it stands in its Lease still."""
    fence = node.fence
    if fence is None or node.phase is not FencePhase.FENCED:
        return []
    return [Release(node)]


def _closed(view: GroupView) -> list[Intent]:
    """Fences of earlier lives: a new one stands in the Lease, and it joined only because the former is dead."""
    intents: list[Intent] = []
    for node in view.nodes:
        done = [f for f in node.former if nodefence.phase(f) is FencePhase.REJOINED]
        for fence in node.former:
            match nodefence.phase(fence):
                case FencePhase.SUSPECT:
                    intents.append(Drop(fence))
                case FencePhase.CONDEMNED:
                    intents.append(Advance(fence, FencePhase.FENCED, FenceEvidence.NEW_LIFE))
                case FencePhase.FENCED:
                    intents.append(Advance(fence, FencePhase.RELEASED))
                case FencePhase.RELEASED if node.ready_s is not None and node.ready_s >= HEALTHY_S:
                    intents.append(Restore(node, fence))
        if _is_back(node):
            assert node.node is not None
            intents.append(Welcome(node.node))
        old = [f for f in done[:-KEEP_FENCES] if not view.holds_any(nodefence.incarnation(f))]
        intents += [Drop(fence) for fence in old]
    return intents


def _is_back(node: NodeView) -> bool:
    """Healthy, and no fence of it is open, whose end would see to it: somebody removed its Node since, and its agent
    registered it again as one that comes back."""
    there, fences = node.node, [*node.former, *([node.fence] if node.fence is not None else [])]
    if there is None or not nodes.rejoining(there) or node.ready_s is None:
        return False
    return node.ready_s >= HEALTHY_S and all(
        nodefence.phase(fence) is FencePhase.REJOINED for fence in fences
    )


def _restarts(view: GroupView) -> list[Intent]:
    """VMs of fenced lives that have a new holder by now."""
    intents: list[Intent] = []
    for node in view.nodes:
        for fence in (node.fence, *node.former):
            if fence is None or not nodefence.proves_dead(fence):
                continue
            before = nodefence.lost_vms(fence)
            now = tuple(_restarted(view, fence, vm) for vm in before)
            if list(now) != before:
                intents.append(Record(fence, now))
    return intents


def _restarted(view: GroupView, fence: Object, vm: dict[str, str]) -> dict[str, str]:
    holder = view.holders.get(f"{vm['namespace']}/{vm['name']}")
    if "node" in vm or holder is None or holder.life == nodefence.incarnation(fence):
        return vm
    return {**vm, "node": holder.node}
