"""The machine code of ``guest.s``: a guest in one boot sector. ``test_guest`` builds it again where
it can.
"""

from __future__ import annotations

import base64
from pathlib import Path

_CODE = """
    +jHAjtC8AHyO2OoPfAAADwEW+HwPIMAMAQ8iwLsIAI7DJP4PIsAx247D+7oCBrgAAe9mMdtmMe1mQ2aJ2bQIZsHBBIjI
    JA8EMDw5dgIEJ+iGAP7MdemwCuh9AGaF7XQbZr8AAAABJmdmiR9mgccAEAAAZoH/AAAAAnLrZosObAS6AAbt9sQBdS20
    Ac0WdBYw5M0WPHJ0GDxwdBs8eHQfPGR1AmZF9GY7DmwEdNPribAGuvkM7vS6BAa4ACDv9Ga4ECgAgLr4DGbvuvwMZu0k
    8CZnxgAB6WD/ULr9A+yoIHT7WLr4A+7DkAAAAAAAAAAA//8AAACSzwAPAOh8
"""
_DISK_BYTES = 1 << 20


def boot_sector() -> bytes:
    """512 bytes that a BIOS starts."""
    return base64.b64decode(_CODE).ljust(510, b"\0") + b"\x55\xaa"


def write_disk(path: Path) -> None:
    """A raw disk image with the guest on it."""
    path.write_bytes(boot_sector().ljust(_DISK_BYTES, b"\0"))


def counters(serial: bytes) -> list[int]:
    """Every count that the guest printed, in order."""
    lines = serial.replace(b"\r", b"\n").split(b"\n")[:-1]
    return [int(line[-8:], 16) for line in lines if _is_count(line[-8:])]


def _is_count(text: bytes) -> bool:
    return len(text) == 8 and all(digit in b"0123456789abcdef" for digit in text)
