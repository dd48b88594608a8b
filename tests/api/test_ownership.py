"""Each line of docs/ownership.md is tried with a wrong writer, by a test of the line's name.

``vml.give`` is tried by ``test_vml_give`` in one of the ``test_ownership_*`` files; where a right
writer could be refused by mistake, the same test lets it write too.
"""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "ownership.md"


def test_every_line_has_a_test_and_every_test_a_line() -> None:
    lines = re.findall(r"^\| ([a-z.]+) \|", PAGE.read_text(), re.MULTILINE)
    lines.remove("line")
    tests = [
        name
        for file in sorted(Path(__file__).parent.glob("test_ownership_*.py"))
        for name in re.findall(r"^async def test_(\w+)\(", file.read_text(), re.MULTILINE)
    ]
    assert sorted(line.replace(".", "_") for line in lines) == sorted(tests)


def test_every_policy_holds_a_line() -> None:
    """The page names each policy that is shipped, and no other."""
    policies = Path(__file__).parents[2] / "src" / "drover" / "api" / "manifests" / "policies"
    shipped = {
        name
        for file in policies.glob("*.yaml")
        for name in re.findall(r"policyName: (\S+)", file.read_text())
    }
    assert set(re.findall(r"`(drover-[a-z-]+)`", PAGE.read_text())) == shipped
