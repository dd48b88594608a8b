"""The papers against the code: docs/timing.md names constants that are there, with the values they have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
_ROW = re.compile(r"^\| `([A-Za-z_]+)` \| ([^|]+) \| \[[^\]]+\]\(([^)]+)\)", re.MULTILINE)
ROWS = _ROW.findall((DOCS / "timing.md").read_text())


def test_there_are_rows():
    assert len(ROWS) > 25


@pytest.mark.parametrize(("name", "value", "link"), ROWS, ids=[row[0] for row in ROWS])
def test_a_limit_is_where_and_what_the_paper_says(name, value, link):
    source = (DOCS / link).read_text()
    found = re.search(rf"\b{name}\b(?:: [^=\n]+)? = (?:\(\s*)?(.*)", source)
    assert found, f"{link} has no {name}"
    number = re.match(r"[\d.]+", value)
    if number is None:
        return  # told in words
    unit = value.split()[1]
    written = found[1].replace("_", "").replace("3600.0", "3600").split("#")[0]
    product = re.match(r"(\d+(?:\.\d+)?)(?: \* (\d+))?", written)
    if product is None:
        return  # a value of several parts
    held = float(product[1]) * float(product[2] or 1)
    scale = {"h": 3600.0, "min": 60.0, "ms": 1.0 if name.lower().endswith("_ms") else 0.001}
    factor = scale.get(unit, 1000.0 if name.endswith("_MS") else 1.0)
    assert held == pytest.approx(float(number[0]) * factor)
