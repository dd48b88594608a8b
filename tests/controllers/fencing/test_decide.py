"""What is done about a silent node: every piece of the proof is needed, and every brake says why it holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from drover.api.fencing import Armed, Evidence, Timing
from drover.api.kinds.nodefence import Member, Roster
from drover.api.kinds.nodegroup import FencingMode
from drover.api.profiles import PROFILES
from drover.controllers.fencing import saved
from drover.controllers.fencing.decide import decide, unproved
from drover.controllers.fencing.intents import (
    Advance,
    Condemn,
    Cordon,
    Drop,
    KeepRoster,
    OpenInquest,
    Record,
    Release,
    Suspect,
    Tell,
)
from drover.controllers.fencing.renewal import Seen
from drover.controllers.fencing.roster import GATHER_S, wanted_roster
from drover.controllers.fencing.sight import STORM_S, Storm
from drover.controllers.fencing.view import GroupView, Holder, NodeView

TIMING = Timing(timeout_s=6)
ARMED = Armed.of(TIMING, "deadline")
ROSTER = Roster(3, tuple(Member(n, "10.0.0.1", 10260) for n in ("a", "b", "c")))


def a_lease(life: str, condemned: bool = False) -> dict[str, Any]:
    marks = {"drover.dev/incarnation": life}
    if condemned:
        marks["drover.dev/condemned"] = life
    return {"metadata": {"annotations": marks, "resourceVersion": "7", "uid": "u"}}


def node(name: str, still_s: float = 0.0, armed: Armed | None = ARMED, **more: Any) -> NodeView:
    condemned = more.pop("condemned", False)
    roster = more.pop("roster", 3)
    promises = more.pop("promises", {})
    vouched = more.pop("vouched", {})
    said = Evidence(f"{name}-7", "boot", name, 7, armed, 1e4, vouched, promises, roster)
    life = f"life-{name}"
    lease = a_lease(life, condemned)
    lease["metadata"]["annotations"]["drover.dev/evidence"] = said.dump()
    seen = Seen(lease, life, said, 0.0, 0.0)
    there = {"metadata": {"name": name}, "spec": {"unschedulable": condemned}}
    return NodeView(name, seen, still_s, there, address="10.0.0.1", **more)


def a_fence(
    name: str, phase: str, inquest: str = "", life: str = "", uid: str = "u1"
) -> dict[str, Any]:
    status = {"phase": phase, "inquest": {"id": inquest}}
    spec = {"node": name, "incarnation": life or f"life-{name}"}
    return {"metadata": {"name": f"{name}-1", "uid": uid}, "spec": spec, "status": status}


def group(*nodes: NodeView, **more: Any) -> GroupView:
    view = GroupView("worker", "p1", 0.0, FencingMode.WATCHDOG, TIMING, nodes, roster=ROSTER)
    return replace(view, **{"settled": True, **more})


INQUEST = "p1/life-a/a-7/u1"
PROMISE = {"promises": {"a": INQUEST}}
K_S = TIMING.late_s


def suspected(still_s: float, phase: str = "Suspect", **more: Any) -> NodeView:
    return node("a", still_s, fence=a_fence("a", phase, INQUEST), **more)


def kinds(view: GroupView) -> list[type]:
    return [type(intent) for intent in decide(view).intents]


def test_the_first_suspicion_and_its_end() -> None:
    assert kinds(group(node("a", 4.4), node("b"), node("c"))) == []
    view = group(node("a", 4.6), node("b"), node("c"))
    assert kinds(view) == [Suspect]
    assert view.inquest(view.nodes[0], a_fence("a", "Suspect")) == INQUEST
    assert kinds(group(suspected(0.1), node("b"), node("c"))) == [Drop]


def test_a_suspicion_of_another_process_is_opened_anew() -> None:
    other = node("a", 5, fence=a_fence("a", "Suspect", "p0/life-a/a-7/u1"))
    assert kinds(group(other, node("b", **PROMISE), node("c", **PROMISE))) == [OpenInquest]


def proved(still_s: float, **more: Any) -> GroupView:
    """All of the proof is there, after so long."""
    return group(suspected(still_s, **more), node("b", **PROMISE), node("c", **PROMISE))


def test_it_is_condemned_when_its_vms_are_dead_and_not_a_moment_before() -> None:
    assert kinds(proved(ARMED.dead_s() - 0.01)) == [Tell]
    assert kinds(proved(ARMED.dead_s())) == [Condemn]


def test_it_is_fenced_k_later() -> None:
    condemned = {"phase": "Condemned", "condemned": True}
    assert kinds(proved(ARMED.dead_s() + K_S - 0.01, **condemned)) == [Tell]
    (intent,) = decide(proved(ARMED.dead_s() + K_S, **condemned)).intents
    assert isinstance(intent, Advance)
    assert intent.evidence == "WatchdogTime"
    assert kinds(proved(20, phase="Suspect", condemned=True)) == [Advance]  # the word was lost


HOST = PROFILES["host"].timing()


@pytest.mark.parametrize(("promised", "wanted"), [(HOST, TIMING), (TIMING, HOST)])
def test_k_is_the_longer_of_what_the_node_promised_and_what_its_group_says_by_now(
    promised: Timing, wanted: Timing
) -> None:
    """The profile may change while a node is dying; what its storage lands does not ask."""
    armed = Armed.of(promised, "deadline")
    due_s = armed.dead_s() + HOST.late_s
    more = {"phase": "Condemned", "condemned": True, "armed": armed}
    assert kinds(replace(proved(due_s - 0.01, **more), timing=wanted)) == [Tell]
    assert kinds(replace(proved(due_s, **more), timing=wanted)) == [Advance]


def test_a_node_is_silent_by_its_own_word_whatever_its_group_asks_for_by_now() -> None:
    """After a change to shorter times those that still renew at their leisure are suspected of nothing."""
    fast = PROFILES["fast"].timing()
    hurried, others = Armed.of(fast, "deadline"), (node("b"), node("c"))
    for armed in (ARMED, None):
        assert kinds(group(node("a", 4.4, armed), *others, timing=fast)) == []
    assert kinds(group(node("a", 2.4, hurried), *others)) == []
    assert kinds(group(node("a", 2.6, hurried), *others)) == [Suspect]


def missing(view: GroupView) -> str:
    found = unproved(view, view.nodes[0], 0.0)
    assert found is not None
    assert Condemn not in kinds(view)
    return found[0]


@pytest.mark.parametrize(
    "peer",
    [
        node("c"),  # no promise
        node("c", promises={"a": "p1/life-a/a-6/u1"}),  # of another renewal
        node("c", promises={"a": "p0/life-a/a-7/u1"}),  # of another process
        node(
            "c", promises={"a": "p1/life-a/a-7/u0"}
        ),  # of an object that is gone, and the promise with it
        node("c", vouched={"a": 1.0}, **PROMISE),  # a voucher that may still count
    ],
)
def test_every_peer_that_is_needed_must_be_clean(peer: NodeView) -> None:
    assert missing(group(suspected(100), node("b", **PROMISE), peer)) == "PeersNeeded"


def test_a_voucher_ages_while_its_renewal_stands() -> None:
    old = node("c", still_s=ARMED.window_s() - 1.0, vouched={"a": 1.0}, **PROMISE)
    assert unproved(group(suspected(100), node("b", **PROMISE), old), suspected(100), 0.0) is None


def test_before_a_change_has_settled_both_rosters_count() -> None:
    former = (*ROSTER.members, Member("d", "10.0.0.1", 1), Member("e", "10.0.0.1", 1))
    roster = replace(ROSTER, previous=former)
    nodes = (suspected(100), node("b", **PROMISE), node("c", **PROMISE))
    assert missing(group(*nodes, roster=roster, settled=False)) == "PeersNeeded"
    assert unproved(group(*nodes, roster=roster), nodes[0], 0.0) is None


def test_a_node_that_may_hold_by_another_roster_is_not_proved_dead() -> None:
    former = ROSTER.members
    for said, previous, known in (
        (3, (), True), (2, former, True), (2, (), False), (0, (), False), (4, (), False),
    ):  # fmt: skip
        view = group(
            suspected(100, roster=said), node("b", **PROMISE), node("c", **PROMISE),
            roster=replace(ROSTER, previous=previous), settled=not previous,
        )  # fmt: skip
        assert (unproved(view, view.nodes[0], 0.0) is None) == known
        assert known or missing(view) == "RosterUnknown"


def test_who_is_not_armed_or_has_no_roster_is_never_fenced() -> None:
    assert (
        missing(group(suspected(1e6, armed=None), node("b", **PROMISE), node("c", **PROMISE)))
        == "NotArmed"
    )
    assert missing(replace(proved(1e6), roster=None)) == "NoRoster"
    alone = replace(ROSTER, members=ROSTER.members[:1])
    assert missing(group(suspected(1e6), roster=alone)) == "PeersNeeded"


@pytest.mark.parametrize(
    ("brake", "reason"),
    [
        ({"mode": FencingMode.NOTIFY}, "Notify"),
        ({"paused": "x/pause"}, "Paused"),
        ({"storm_s": 5.0}, "StormCoolDown"),
    ],
)
def test_a_brake_stops_the_deed_and_says_so(brake: dict[str, Any], reason: str) -> None:
    decision = decide(replace(proved(100), **brake))
    assert decision.reason == reason
    (told,) = decision.intents
    assert isinstance(told, Tell)
    assert told.reason == reason


def test_too_many_at_once() -> None:
    both = (suspected(100), node("b", 100, fence=a_fence("b", "Suspect", "p1/life-b/b-7/u1")))
    decision = decide(group(*both, node("c", **PROMISE)))
    assert decision.storm
    assert {type(intent) for intent in decision.intents} == {Tell}
    assert decide(group(*both, node("c"), max_unhealthy=2)).storm is False


def test_a_silence_in_which_nobody_is_due_is_no_storm() -> None:
    both = (suspected(5), node("b", 5, fence=a_fence("b", "Suspect", "p1/life-b/b-7")))
    decision = decide(group(*both, node("c", **PROMISE)))
    assert (decision.reason, decision.storm) == ("TooManyUnhealthy", False)


def test_the_cool_down_is_as_long_as_the_storm() -> None:
    assert Storm(100, 101).left_s(101, least_s=4.5) == 4.5
    assert Storm(100, 112).left_s(120, least_s=4.5) == 4
    assert Storm(100, 900).left_s(901, least_s=4.5) == STORM_S - 1


def confirmed_off(still_s: float, **more: Any) -> NodeView:
    made = suspected(still_s, **more)
    assert made.seen is not None
    made.seen.lease["metadata"]["annotations"]["drover.dev/confirmed-off"] = "life-a/a-7"
    return made


def test_the_timeline_tells_where_vms_were_started_again() -> None:
    fence = a_fence("a", "Released", INQUEST)
    lost = [{"namespace": "x", "name": "one"}, {"namespace": "x", "name": "two"}]
    fence["status"]["virtualMachines"] = lost
    holders = {"x/one": Holder("b", "life-b"), "x/two": Holder("a", "life-a")}
    view = group(node("a", 100, fence=fence), node("b"), holders=holders)
    (intent,) = [i for i in decide(view).intents if isinstance(i, Record)]
    assert intent.vms == ({**lost[0], "node": "b"}, lost[1])
    fence["status"]["virtualMachines"] = list(intent.vms)
    assert Record not in kinds(view)


def test_a_condemned_node_is_cordoned_whoever_forgot_it() -> None:
    condemned = suspected(100, phase="Condemned", condemned=True)
    assert condemned.node is not None
    condemned.node["spec"]["unschedulable"] = False
    assert kinds(group(condemned, node("b"), node("c"))) == [Cordon, Tell]


@pytest.mark.parametrize(
    "hindrance",
    [{}, {"mode": None}, {"mode": FencingMode.NOTIFY}, {"paused": "x"}, {"storm_s": 9.0}],
    ids=str,
)
def test_a_persons_word_needs_no_other_proof_and_no_brake_holds_it(hindrance: Any) -> None:
    view = group(confirmed_off(5, armed=None), node("b", 100), node("c", 100))
    assert kinds(replace(view, **hindrance))[0] is Condemn
    condemned = confirmed_off(8, phase="Condemned", condemned=True)
    (intent,) = decide(replace(group(condemned, node("b")), **hindrance)).intents
    assert isinstance(intent, Advance)
    assert intent.evidence == "Confirmed"
    assert kinds(group(replace(confirmed_off(5), fence=None), node("b"))) == [Suspect]


def test_a_persons_word_about_a_node_that_renews_is_void() -> None:
    assert kinds(group(replace(confirmed_off(3), fence=None), node("b"))) == []
    assert kinds(group(confirmed_off(3), node("b"), node("c"))) == [Drop]
    early = confirmed_off(6, phase="Condemned", condemned=True)
    assert kinds(group(early, node("b"))) == [Tell]  # what it had sent to its disks may land
    later = confirmed_off(100)
    assert later.seen is not None
    later.seen.lease["metadata"]["annotations"]["drover.dev/confirmed-off"] = "life-a/a-6"
    assert kinds(group(later, node("b"), node("c"))) == [Tell]


def test_a_paused_node_alone() -> None:
    decision = decide(proved(100, paused="x/pause"))
    (told,) = decision.intents
    assert isinstance(told, Tell)
    assert told.reason == "Paused"


def test_when_fencing_goes_off_suspicions_go_and_what_was_condemned_is_ended() -> None:
    assert kinds(replace(proved(100), mode=None)) == [Drop]
    condemned = proved(100, phase="Condemned", condemned=True)
    assert kinds(replace(condemned, mode=None)) == [Advance]
    assert kinds(replace(proved(100, phase="Fenced", condemned=True), mode=None)) == [Release]


def test_a_new_life_closes_the_fence_of_the_former() -> None:
    former = (a_fence("a", "Condemned", life="life-0"),)
    (intent,) = decide(group(node("a", former=former), node("b"), node("c"))).intents
    assert isinstance(intent, Advance)
    assert intent.evidence == "NewLife"
    gone = (a_fence("a", "Suspect", life="life-0"),)
    assert kinds(group(node("a", former=gone), node("b"), node("c"))) == [Drop]


def test_only_the_proved_dead_leave_the_roster_and_one_change_settles_before_the_next() -> None:
    silent = group(suspected(100), node("b"), node("c"))
    assert wanted_roster(silent) == ROSTER
    dead = group(node("a", 100, fence=a_fence("a", "Released", INQUEST)), node("b"), node("c"))
    wanted = wanted_roster(dead)
    assert wanted is not None
    assert (wanted.names, wanted.former, wanted.generation) == (("b", "c"), ("a", "b", "c"), 4)
    under_way = replace(dead, roster=wanted, settled=False)
    assert wanted_roster(under_way) == wanted
    assert wanted_roster(replace(under_way, settled=True)) == replace(wanted, previous=())
    assert wanted_roster(replace(dead, settled=False)) == ROSTER  # the first one settles too
    many = group(*(node(f"n{i}") for i in range(9)), roster=None)
    assert kinds(many)[0] is KeepRoster
    first = wanted_roster(many)
    assert first is not None
    assert len(first.members) == 7
    assert first.generation == 4  # above every one that a node may still go by


def test_the_first_roster_waits_a_little_for_every_node_of_the_group() -> None:
    some = group(node("a"), node("b", armed=None), node("c"), roster=None)
    assert wanted_roster(some) is None  # one that vouched for itself alone could not be proved dead
    late = wanted_roster(replace(some, gathering_s=GATHER_S))
    assert late is not None
    assert late.names == ("a", "c")
    without_the_silent = wanted_roster(group(node("a"), node("b", 100), node("c"), roster=None))
    assert without_the_silent is not None
    assert without_the_silent.names == ("a", "c")
    assert wanted_roster(group(node("a", armed=None), roster=None, gathering_s=100.0)) is None


def test_a_node_gets_back_what_it_had() -> None:
    taint = {"key": "own", "effect": "NoSchedule"}
    passing = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}
    before = {
        "metadata": {"labels": {"rack": "r1"}},
        "spec": {"unschedulable": True, "taints": [taint, passing]},
    }
    fence = {"status": {"saved": saved.saved_of(before)}}
    back = {
        "metadata": {"labels": {"rack": "r2"}},
        "spec": {"taints": [{"key": "drover.dev/rejoining", "effect": "NoSchedule"}]},
    }
    patch = saved.restored(back, fence)
    assert patch["metadata"]["labels"] == {}  # what was changed since stays
    assert patch["spec"] == {"taints": [taint], "unschedulable": True}
