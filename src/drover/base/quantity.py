"""Kubernetes quantities as exact integers: ``500m`` CPU is 500 milli, ``4Gi`` memory is 4294967296 bytes.

Amounts below zero are refused: nothing here has such a thing.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_SUFFIX = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000),
    "": Fraction(1), "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9),
    "T": Fraction(10**12), "P": Fraction(10**15), "E": Fraction(10**18),
    "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30),
    "Ti": Fraction(2**40), "Pi": Fraction(2**50), "Ei": Fraction(2**60),
}  # fmt: skip
_NUMBER = r"\+?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_FORM = re.compile(_NUMBER + r"(?:[eE]([+-]?[0-9]{1,2})|([numkMGTPE]|[KMGTPE]i)?)")


class BadQuantity(ValueError):
    """The text is no quantity."""


@lru_cache(maxsize=4096)  # the same few quantities are read again and again
def parse(text: str | int) -> Fraction:
    """The exact value. Raises BadQuantity."""
    match = _FORM.fullmatch(str(text))
    if match is None:
        raise BadQuantity(f"{text!r} is no quantity; write for example 500m, 2 or 4Gi")
    number, exponent, suffix = match.groups()
    if exponent is not None:
        return Fraction(number) * Fraction(10) ** int(exponent)
    return Fraction(number) * _SUFFIX[suffix or ""]


def cpu_milli(text: str | int) -> int:
    """Milli-CPU, rounded up."""
    return -int(-parse(text) * 1000 // 1)


def size_bytes(text: str | int) -> int:
    """Bytes, rounded up."""
    return -int(-parse(text) // 1)


def cpu_text(milli: int) -> str:
    """Canonical CPU: ``2`` or ``1500m``."""
    return f"{milli}m" if milli % 1000 else str(milli // 1000)


def bytes_text(count: int) -> str:
    """Canonical size with the largest binary suffix that divides it."""
    for suffix in ("Pi", "Ti", "Gi", "Mi", "Ki"):
        unit = int(_SUFFIX[suffix])
        if count and count % unit == 0:
            return f"{count // unit}{suffix}"
    return str(count)
