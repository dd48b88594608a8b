"""What a target says when its QEMU does not come up: the cause, and QEMU's own words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.agent.test_decide import TARGET_POD, target, view

from drover.agent.report import target_report
from drover.agent.view import Marks
from drover.api import names
from drover.api.names import LastReason

WORDS = "Could not open '/d/u.qcow2': No such file or directory"


@pytest.mark.parametrize(
    ("ended", "failure", "reason", "message"),
    [
        (LastReason.START_FAILED, (names.DISK_ERROR, WORDS), names.DISK_ERROR, WORDS),
        (LastReason.START_FAILED, ("", "no memory"), LastReason.START_FAILED, "no memory"),
        (LastReason.CRASHED, (names.DISK_ERROR, WORDS), "Crashed", "the incoming QEMU ended"),
        ("", ("", ""), "TargetGone", "the incoming QEMU ended"),
    ],
)
def test_a_failed_target_says_why(
    ended: str, failure: tuple[str, str], reason: str, message: str
) -> None:
    gone = view(pod=TARGET_POD, marks=Marks(started=True, ended=ended), move=target())
    said = target_report(gone, None, "life", failure)
    assert said == {"phase": "Failed", "reason": reason, "message": message}


def test_how_a_guest_ended_is_not_told_of_the_move_by_which_it_once_came() -> None:
    arrived = replace(target(), final=True, target_phase="Running")
    marks = Marks(started=True, ended=LastReason.NODE_RESTARTED)
    assert target_report(view(pod=TARGET_POD, marks=marks, move=arrived), None, "life") is None
