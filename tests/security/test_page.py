"""Each line of docs/security.md is tried, by a test of its name: ``node.lease`` by ``test_node_lease``."""

from __future__ import annotations

import re
from pathlib import Path

from tests.security.page import table


def test_every_line_has_a_test() -> None:
    tests = {
        name
        for file in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", file.read_text(), re.MULTILINE)
    }
    lines = [f"test_{row[0].replace('.', '_')}" for row in table("line")]
    assert len(lines) > 15
    assert [line for line in lines if line not in tests] == []


def test_every_policy_that_is_named_is_shipped() -> None:
    policies = Path(__file__).parents[2] / "src" / "drover" / "api" / "manifests" / "policies"
    shipped = {
        name
        for file in policies.glob("*.yaml")
        for name in re.findall(r"policyName: (\S+)", file.read_text())
    }
    named = {name for row in table("line") for name in re.findall(r"`(drover-[a-z-]+)`", row[3])}
    assert named <= shipped
