"""The pure values of the ground floor: back-off, quantities, times, ids, log lines, checks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.base import quantity
from drover.base.backoff import Backoff
from drover.base.checks import InvariantBroken, require
from drover.base.clock import RealClock, parse_rfc3339, rfc3339, rfc3339_micro
from drover.base.ids import RealIds, SeededIds, derived_suffix
from drover.base.log import Log


@given(
    failures=st.integers(0, 10_000),
    chance=st.floats(0, 1, exclude_max=True),
    first_s=st.floats(0.001, 10),
    factor=st.floats(1, 1000),
    jitter=st.floats(0, 2),
)
def test_backoff_grows_and_stays_within_its_bounds(
    failures: int, chance: float, first_s: float, factor: float, jitter: float
) -> None:
    backoff = Backoff(first_s, first_s * factor, jitter)
    delay_s = backoff.delay_s(failures, chance)
    assert 0 <= delay_s <= backoff.most_s * (1 + jitter)
    assert backoff.delay_s(failures + 1, chance) >= delay_s
    assert backoff.delay_s(0, chance) == 0


def test_backoff_doubles() -> None:
    backoff = Backoff(0.5, 3)
    assert [backoff.delay_s(failures) for failures in range(6)] == [0, 0.5, 1, 2, 3, 3]


@pytest.mark.parametrize(
    ("text", "cpu_milli"),
    [("500m", 500), ("2", 2000), (1, 1000), ("0.1", 100), ("1.5", 1500), ("0.0001", 1)],
)
def test_cpu(text: str | int, cpu_milli: int) -> None:
    assert quantity.cpu_milli(text) == cpu_milli


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        *(("4Gi", 4 * 2**30), ("1G", 10**9), ("1.5Ki", 1536), ("7", 7), ("100m", 1), ("1k", 1000)),
        *(("1e3", 1000), ("1E3", 1000), ("1E", 10**18), ("15e-1", 2), ("+5.", 5), (".5Ki", 512)),
        *(("3n", 1), ("1Ei", 2**60)),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert quantity.size_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "4GiB", "-1", "1e", "1e3k", "Gi", ".", "four", "1 Gi", "1K"])
def test_nonsense_is_no_quantity(text: str) -> None:
    with pytest.raises(quantity.BadQuantity):
        quantity.parse(text)


@given(st.integers(0, 2**60))
def test_printed_quantities_read_back_exactly(value: int) -> None:
    assert quantity.size_bytes(quantity.bytes_text(value)) == value
    assert quantity.cpu_milli(quantity.cpu_text(value)) == value


def test_the_largest_suffix_that_divides_is_used() -> None:
    assert quantity.bytes_text(4 * 2**30) == "4Gi"
    assert quantity.bytes_text(1536 * 2**20) == "1536Mi"
    assert quantity.bytes_text(1000) == "1000"
    assert (quantity.cpu_text(2000), quantity.cpu_text(1500)) == ("2", "1500m")


@given(st.integers(0, 4_000_000_000_000_000))
def test_times_read_back_to_the_microsecond(micros: int) -> None:
    wall_s = micros / 1e6
    assert parse_rfc3339(rfc3339_micro(wall_s)) == pytest.approx(wall_s, abs=2e-6)
    assert parse_rfc3339(rfc3339(wall_s)) == micros // 10**6


def test_monotonic_time_cannot_be_taken_for_wall_time() -> None:
    first, second = RealClock(), RealClock()
    assert first.monotonic() != pytest.approx(second.monotonic(), abs=0.001)
    assert first.monotonic() <= first.monotonic() < first.wall() - 10_000_000


def test_seeded_ids_repeat_and_differ() -> None:
    def draw(ids: SeededIds | RealIds) -> list[Any]:
        return [ids.uid(), ids.suffix(), ids.uniform()]

    assert draw(SeededIds(7)) == draw(SeededIds(7))
    assert draw(SeededIds(7)) != draw(SeededIds(8))
    assert draw(RealIds()) != draw(RealIds())
    ids = SeededIds("x")
    assert len({ids.uid() for _ in range(1000)}) == 1000
    assert len(ids.suffix(9)) == 9
    assert all(0 <= ids.uniform() < 1 for _ in range(100))


def test_a_derived_suffix_is_always_the_same() -> None:
    """It stands in names of objects that exist: another one would make them twice."""
    assert derived_suffix("seed") == "8vkhm"
    assert derived_suffix("seed", 8)[:5] == "8vkhm"
    assert derived_suffix("seeds") != "8vkhm"


def test_log_lines_carry_the_bound_fields_and_the_callers_time() -> None:
    class Frozen(RealClock):
        def wall(self) -> float:
            return 1_767_225_600.5

    lines: list[dict[str, Any]] = []
    log = Log(Frozen(), lines.append, node="n1")
    log.bind(vm="a/web").mark("evict.handed-over", epoch=3)
    log.warn("slow")
    assert lines == [
        {
            "t": "2026-01-01T00:00:00.500000Z",
            "level": "mark",
            "msg": "evict.handed-over",
            "node": "n1",
            "vm": "a/web",
            "epoch": 3,
        },
        {"t": "2026-01-01T00:00:00.500000Z", "level": "warn", "msg": "slow", "node": "n1"},
    ]


def test_a_broken_invariant_is_no_exception_that_a_boundary_could_swallow() -> None:
    require(True, "fine")
    with pytest.raises(InvariantBroken, match="no epoch"):
        require(False, "no epoch")
    assert not issubclass(InvariantBroken, Exception)


def test_nobody_waits_for_a_clock_that_was_set_back() -> None:
    backoff = Backoff(5, 300)
    assert backoff.left_s(1_000, 990) == 10
    assert backoff.left_s(1_000, 1_000) == backoff.left_s(1_000, 2_000) == 0
    assert backoff.left_s(1_000 + 300, 1_000) == 300
    assert backoff.left_s(1_000 + 3_600, 1_000) == 0
