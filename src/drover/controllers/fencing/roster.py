"""Who may vouch for a group's nodes: one change at a time, and only the proved dead go. Pure.

The first roster waits a little for all nodes of the group: while a node vouches for itself alone, nobody can prove it
dead.
"""

from __future__ import annotations

from drover.api import fencing
from drover.api.kinds.nodefence import Member, Roster
from drover.controllers.fencing.view import GroupView

GATHER_S = 10.0  # the first roster waits so long, since a node was armed, for the others


def wanted_roster(view: GroupView) -> Roster | None:
    """Who may vouch. One change at a time: the next when the last has settled. Only the proved dead go."""
    present = view.roster
    able = _able(view)
    if present is None:
        return Roster(_newest(view) + 1, tuple(able[: fencing.ROSTER_MOST])) if able else None
    if not view.settled:
        return present
    if present.previous:
        return Roster(present.generation, present.members)
    stay = [member for member in present.members if not _gone(view, member.node)]
    known = {member.node for member in stay}
    fresh = [member for member in able if member.node not in known]
    members = _at_home(stay, able) + tuple(fresh[: fencing.ROSTER_MOST - len(stay)])
    if members == present.members:
        return present
    return Roster(present.generation + 1, members, present.members)


def _able(view: GroupView) -> list[Member]:
    """Armed, with an address, and renewing. Before the first roster: none until all are, or some wait no longer."""
    there = [node for node in view.nodes if not _silent(view, node.name)]
    able = [node.member for node in there if node.armed is not None and node.address]
    if view.roster is None and len(able) < len(there) and view.gathering_s < GATHER_S:
        return []
    return able


def _newest(view: GroupView) -> int:
    """Of the rosters that nodes go by. Somebody may have removed the object of it."""
    said = [node.seen.evidence for node in view.nodes if node.seen is not None]
    return max((evidence.roster for evidence in said if evidence is not None), default=0)


def _at_home(stay: list[Member], able: list[Member]) -> tuple[Member, ...]:
    """With the addresses that they have now."""
    now = {member.node: member for member in able}
    return tuple(now.get(member.node, member) for member in stay)


def _silent(view: GroupView, name: str) -> bool:
    node = view.node(name)
    return node is None or node.proved_dead or node.still_s >= node.suspect_s


def _gone(view: GroupView, name: str) -> bool:
    node = view.node(name)
    return node is not None and node.proved_dead
