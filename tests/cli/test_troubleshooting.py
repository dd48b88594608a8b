"""docs/troubleshooting.md: each row says a way out, by commands that there are and in the words that the code says."""

from __future__ import annotations

import re
from pathlib import Path

from drover.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| what is seen"))
]


def test_each_symptom_has_a_way_out() -> None:
    assert len(ROWS) > 40
    assert [row for row in ROWS if len(row) != 3 or not row[0] or not row[2]] == []


def test_commands_are_there() -> None:
    said = re.findall(r"`drover (?:--kubeconfig FILE )?([a-z][-a-z]*)", PAGE)
    assert set(said) <= set(COMMANDS)


def test_words_are_the_codes_own() -> None:
    """Reasons of conditions and errors, annotations and metrics."""
    code = "\n".join(
        path.read_text()
        for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "deploy/helm").rglob("*.*")]
        if path.is_file()
    )
    seen = " ".join(row[0] for row in ROWS)
    words = re.findall(r"`([A-Z][a-z]+[A-Z]\w+|drover[._][-\w/.]+)`", seen)
    assert len(words) > 10
    assert [word for word in words if word not in code] == []
