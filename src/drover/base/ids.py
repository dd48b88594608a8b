"""Chance and identity enter the program here: uids, name suffixes, jitter.

``RealIds`` draws from the operating system; ``SeededIds`` repeats, for the simulation and for tests.
"""

from __future__ import annotations

import hashlib
import random
import uuid
from typing import Protocol

# Kubernetes' alphabet for generated names: no vowels, no look-alikes.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def derived_suffix(text: str, length: int = 5) -> str:
    """A name part of the same alphabet that follows from ``text``: what is made twice by it is one. At most 32."""
    digest = hashlib.sha256(text.encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:length])


class Ids(Protocol):
    def uid(self) -> str:
        """A fresh UUID."""
        ...

    def suffix(self, length: int = 5) -> str:
        """A short random name part, of Kubernetes' alphabet."""
        ...

    def uniform(self) -> float:
        """Chance for jitter: a float in [0, 1)."""
        ...


class _Drawn:
    def __init__(self, source: random.Random) -> None:
        self._source = source

    def uid(self) -> str:
        return str(uuid.UUID(int=self._source.getrandbits(128), version=4))

    def suffix(self, length: int = 5) -> str:
        return "".join(self._source.choice(_ALPHABET) for _ in range(length))

    def uniform(self) -> float:
        return self._source.random()


class RealIds(_Drawn):
    """Drawn from the operating system's entropy."""

    def __init__(self) -> None:
        super().__init__(random.SystemRandom())


class SeededIds(_Drawn):
    """The same seed gives the same ids in every process."""

    def __init__(self, seed: int | str) -> None:
        super().__init__(random.Random(f"ids-{seed}"))
