"""Which migrations go on: the limits, the order, and that nobody waits for ever."""

from __future__ import annotations

import random
from dataclasses import replace

from drover.api.kinds.vmop import Origin
from drover.controllers.migration.slots import AGED_S, PATIENCE_S, Move, Wait, slots
from drover.controllers.settings import Settings

ONE = Settings()


def move(key: str, source: str = "a", target: str = "", age: int = 0, **more: object) -> Move:
    made = Move(key, 0, 1e9 - age, source, target)
    return replace(made, **more)  # type: ignore[arg-type]


def admitted(key: str, source: str = "a", target: str = "", **more: object) -> Move:
    return move(key, source, target, admitted=True, **more)


def ready(key: str, source: str, target: str, **more: object) -> Move:
    return admitted(key, source, target, prepared=True, **more)


def copying(key: str, source: str, target: str) -> Move:
    return ready(key, source, target, transferring=True)


def test_a_single_move_waits_for_nothing() -> None:
    for one in (move("x"), ready("x", "a", "b"), copying("x", "a", "b")):
        assert slots([one], ONE, 3, 0.0) == {}


def test_one_move_from_a_node_and_others_pass_it() -> None:
    waits = slots([admitted("x"), move("y", age=9), move("z", "b")], ONE, 3, 0.0)
    assert waits == {"y": Wait.OUTBOUND}


def test_as_many_as_there_are_nodes_and_two_at_least() -> None:
    many = [move(f"m{n}", f"node{n}", age=20 - n) for n in range(6)]
    for nodes, free in ((1, 2), (2, 2), (3, 3), (5, 5)):
        waits = slots(many, ONE, nodes, 0.0)
        assert set(waits) == {f"m{n}" for n in range(free, 6)}
        assert set(waits.values()) == {Wait.CLUSTER}
    assert slots(many, Settings(cluster_limit=100), 1, 0.0) == {}


def test_in_order_of_who_asked_then_of_age() -> None:
    ranks = [Origin.FIRMWARE, Origin.REBALANCE, Origin.EVACUATION, Origin.PLACEMENT, Origin.PERSON]
    waiting = [
        move(f"{origin} {age}", age=age, rank=origin.rank) for origin in ranks for age in (0, 5)
    ]
    served = []
    while waiting:
        waits = slots(waiting, ONE, 3, 0.0)
        [goes] = [one for one in waiting if one.key not in waits]
        served.append(goes.key)
        waiting.remove(goes)
    assert served == [f"{origin} {age}" for origin in reversed(ranks) for age in (5, 0)]


def test_who_keeps_asking_keeps_nobody_waiting_for_ever() -> None:
    drain = move("drain", age=50, rank=Origin.EVACUATION.rank)
    person = move("person", age=0)
    created_s = drain.created_s
    assert slots([drain, person], ONE, 3, created_s + AGED_S) == {"drain": Wait.OUTBOUND}
    assert slots([drain, person], ONE, 3, created_s + AGED_S + 1) == {"person": Wait.OUTBOUND}


def test_inbound_and_sync_are_taken_both_or_neither() -> None:
    moves = [copying("c", "a", "t"), ready("w", "b", "t", age=9), ready("free", "b", "u")]
    assert slots(moves, ONE, 9, 0.0) == {"w": Wait.INBOUND}  # and holds no sync slot of b
    moves = [copying("c", "a", "t"), ready("w", "a", "u", age=9), ready("free", "b", "u")]
    assert slots(moves, ONE, 9, 0.0) == {"w": Wait.SYNC}  # and holds no inbound slot of u


def test_a_silent_node_keeps_no_slot_of_a_living_one() -> None:
    """A migration whose source is dead ends when that is proved, which without fencing is never."""
    for gone in ({"source_away": True}, {"target_away": True}):
        stuck = replace(copying("c", "a", "t"), **gone)  # type: ignore[arg-type]
        moves = [stuck, ready("in", "b", "t", age=9), ready("out", "a", "u"), move("new", "a")]
        free = slots(moves, ONE, 3, 0.0)
        assert "in" not in free
        assert "out" not in free


def test_what_has_not_begun_waits_for_a_silent_source() -> None:
    moves = [move("x", source_away=True), ready("y", "b", "t", source_away=True), move("z", "c")]
    assert slots(moves, ONE, 3, 0.0) == {"x": Wait.SOURCE, "y": Wait.SOURCE}


def test_who_waits_long_keeps_the_slot_that_is_free_for_it() -> None:
    """Else two nodes that are never free at the same time would starve it."""
    long = ready("w", "b", "t", waiting_since_s=0.0, age=9)
    moves = [copying("c", "a", "t"), long, ready("later", "b", "u")]
    assert slots(moves, ONE, 9, PATIENCE_S - 1) == {"w": Wait.INBOUND}
    assert slots(moves, ONE, 9, PATIENCE_S) == {"w": Wait.INBOUND, "later": Wait.SYNC}
    assert slots(moves[1:], ONE, 9, PATIENCE_S) == {"later": Wait.SYNC}


def test_a_move_without_a_place_blocks_nobody_for_the_minutes_it_waits() -> None:
    lost = admitted("lost", homeless=True)
    assert slots([lost, move("y")], ONE, 3, 0.0) == {}
    crowd = [admitted(f"lost{n}", f"n{n}", homeless=True) for n in range(3)]
    assert slots([*crowd, move("y")], ONE, 3, 0.0) == {"y": Wait.CLUSTER}


def test_limits_hold_and_all_are_served() -> None:
    """Random worlds, step by step: no limit is exceeded, nobody is left."""
    for seed in range(100):
        dice = random.Random(seed)
        settings = Settings(
            cluster_limit=dice.choice([None, 1, 2, 5]),
            outbound_per_node=dice.randint(1, 3),
            inbound_per_node=dice.randint(1, 2),
            sync_per_node=dice.randint(1, 2),
        )
        nodes = ["a", "b", "c", "d"][: dice.randint(2, 4)]
        world = {}
        for number in range(dice.randint(1, 25)):
            source, target = dice.sample(nodes, 2)
            one = move(f"m{number}", source, target, age=dice.randint(0, 59))
            world[one.key] = replace(one, rank=dice.randint(0, 4))
        now_s = 0.0
        for _ in range(20_000):
            if not world:
                break
            now_s += 10
            waits = slots(world.values(), settings, len(nodes), now_s)
            key = dice.choice(sorted(world))
            world[key] = step(world[key], waits.get(key), now_s)
            if world[key].transferring and dice.random() < 0.3:
                del world[key]
            check(list(world.values()), settings, len(nodes))
        assert not world, (seed, world)


def step(one: Move, wait: Wait | None, now_s: float) -> Move:
    if not one.admitted:
        return one if wait else replace(one, admitted=True)
    if not one.prepared:
        return replace(one, prepared=True)
    if wait:
        since = now_s if one.waiting_since_s is None else one.waiting_since_s
        return replace(one, waiting_since_s=since)
    return replace(one, transferring=True)


def check(moves: list[Move], settings: Settings, nodes: int) -> None:
    assert sum(one.admitted for one in moves) <= settings.cluster_most(nodes)
    for node in "abcd":
        out = [one for one in moves if one.source == node]
        assert sum(one.admitted for one in out) <= settings.outbound_per_node
        assert sum(one.transferring for one in out) <= settings.sync_per_node
        into = [one for one in moves if one.target == node]
        assert sum(one.transferring for one in into) <= settings.inbound_per_node
