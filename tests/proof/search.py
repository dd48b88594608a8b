"""Every state that the machines of ``model`` can reach together, breadth first, by tables.

Each machine has few states, so each step becomes a table from number to number, made once by plain Python. The product
is then searched with arrays: one row per state, a column for the victim and one per peer. Peers are alike, so their
columns are sorted, and a row has a rank among all sorted rows: its bit in the map of what was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import comb
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tests.proof import model
from tests.proof.model import Peer, Rule, Victim

S = TypeVar("S")
Ints = NDArray[np.int64]
NOWHERE = -1


@dataclass(frozen=True)
class Verdict:
    """``trace``: the shortest way to a double run, with its ticks; empty when there is none."""

    safe: bool
    states: int
    trace: list[str] = field(default_factory=list)


def reach(start: S, grow: Callable[[S], Iterable[S]]) -> list[S]:
    """All that ``grow`` reaches, in order of discovery."""
    found, order = {start}, [start]
    for state in order:
        for after in grow(state):
            if after not in found:
                found.add(after)
                order.append(after)
    return order


class Tables:
    """The steps of one rule as tables of numbers."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.victims = reach(model.victim_at_start(rule), self._victim_grows)
        self.peers = reach(model.peer_at_start(rule), self._peer_grows)
        self._victim_number = {state: n for n, state in enumerate(self.victims)}
        self._peer_number = {state: n for n, state in enumerate(self.peers)}
        self.tick_victim = self._of_victims(lambda v: self._lives(model.victim_tick(rule, v)))
        self.tick_peer = self._of_peers(lambda p: model.peer_tick(rule, p))
        self.victim_steps = self._by_name(self.victims, self._steps_of_victim, self._victim_number)
        self.peer_steps = self._by_name(
            self.peers, lambda p: model.peer_steps(rule, p), self._peer_number
        )
        self.on_peers = {
            step: self._of_peers(change)
            for step in [*self.victim_steps, "inquest opened"]
            if (change := model.on_peers(step)) is not None
        }
        self.alive = np.array([model.alive(rule, v) for v in self.victims])
        self.still = np.array([model.may_fence(rule, v, rule.peers) for v in self.victims])
        self.clean = np.array([model.clean(p) for p in self.peers])
        self.answered = np.array([model.answered(p) for p in self.peers])
        self.not_asked = np.array([p.pledge == model.NOT_ASKED for p in self.peers])

    def _lives(self, victim: Victim | None) -> Victim | None:
        dead = victim is None or model.dead_for_good(self.rule, victim)
        return None if dead else victim

    def _steps_of_victim(self, victim: Victim) -> Iterator[model.Step]:
        for name, after in model.victim_steps(self.rule, victim):
            if self._lives(after) is not None:
                yield name, after

    def _victim_grows(self, victim: Victim) -> Iterator[Victim]:
        after = self._lives(model.victim_tick(self.rule, victim))
        if after is not None:
            yield after
        yield from (after for _, after in self._steps_of_victim(victim))

    def _peer_grows(self, peer: Peer) -> Iterator[Peer]:
        yield model.peer_tick(self.rule, peer)
        yield from (after for _, after in model.peer_steps(self.rule, peer))
        for step in ("renewal commits", "asks to hold", "hold round complete", "inquest opened"):
            change = model.on_peers(step)
            assert change is not None
            yield change(peer)

    def _of_victims(self, change: Callable[[Victim], Victim | None]) -> Ints:
        after = [change(v) for v in self.victims]
        return np.array([NOWHERE if v is None else self._victim_number[v] for v in after])

    def _of_peers(self, change: Callable[[Peer], Peer]) -> Ints:
        return np.array([self._peer_number[change(p)] for p in self.peers])

    @staticmethod
    def _by_name(
        states: list[Any], steps: Callable[[Any], Iterable[tuple[str, Any]]], number: dict[Any, int]
    ) -> dict[str, Ints]:
        tables: dict[str, Ints] = {}
        for n, state in enumerate(states):
            for name, after in steps(state):
                table = tables.setdefault(name, np.full(len(states), NOWHERE))
                table[n] = number[after]
        return tables


