"""docs/safety.md names scenarios, tests and mutants: all of them exist, and no mutant or rule is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.sim.mutants import MUTANTS, ROOT, RULES

PAGE = (ROOT / "docs" / "safety.md").read_text()
ALL_ROWS = {
    cells[0]: cells[1:]
    for line in PAGE.splitlines()
    if re.match(r"\| \d+ \|", line)
    for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
}

# The rules of fencing have tests of their own kind (docs name them), and no mutant in this suite.
OTHERS = ("8", "9", "15", "16")
ROWS = {rule: cells for rule, cells in ALL_ROWS.items() if rule not in OTHERS}


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def names_in(path: str) -> set[str]:
    text = (ROOT / path).read_text()
    return set(re.findall(r"^ *(?:async )?def (test_\w+)", text, re.MULTILINE))


@pytest.mark.parametrize("rule", ROWS)
def test_what_a_rule_names_exists(rule: str) -> None:
    _says, where, scenarios, evidence, mutants = ROWS[rule]
    source = Path("src/drover")
    assert all((ROOT / source / file).exists() for file in quoted(where))
    assert quoted(scenarios)
    assert set(quoted(scenarios)) <= names_in(RULES)
    assert all(name.startswith(f"test_rule_{rule}_") for name in quoted(scenarios))
    assert quoted(evidence)
    for named in quoted(evidence):
        path, _, name = named.partition("::")
        assert name in names_in(path), named
    assert quoted(mutants)
    assert set(quoted(mutants)) <= {mutant.name for mutant in MUTANTS}


def test_every_scenario_and_mutant_of_a_rule_is_named() -> None:
    named = [name for row in ROWS.values() for cell in (row[2], row[4]) for name in quoted(cell)]
    assert names_in(RULES) <= set(named)
    ours = [m.name for m in MUTANTS if m.suite == RULES and m.name.startswith("rule ")]
    assert set(ours) <= set(named)
