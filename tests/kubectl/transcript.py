"""What kubectl printed, with everything that differs from run to run replaced: a golden file is compared with that.

``DROVER_GOLDEN=write`` writes the files anew; look at the difference before committing it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"
_RULES = (
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UID"),
    (re.compile(r"\b10\.66\.\d+\.\d+\b"), "ADDRESS"),
    (re.compile(r"\bvirtlab-pt-\d+\b"), "NODE"),
    (re.compile(r"\b(evict-linux-vm|d8v-vm-linux-vm|migrate-linux-vm)-[a-z0-9]{5}\b"), r"\1-XXXXX"),
    (re.compile(r"(?<![\w.-])(?:\d+d)?(?:\d+h)?(?:\d+m)?\d+s?(?:m|h|s|d)(?![\w.-])"), "AGE"),
    (re.compile(r"(?<![\w.-])<(?:invalid|unknown)>(?![\w.-])"), "AGE"),
    (re.compile(r" {2,}"), "  "),
    (re.compile(r" +$", re.MULTILINE), ""),
)


def normalised(text: str) -> str:
    """The text without ages, times, uids, addresses, nodes, random suffixes and column widths."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def assert_golden(name: str, *parts: str) -> None:
    """``parts`` are ``$ command`` lines and what was printed."""
    text = normalised("\n".join(part.rstrip("\n") for part in parts) + "\n")
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("DROVER_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs; DROVER_GOLDEN=write writes it anew"