class Rows:
    """Ranks of rows: a victim and sorted peers."""

    def __init__(self, victims: int, peers: int, columns: int) -> None:
        self._sets = comb(peers + columns - 1, columns)
        self._binomials = [
            np.array([comb(n + c, c + 1) for n in range(peers + 1)]) for c in range(columns)
        ]
        self.count = victims * self._sets

    def rank(self, rows: Ints) -> Ints:
        within = np.zeros(len(rows), dtype=np.int64)
        for column, binomials in enumerate(self._binomials):
            within += binomials[rows[:, 1 + column]]
        return rows[:, 0] * self._sets + within


def successors(tables: Tables, rows: Ints) -> Iterator[tuple[str, Ints, Ints]]:
    """Each step with the rows that can take it (their positions) and where they come to, peers not sorted."""
    rule, victims, peers = tables.rule, rows[:, 0], rows[:, 1:]

    def moved(
        name: str, to: Ints, new_peers: Ints, may: NDArray[np.bool_]
    ) -> tuple[str, Ints, Ints]:
        chosen = np.flatnonzero(may & (to != NOWHERE))
        return name, chosen, np.column_stack((to[chosen], new_peers[chosen]))

    every = np.ones(len(rows), dtype=bool)
    yield moved("tick", tables.tick_victim[victims], tables.tick_peer[peers], every)
    for name, table in tables.victim_steps.items():
        may = every
        if name == "hold round complete":
            may = tables.answered[peers].sum(axis=1) >= rule.vouchers
        change = tables.on_peers.get(name)
        yield moved(name, table[victims], peers if change is None else change[peers], may)
    if rule.clean:
        none_asked = tables.not_asked[peers].all(axis=1)
        yield moved("inquest opened", victims, tables.on_peers["inquest opened"][peers], none_asked)
    for name, table in tables.peer_steps.items():
        for column in range(rule.peers):
            after = peers.copy()
            after[:, column] = table[peers[:, column]]
            yield moved(name, victims, after, after[:, column] != NOWHERE)


def search(rule: Rule) -> Verdict:
    """All states, or the first double run."""
    tables = Tables(rule)
    ranks = Rows(len(tables.victims), len(tables.peers), rule.peers)
    seen = np.zeros(ranks.count, dtype=bool)
    rows = np.zeros((1, 1 + rule.peers), dtype=np.int64)
    seen[ranks.rank(rows)] = True
    layers: list[
        tuple[list[str], Ints, Ints]
    ] = []  # names of steps, and per row: its step, its parent
    states = 1
    while len(rows):
        names, found, steps, parents = [], [], [], []
        for name, chosen, after in successors(tables, rows):
            after[:, 1:].sort(axis=1)
            rank = ranks.rank(after)
            fresh = np.flatnonzero(~seen[rank])
            _, first = np.unique(rank[fresh], return_index=True)
            fresh = fresh[first]
            seen[rank[fresh]] = True
            found.append(after[fresh])
            parents.append(chosen[fresh])
            steps.append(np.full(len(fresh), len(names)))
            names.append(name)
        rows = np.concatenate(found)
        states += len(rows)
        layers.append(
            (
                names,
                np.concatenate(steps).astype(np.int16),
                np.concatenate(parents).astype(np.int32),
            )
        )
        enough = tables.clean[rows[:, 1:]].sum(axis=1) >= rule.clean
        twice = np.flatnonzero(tables.still[rows[:, 0]] & tables.alive[rows[:, 0]] & enough)
        if len(twice):
            return Verdict(False, states, _trace(layers, int(twice[0])))
    return Verdict(True, states)


def _trace(layers: list[tuple[list[str], Ints, Ints]], row: int) -> list[str]:
    steps = ["FENCED while its VMs run"]
    for names, taken, parents in reversed(layers):
        steps.append(names[int(taken[row])])
        row = int(parents[row])
    told, tick = [], 0
    for step in reversed(steps):
        if step == "tick":
            tick += 1
        else:
            told.append(f"t={tick} {step}")
    return told
