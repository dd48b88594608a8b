"""docs/security.md as tables."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "security.md"


def table(first: str) -> list[list[str]]:
    """The rows of the table whose first column has that heading."""
    rows: list[list[str]] = []
    inside = False
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == first:
            inside = True
        elif inside and not set(line) <= set("|-"):
            rows.append(cells)
    return rows
