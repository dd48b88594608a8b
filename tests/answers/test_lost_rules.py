"""Every reason that the fencing controller gives for doing nothing has a rule, and a way out."""

from __future__ import annotations

from drover.answers.lost import FENCE_RULES
from drover.api.kinds.nodefence import FenceReason


def test_every_reason_has_a_rule() -> None:
    assert set(FENCE_RULES) == set(FenceReason) - {FenceReason.WATCHING}
    assert all(rule.way_out for rule in FENCE_RULES.values())
