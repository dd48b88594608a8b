"""Debian's Prometheus, where ./test has unpacked it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

MONITORING = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"


def program(name: str) -> str:
    """Path of ``prometheus`` or ``promtool``. Skips the test where there is none."""
    found = Path(os.environ.get("DROVER_PROMETHEUS", "/nonexistent")) / name
    if not found.exists():
        pytest.skip(f"there is no {name}: run through ./test")
    return str(found)
