"""What a move costs, from what earlier ones have told."""

from __future__ import annotations

from typing import Any

import pytest

from drover.controllers import costs
from drover.controllers.costs import AROUND_S, GUESSED_BYTES_PER_S, Costs, Load

MIB = 2**20
VM = {"metadata": {"name": "a", "namespace": "default"}, "spec": {"memory": {"size": "1Gi"}}}


def moved(
    sent_mib: int, dirty_mib: float = 0, seconds: int = 0, phase: str = "Succeeded", mbps: int = 800
) -> Any:
    """A migration of a VM of 1 GiB over a link of 100 MB/s that lasted so long."""
    source = {
        "ramTotalBytes": 1024 * MIB,
        "ramTransferredBytes": sent_mib * MIB,
        "dirtyBytesPerSecond": int(dirty_mib * MIB),
        "mbps": mbps,
    }
    ended = f"2026-01-01T00:00:{seconds:02}Z"
    return {
        "metadata": {"name": "m", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {
            "phase": phase,
            "source": source,
            **({"endTimestamp": ended} if seconds else {}),
        },
    }


def test_where_nothing_has_moved_yet_it_is_guessed() -> None:
    known = costs.learned([])
    assert known == Costs(GUESSED_BYTES_PER_S, 1.0, AROUND_S)
    assert costs.load_of(VM, [], known) == Load("default/a", 2**30)


def test_the_link_is_what_most_copies_got() -> None:
    assert costs.learned([moved(1, mbps=n) for n in (8, 800, 80_000)]).link_bytes_per_s == 100e6


def test_a_copy_carries_what_the_guest_has_touched_and_no_more() -> None:
    """A quarter of the memory was copied; another VM that never moved is taken to be like that."""
    known = costs.learned([moved(256)])
    assert known.share == pytest.approx(0.25)
    assert costs.load_of(VM, [], known).bytes == 256 * MIB
    assert costs.load_of(VM, [moved(512)], known).bytes == 512 * MIB


def test_pages_that_were_sent_twice_are_counted_once() -> None:
    dirty = 50e6 / MIB  # half of what the link carries: half of what was sent was sent again
    load = costs.load_of(VM, [moved(800, dirty)], Costs())
    assert load.bytes == pytest.approx(400 * MIB)
    assert load.dirty_bytes_per_s == pytest.approx(50e6, rel=1e-6)
    assert costs.seconds(load, Costs(100e6, 1.0, 0.0)) == pytest.approx(800 * MIB / 100e6)


def test_one_that_failed_tells_how_fast_the_guest_writes_and_not_how_much_there_is() -> None:
    load = costs.load_of(VM, [moved(256), moved(10, 7, phase="Failed")], Costs())
    assert (load.bytes, load.dirty_bytes_per_s) == (256 * MIB, 7 * MIB)


def test_what_a_move_takes_besides_its_copy_is_that_of_the_middle_half() -> None:
    """Copies of 1 s; one of these moves had to wait for its turn."""
    second = round(100e6 / MIB)
    known = costs.learned([moved(second, seconds=s) for s in (3, 4, 4, 50)])
    assert known.around_s == pytest.approx(3.0, abs=0.01)


def test_the_estimate_adds_up_what_must_go_one_after_another() -> None:
    known, loads = Costs(100 * MIB), [Load("a", 100 * MIB), Load("b", 100 * MIB)]
    one = costs.seconds(loads[0], known)
    assert one == pytest.approx(AROUND_S + 1)
    assert costs.estimate_s(loads, known, 1) == pytest.approx(2 * one)
    assert one < costs.estimate_s(loads, known, 2) < 2 * one
    assert costs.estimate_s([], known, 2) == 0.0


def test_a_guest_that_writes_faster_than_the_link_is_slowed_down_until_its_copy_ends() -> None:
    busy = Load("c", 100 * MIB, dirty_bytes_per_s=1000 * MIB)
    assert costs.seconds(busy, Costs(100 * MIB)) == pytest.approx(AROUND_S + 10)
