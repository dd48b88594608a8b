"""Every reason is explained, or on a list of those that need no explanation."""

from __future__ import annotations

import string
from typing import Any

import pytest
from tests.controllers.test_reasons import words

from drover.answers import start
from drover.answers.asking import Names
from drover.answers.lost import FENCE_RULES
from drover.answers.rules import (
    BLOCKED_RULES,
    TROUBLES,
    VM_ELSEWHERE,
    VM_QUIET,
    VM_RULES,
    VMOP_QUIET,
    VMOP_RULES,
)
from drover.api import names
from drover.api.evacuation import BlockedReason
from drover.api.kinds.vm import VmReason
from drover.api.kinds.vmop import VmopReason
from drover.api.names import LastReason


@pytest.mark.parametrize(
    ("enum", "explained", "quiet"),
    [
        (VmReason, VM_RULES.keys() | VM_ELSEWHERE, VM_QUIET),
        (VmopReason, VMOP_RULES.keys(), VMOP_QUIET),
        (BlockedReason, BLOCKED_RULES.keys(), frozenset()),
        (LastReason, start._ENDS.keys(), frozenset()),
    ],
)
def test_every_reason_is_explained_or_needs_none(enum: Any, explained: Any, quiet: Any) -> None:
    explained, quiet = {str(one) for one in explained}, {str(one) for one in quiet}
    assert explained | quiet == words(enum)
    assert not explained & quiet


def test_troubles_of_pods_are_explained() -> None:
    assert TROUBLES.keys() == {names.PROVISIONING_NOT_READY, names.HOST_TROUBLE, names.DISK_ERROR}


def test_way_outs_speak_only_of_what_is_known() -> None:
    known = {"vm", "namespace", "node", "operation"}
    tables = (VM_RULES, VMOP_RULES, BLOCKED_RULES, FENCE_RULES, TROUBLES)
    for rule in (rule for table in tables for rule in table.values()):
        asked = {field for _, field, _, _ in string.Formatter().parse(rule.way_out) if field}
        assert asked <= known, rule
        assert "{" not in Names("a", "b", "c", "d").fill(rule.way_out)
