"""What is searched, what must come out, and the memory of what came out.

A verdict is kept in the cache directory under the hash of the machines, the search and the configuration: it is found
again until one of them changes. The runs marked ``long`` take most of a minute each and are left to
``python -m tests.proof``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace

from tests.proof.model import Rule
from tests.proof.search import Verdict, search
from tests.support.remembered import remembered

_SOURCES = ("tests/proof/model.py", "tests/proof/search.py")


@dataclass(frozen=True)
class Run:
    rule: Rule
    safe: bool
    long: bool = False

    @property
    def name(self) -> str:
        rule = self.rule
        parts = [f"roster {rule.roster}" if rule.holds else "base rule", f"A={rule.age}"]
        parts += [f"H={rule.hold}"] if rule.holds else []
        parts += [f"T={rule.kick}"] if rule.kick else []
        parts += ["victim outside"] if rule.outside else []
        parts += [f"F short by {rule.short_f}"] if rule.short_f else []
        parts += [f"W short by {rule.short_w}"] if rule.short_w else []
        return ", ".join(parts + ([rule.mutant] if rule.mutant else []))


# Peer evidence is needed at all; then each clause by itself.
TAKEN_OUT = (
    "no peer evidence",
    "one clean peer fewer",
    "one voucher fewer",
    "no compare-and-swap",
    "acknowledged time is the newest attempt's",
    "hold counts from its completion",
    "voucher not noted",
    "voucher noted after it is sent",
    "a lost renewal clears the voucher",
    "restart forgets vouchers",
    "promise broken",
    "clean without a promise",
)
# Promises make up for these two; the agent does neither all the same.
TOLERATED = ("paused, not killed", "renewals not chained")


FAST = Rule(2, 3, 3)  # the profile fast as it is, a tick for each second, with three nodes


def _base() -> list[Run]:
    fed = [Rule(0, age, kick=kick, holds=False) for age, kick in ((1, 2), (2, 3), (2, 4), (3, 3))]
    told = [Rule(0, age, holds=False) for age in (1, 2, 3)]
    return [run for rule in fed + told for run in _at_the_bound(rule)]


def _at_the_bound(rule: Rule, long: bool = False) -> list[Run]:
    """Safe at F and W, unsafe one tick below either."""
    runs = [Run(rule, True, long), Run(replace(rule, short_f=1), False, long)]
    return runs + ([Run(replace(rule, short_w=1), False, long)] if rule.holds else [])


def _hold() -> list[Run]:
    pairs = ((1, 1), (1, 2), (2, 1), (2, 2))
    rules = [Rule(peers, age, hold) for peers in (1, 2) for age, hold in pairs]
    rules += [
        Rule(1, 3, 3),
        Rule(3, 1, 1),
        Rule(2, 1, 1, outside=True),
        Rule(3, 1, 1, outside=True),
        FAST,
    ]
    rules += [Rule(1, a, h, t) for a, h, t in ((1, 1, 1), (1, 2, 1), (2, 1, 1), (1, 1, 2))]
    runs = [run for rule in rules for run in _at_the_bound(rule)]
    return runs + _at_the_bound(Rule(2, 1, 1, 1), long=True)


def _mutants() -> list[Run]:
    rule = Rule(2, 1, 2)
    runs = [Run(replace(rule, mutant=name), False) for name in TAKEN_OUT]
    return runs + [Run(replace(rule, mutant=name), True) for name in TOLERATED]


RUNS = _base() + _hold() + _mutants()


def verdict(rule: Rule) -> Verdict:
    """Searched now, or remembered from an equal search."""
    found = remembered(f"proof {rule!r}", _SOURCES, lambda: dataclasses.asdict(search(rule)))
    return Verdict(**found)
