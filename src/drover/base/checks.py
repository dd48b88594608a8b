"""Always-on invariants. A broken one is a bug of ours, never an operating error: it stops the process."""

from __future__ import annotations


class InvariantBroken(BaseException):
    """Deliberately no ``Exception``: no boundary that handles operating errors may swallow it."""


def require(condition: bool, message: str) -> None:
    """Raise InvariantBroken with ``message`` unless ``condition`` holds."""
    if not condition:
        raise InvariantBroken(message)
