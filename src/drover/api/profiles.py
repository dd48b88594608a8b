"""The times of fencing by name: ``spec.fencing.profile`` of a NodeGroup.

A profile chooses two numbers of ``fencing.Timing``: the timeout, and how long storage may still land what a dead host
wrote. Everything else follows from them there, and is checked there. ``watchdog.timeout`` of the group replaces the
profile's timeout, never its word about the storage.
"""

from __future__ import annotations

from dataclasses import dataclass

from drover.api.fencing import Timing


@dataclass(frozen=True)
class Profile:
    """``begins_s``: a VM of a node that lost its power starts elsewhere within it, unless the machine is overloaded: F,
    and what the controllers need. ``meaning``: for whom it is, in a few words."""

    name: str
    timeout_s: float
    io_s: float
    begins_s: float
    meaning: str

    def timing(self, kick_s: float = 0.0, timeout_s: float | None = None) -> Timing:
        """On a node whose watchdog device fires ``kick_s`` after it was fed; 0: it is told a deadline."""
        return Timing(self.timeout_s if timeout_s is None else timeout_s, kick_s, io_s=self.io_s)


# Disks of a lab are files of the machine itself: nothing lands late. Storage of hosts is given 5 s.
FAST = Profile(
    "fast", 3.0, 2.0, 7.0, "a quiet lab; a node that stands still for 2 s may lose its VMs"
)
LAB = Profile("lab", 6.0, 2.0, 11.0, "a lab")
HOST = Profile(
    "host", 22.0, 5.0, 30.0, "hosts, with room for a watchdog device of 8 s; the default"
)
TOLERANT = Profile("tolerant", 60.0, 5.0, 70.0, "hosts that are busy, or far from the API")
DEFAULT = HOST
PROFILES = {profile.name: profile for profile in (FAST, LAB, HOST, TOLERANT)}


def profile(name: str) -> Profile:
    """Raises ValueError for a name that is none."""
    if name not in PROFILES:
        raise ValueError(f"{name!r} is no profile; there are {', '.join(PROFILES)}")
    return PROFILES[name]
