"""The table runPolicy x reason, whole; and what the memory must not forget or take in twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.api.kinds.vm import RunPolicy
from drover.api.names import LastReason
from drover.controllers.vm.power import Happened, Power, advance
from drover.controllers.vm.view import RESTART_REQUEST, START_REQUEST, STOP_REQUEST, Request

ON, OFF = RunPolicy.ALWAYS_ON, RunPolicy.ALWAYS_OFF
MANUAL, UNLESS = RunPolicy.MANUAL, RunPolicy.ALWAYS_ON_UNLESS_STOPPED_MANUALLY
REASONS = [value for name, value in vars(LastReason).items() if name.isupper()]

#                          AlwaysOn  Unless  Manual   after a back-off
TABLE = {
    "GuestShutdown":        (True, False, False, False),
    "GuestReset":           (True, True, True, False),
    "ResetDuringMigration": (True, True, True, False),
    "GuestPanicked":        (True, True, False, True),
    "Crashed":              (True, True, False, True),
    "StartFailed":          (True, True, False, True),
    "PodDeleted":           (True, True, False, False),
    "NodeLost":             (True, True, False, False),
    "NodeRestarted":        (True, True, False, False),
    "Restored":             (True, True, False, False),
    "Stopped":              (True, False, False, False),
    "StoppedForced":        (True, False, False, False),
}  # fmt: skip
CASES = [
    (policy, reason, row[column], row[3])
    for reason, row in TABLE.items()
    for column, policy in enumerate((ON, UNLESS, MANUAL))
]


def held(policy: RunPolicy, epoch: int = 1) -> Happened:
    return Happened(policy, 1000.0, lease_uid="l", holder="p", epoch=epoch, lived_s=30.0)


def released(policy: RunPolicy, reason: str, epoch: int = 2, lived_s: float = 30.0) -> Happened:
    return Happened(policy, 1000.0, lease_uid="l", epoch=epoch, last_reason=reason, lived_s=lived_s)


def running(policy: RunPolicy) -> Power:
    return Power(wanted=True, policy=str(policy), lease="l", epoch=0, top=1)


def test_the_table_knows_every_reason() -> None:
    assert sorted(TABLE) == sorted(REASONS)


@pytest.mark.parametrize(("policy", "reason", "again", "waits"), CASES)
def test_table(policy: RunPolicy, reason: str, again: bool, waits: bool) -> None:
    power, notes = advance(running(policy), released(policy, reason))
    assert power.wanted is again
    assert (power.not_before_s > 1000) is (again and waits)
    assert len(notes) == 1
    assert advance(power, released(policy, reason)) == (power, [])  # taken in once


@pytest.mark.parametrize("reason", REASONS)
def test_always_off_never_starts_again(reason: str) -> None:
    power, _ = advance(replace(running(OFF), wanted=False, stop="graceful"), released(OFF, reason))
    assert not power.wanted


@pytest.mark.parametrize(
    ("policy", "wanted"), [(ON, True), (UNLESS, True), (MANUAL, False), (OFF, False)]
)
def test_a_new_vm(policy: RunPolicy, wanted: bool) -> None:
    assert advance(None, Happened(policy, 0.0))[0].wanted is wanted


@pytest.mark.parametrize(
    ("before", "after", "was", "wanted"),
    [
        (OFF, ON, False, True),
        (OFF, UNLESS, False, True),
        (OFF, MANUAL, False, False),
        (MANUAL, ON, False, True),
        (MANUAL, UNLESS, False, False),
        (UNLESS, MANUAL, False, False),
        (ON, MANUAL, True, True),
        (ON, OFF, True, False),
        (UNLESS, OFF, True, False),
    ],
)
def test_a_changed_policy(before: RunPolicy, after: RunPolicy, was: bool, wanted: bool) -> None:
    power = replace(running(before), wanted=was)
    assert advance(power, Happened(after, 0.0, lease_uid="l", epoch=0))[0].wanted is wanted


@pytest.mark.parametrize("policy", [ON, UNLESS, MANUAL])
@pytest.mark.parametrize("reason", REASONS)
def test_a_restart_by_request_starts_again_whatever_the_reason(
    policy: RunPolicy, reason: str
) -> None:
    asked = replace(held(policy), requests={RESTART_REQUEST: Request("op;t", False)})
    power, _ = advance(running(policy), asked)
    assert power.restart == "graceful"
    power, notes = advance(power, released(policy, reason))
    assert (power.wanted, power.restart, power.not_before_s, notes) == (True, "", 0, [])


@pytest.mark.parametrize("policy", [UNLESS, MANUAL])
@pytest.mark.parametrize("reason", REASONS)
def test_a_stop_by_request_stays_off_whatever_the_reason(policy: RunPolicy, reason: str) -> None:
    asked = replace(held(policy), requests={STOP_REQUEST: Request("op;t;force", True)})
    power, _ = advance(running(policy), asked)
    assert (power.wanted, power.stop) == (False, "force")
    power, _ = advance(power, released(policy, reason))
    assert not power.wanted


@pytest.mark.parametrize(
    ("policy", "what"), [(ON, STOP_REQUEST), (OFF, START_REQUEST), (OFF, RESTART_REQUEST)]
)
def test_requests_that_the_policy_forbids_change_nothing(policy: RunPolicy, what: str) -> None:
    before = replace(running(policy), wanted=policy is ON)
    power, _ = advance(before, replace(held(policy), requests={what: Request("op;t", False)}))
    assert (power.wanted, power.restart) == (before.wanted, "")
    assert power.last_request == "op;t"


def test_a_guest_that_ends_just_before_a_stop_is_asked_for_stays_off() -> None:
    seen = replace(released(UNLESS, "GuestReset"), requests={STOP_REQUEST: Request("op;t", False)})
    assert not advance(running(UNLESS), seen)[0].wanted


def test_back_off_doubles_up_to_five_minutes_and_a_long_life_forgives() -> None:
    power, waits = running(ON), []
    for turn in range(8):
        power, _ = advance(power, released(ON, "Crashed", epoch=2 * turn + 2))
        waits.append(power.not_before_s - 1000)
        power, _ = advance(power, held(ON, epoch=2 * turn + 3))
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    power, _ = advance(power, released(ON, "Crashed", epoch=100, lived_s=600.0))
    assert (power.failures, power.not_before_s) == (1, 1010)


def test_a_pod_that_failed_before_its_turn_counts_once() -> None:
    seen = Happened(ON, 1000.0, lease_uid="l", epoch=0, failed_pod="p")
    power, notes = advance(running(ON), seen)
    assert (power.failures, len(notes)) == (1, 1)
    assert advance(power, seen) == (power, [])


def test_a_start_clears_the_back_off() -> None:
    power = replace(running(MANUAL), wanted=False, failures=3, not_before_s=9999)
    seen = Happened(
        MANUAL, 0.0, lease_uid="l", epoch=0, requests={START_REQUEST: Request("op;t", False)}
    )
    power, _ = advance(power, seen)
    assert (power.wanted, power.failures, power.not_before_s) == (True, 0, 0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([ON, OFF, MANUAL, UNLESS]),
            st.sampled_from(["held", *REASONS]),
            st.sampled_from(["", START_REQUEST, STOP_REQUEST, RESTART_REQUEST]),
        ),
        max_size=12,
    )
)
def test_any_history(history: list[tuple[RunPolicy, str, str]]) -> None:
    """The memory survives its own writing down, settles after one look, and its policy's rule holds."""
    power: Power | None = None
    for epoch, (policy, what, request) in enumerate(history):
        seen = held(policy, epoch) if what == "held" else released(policy, what, epoch)
        if request:
            seen = replace(seen, requests={request: Request(f"op{epoch};t", False)})
        power, _ = advance(power, seen)
        assert Power.load(power.save()) == power
        assert advance(power, seen) == (power, [])
        assert power.wanted or policy is not ON
        assert not power.wanted or policy is not OFF
