"""The times by which a simulated group is fenced, as a word: a profile's name, or a timeout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.api.profiles import LAB, PROFILES

if TYPE_CHECKING:
    from drover.api.wire import Object


def fencing_by(times: str) -> Object:
    """``spec.fencing`` for a profile's name, or for the profile lab with a timeout of its own (``6s``)."""
    if times in PROFILES:
        return {"mode": "Watchdog", "profile": times}
    return {"mode": "Watchdog", "profile": LAB.name, "watchdog": {"timeout": times}}
