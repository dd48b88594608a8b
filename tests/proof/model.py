"""The fencing rule as small machines, each of *ages* only: how long ago something happened, never when.

So the number of states is finite and a search over all of them needs no horizon. One unit of time is a *tick*; between
two ticks any number of steps may happen, in any order, and the adversary chooses which: when requests leave, are
committed, acknowledged or lost; when peers answer and when the answer arrives; when an agent stands still (time passes
and it does nothing); when a peer's agent restarts; when the controller begins to look.

    victim       the node whose VMs must be dead when it is declared Fenced
    peer         each other member of the roster, seen in relation to the victim alone
    controller   how long it has seen the victim's current version; its inquest, kept in the peers' ``pledge``

The rule that is searched (docs/timing.md has its times, docs/safety.md its words):

    F = A + x   a version must have stood still for so long before its epoch is raised by compare-and-swap
    W = H + x   a voucher for the victim must be older than this, for each of q peers that promised to give none
    V           vouchers that make a hold round; V + q > number of peers, so the two sets share one
    x           0 with a watchdog that is told a deadline, 2 T with one that is fed and fires after T

Left out because they only add to the times: the rate of clocks, the time to kill, writes still under way.
``Rule.mutant`` names a clause that is taken out; the search must then find a double run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

NOT_ASKED, OPEN, PROMISED, WAITING = -1, 0, 1, 10  # ``Peer.pledge``; WAITING + ticks still to wait
NO_MAIL, ASKED, VOUCHING, VOUCHED = 0, 1, 2, 3  # ``Peer.mail``
ABSENT = -1  # no renewal, no round


@dataclass(frozen=True)
class Rule:
    """One configuration. ``peers`` are all members of the roster but the victim; ``holds`` False: the base rule."""

    peers: int
    age: int  # A
    hold: int = 0  # H
    kick: int = 0  # T; 0: the watchdog is told a deadline
    holds: bool = True
    outside: bool = False  # the victim is no member of the roster
    short_f: int = 0  # ticks taken from F
    short_w: int = 0  # ticks taken from W
    mutant: str = ""

    @property
    def x(self) -> int:
        return 2 * self.kick

    @property
    def f(self) -> int:
        return self.age + self.x - self.short_f

    @property
    def w(self) -> int:
        return self.hold + self.x - self.short_w

    @property
    def roster(self) -> int:
        return self.peers if self.outside else self.peers + 1

    @property
    def vouchers(self) -> int:
        most = self.roster // 2 + (1 if self.outside else 0)
        return most - (1 if self.mutant == "one voucher fewer" else 0)

    @property
    def clean(self) -> int:
        """q: peers that must be clean."""
        if not self.holds or self.mutant == "no peer evidence":
            return 0
        most = self.roster - self.roster // 2
        return most - (1 if self.mutant == "one clean peer fewer" else 0)

    @property
    def old(self) -> int:
        """An age that counts as long ago: it satisfies W, and no older one differs."""
        return max(self.w, self.hold + self.x)


class Victim(NamedTuple):
    """``renewal``: age of the instant before it was sent; ``landed``: committed, the answer on its way."""

    left: int  # deadline - now
    fuse: int  # ticks until a fed watchdog fires
    checked: bool  # now <= deadline was checked; the kick may follow at any time
    renewal: int
    landed: bool
    round: int  # age of the running hold round's nonce
    seen: int  # the controller has known this version for so long


class Peer(NamedTuple):
    vouched: int  # age of its last voucher for the victim, up to Rule.old
    late: bool  # a voucher was sent and is noted only later (a mutant)
    written: int  # that age as its renewal under way says it
    pledges: bool  # that renewal carries the promise
    pledge: int
    mail: int


Step = tuple[str, Victim]
PeerStep = tuple[str, Peer]


def victim_at_start(rule: Rule) -> Victim:
    return Victim(rule.age, rule.kick, False, ABSENT, False, ABSENT, 0)


def peer_at_start(rule: Rule) -> Peer:
    return Peer(rule.old, False, ABSENT, False, NOT_ASKED, NO_MAIL)


def alive(rule: Rule, victim: Victim) -> bool:
    """Its VMs run."""
    return victim.fuse > 0 if rule.kick else victim.left > 0


def dead_for_good(rule: Rule, victim: Victim) -> bool:
    if rule.mutant == "paused, not killed":
        return False
    return victim.fuse < 0 if rule.kick else victim.left < 0


# --- time passes for everybody at once ---


def victim_tick(rule: Rule, victim: Victim) -> Victim | None:
    if not alive(rule, victim) and rule.mutant != "paused, not killed":
        return None
    renewal, round_ = victim.renewal, victim.round
    return victim._replace(
        left=max(victim.left - 1, -1),
        fuse=max(victim.fuse - 1, -1),
        renewal=ABSENT if renewal == ABSENT else min(renewal + 1, rule.age + 1),
        round=ABSENT if round_ == ABSENT else min(round_ + 1, rule.hold + 1),
        seen=min(victim.seen + 1, rule.f),
    )


def peer_tick(rule: Rule, peer: Peer) -> Peer:
    vouched = 1 if peer.late else min(peer.vouched + 1, rule.old)
    pledge = peer.pledge - 1 if peer.pledge > WAITING else peer.pledge
    return peer._replace(vouched=vouched, late=False, pledge=pledge)


# --- the victim's own steps; what they do to the peers is named by the step ---


def victim_steps(rule: Rule, victim: Victim) -> Iterator[Step]:
    if victim.renewal == ABSENT:
        yield "renewal sent", victim._replace(renewal=0)
    elif not victim.landed:
        yield "renewal lost", victim._replace(renewal=ABSENT)
        if rule.mutant == "no compare-and-swap":
            yield "renewal commits unseen", victim._replace(landed=True)
        else:
            yield "renewal commits", victim._replace(landed=True, seen=0)
    else:
        gone = victim._replace(renewal=ABSENT, landed=False)
        sent_ago = (
            0 if rule.mutant == "acknowledged time is the newest attempt's" else victim.renewal
        )
        yield "renewal acknowledged", gone._replace(left=max(victim.left, rule.age - sent_ago))
        yield "acknowledgement lost", gone
    if rule.kick:
        if not victim.checked and victim.left >= 0 and victim.fuse > 0:
            yield "deadline checked", victim._replace(checked=True)
        if victim.checked:
            yield "watchdog kicked", victim._replace(checked=False, fuse=rule.kick)
    if rule.holds and (not rule.kick or victim.fuse > 0):
        yield "asks to hold", victim._replace(round=0)
    if victim.round != ABSENT:
        since = 0 if rule.mutant == "hold counts from its completion" else victim.round
        yield (
            "hold round complete",
            victim._replace(round=ABSENT, left=max(victim.left, rule.hold - since)),
        )


def answered(peer: Peer) -> bool:
    return peer.mail == VOUCHED


def on_peers(step: str) -> Callable[[Peer], Peer] | None:
    """What a step of the victim or the controller changes in every peer."""
    return {
        "renewal commits": lambda p: p._replace(pledges=False, pledge=NOT_ASKED),
        "asks to hold": lambda p: p._replace(mail=ASKED),
        "hold round complete": lambda p: p._replace(mail=NO_MAIL),
        "inquest opened": lambda p: p._replace(pledge=OPEN),
    }.get(step)


# --- a peer's own steps ---


def peer_steps(rule: Rule, peer: Peer) -> Iterator[PeerStep]:
    promised = peer.pledge >= PROMISED
    if peer.mail == ASKED and (not promised or rule.mutant == "promise broken"):
        yield "peer vouches", _vouch(rule, peer)
    if peer.mail == VOUCHING:
        yield "voucher arrives", peer._replace(mail=VOUCHED)
    forgets = rule.mutant == "restart forgets vouchers"
    yield "peer restarts", peer._replace(vouched=rule.old if forgets else 0, late=False)
    if peer.pledge == OPEN:
        yield "peer promises", peer._replace(pledge=PROMISED)
    if peer.written == ABSENT:
        yield "peer renewal sent", peer._replace(written=peer.vouched, pledges=promised)
        if rule.mutant == "a lost renewal clears the voucher":
            yield "peer renewal sent and lost", peer._replace(vouched=rule.old)
        return
    yield "peer renewal lost", peer._replace(written=ABSENT, pledges=False)
    committed = peer._replace(written=ABSENT, pledges=False, pledge=_pledged(rule, peer))
    yield "peer renewal commits", committed
    if rule.mutant == "renewals not chained":
        yield "peer renewal commits, its double remains", peer._replace(pledge=_pledged(rule, peer))


def _vouch(rule: Rule, peer: Peer) -> Peer:
    if rule.mutant == "voucher not noted":
        return peer._replace(mail=VOUCHING)
    if rule.mutant == "voucher noted after it is sent":
        return peer._replace(mail=VOUCHING, late=True)
    return peer._replace(mail=VOUCHING, vouched=0)


def _pledged(rule: Rule, peer: Peer) -> int:
    """What the controller knows once this renewal is committed: how long the peer's last voucher may still work."""
    unpromised = rule.mutant == "clean without a promise" and peer.pledge != NOT_ASKED
    if not (peer.pledges or unpromised):
        return peer.pledge
    waits = WAITING + max(0, rule.w - peer.written)
    return min(waits, peer.pledge) if peer.pledge >= WAITING else waits


def clean(peer: Peer) -> bool:
    return peer.pledge == WAITING


def may_fence(rule: Rule, victim: Victim, clean_peers: int) -> bool:
    """The compare-and-swap on the version seen succeeds: had another been committed, ``seen`` would be 0."""
    return victim.seen >= rule.f and clean_peers >= rule.clean
