"""The times of fencing, and the inequalities between them: pure arithmetic, for agent, controllers and `timing`.

One number is chosen, the *timeout* (mostly by a profile: ``profiles``): so long after its last acknowledged renewal a
node's VMs are dead. The rest follows from it:

    x = 0 (deadline) or 2 T (a device that is fed and fires after T)    A = timeout - x
    F = k (A + x) + K    how long a node's version must have stood still before it is Fenced
    W = k (H + x)        how old every voucher for it must be

k allows for clocks that run at different rates, K for the time to kill and for writes that a dead host's storage still
lands. tests/proof searches the rule behind F and W; docs/timing.md has the words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RATE_ERROR = 0.005  # of a host's clock
RATE = (1 + RATE_ERROR) / (1 - RATE_ERROR)  # k: the slowest clock against the fastest
ROSTER_MOST = 7
PEER_PORT = 10260  # where nodes ask each other for vouchers
MOST_RENEW_S = 2.0
MOST_PAUSE_S = 0.5
ROUND_TRIP_S = 0.1
KILL_S = 1.0  # from the deadline to the last QEMU's end
IO_S = 2.0  # a write under way lands no later than so long after its host's end

_DURATION = re.compile(r"([0-9]+)(ms|s|m|h)")
_MOST_MS = 1e15
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration_s(text: str) -> float:
    """``60s``, ``2m``. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration; write for example 6s or 1m")
    return int(match[1]) * _UNIT_S[match[2]]


@dataclass(frozen=True)
class Timing:
    """All times of one node group's fencing, in seconds."""

    timeout_s: float
    kick_s: float = (
        0.0  # T: effective timeout of a device that is fed; 0: the watchdog is told a deadline
    )
    kill_s: float = KILL_S
    io_s: float = IO_S

    @property
    def slack_s(self) -> float:
        """x: what a pause between check and feeding can add."""
        return 2 * self.kick_s

    @property
    def age_s(self) -> float:
        """A: the oldest acknowledged renewal on which VMs live."""
        return self.timeout_s - self.slack_s

    @property
    def hold_s(self) -> float:
        """H: the life that a completed hold round gives, from its beginning."""
        return self.age_s

    @property
    def ask_s(self) -> float:
        """B: older than this a node asks its peers for vouchers, and gives some. Safety does not rest on it; an early
        start leaves room to a busy host."""
        return 1.25 * self.renew_s

    @property
    def renew_s(self) -> float:
        """R: between two renewals. One without an answer for so long is given up."""
        return _renew_s(self.age_s)

    @property
    def pause_s(self) -> float:
        """P: between two hold rounds."""
        return min(MOST_PAUSE_S, self.age_s / 12)

    @property
    def suspect_s(self) -> float:
        """Two renewals are missing."""
        return _suspect_s(self.renew_s)

    @property
    def dead_s(self) -> float:
        """Without a hold round a node's VMs are dead so long after its version was seen first, but for K."""
        return RATE * (self.age_s + self.slack_s)

    @property
    def fence_s(self) -> float:
        """F."""
        return self.dead_s + self.late_s

    @property
    def late_s(self) -> float:
        """K: from a node's deadline until nothing of it runs and nothing it wrote is under way."""
        return self.kill_s + self.io_s

    @property
    def window_s(self) -> float:
        """W."""
        return RATE * (self.hold_s + self.slack_s)

    def problems(self) -> list[str]:
        """Why these times may not be used, each with its arithmetic. Empty: they may."""
        if self.age_s <= 0:
            return [
                f"watchdog.timeout {_s(self.timeout_s)} leaves no life: A = timeout - 2 T = "
                f"{_s(self.timeout_s)} - 2 x {_s(self.kick_s)} = {_s(self.age_s)}, which must be above 0"
            ]
        found = []
        needed = self.ask_s + self.renew_s + self.pause_s + 2 * ROUND_TRIP_S
        if needed > self.age_s:
            found.append(
                f"watchdog.timeout {_s(self.timeout_s)} is too short to ask peers in time: B + R + P + 2 rtt = "
                f"{_s(self.ask_s)} + {_s(self.renew_s)} + {_s(self.pause_s)} + {_s(2 * ROUND_TRIP_S)} = "
                f"{_s(needed)}, which must not be above A = {_s(self.age_s)}"
            )
        if self.suspect_s > self.dead_s:
            found.append(
                f"watchdog.timeout {_s(self.timeout_s)}: a node would be Suspect ({_s(self.suspect_s)}) after its VMs "
                f"are dead ({_s(self.dead_s)})"
            )
        return found


def _s(seconds: float) -> str:
    return f"{round(seconds, 2):g} s"


def _renew_s(age_s: float) -> float:
    return min(MOST_RENEW_S, age_s / 3)


def _suspect_s(renew_s: float) -> float:
    return 2 * renew_s + 0.5


@dataclass(frozen=True)
class Armed:
    """A node's own word, committed with its renewals: its VMs do not outlive these times. None of it can be taken back
    but by a later renewal that is committed, so it holds whatever its group says meanwhile."""

    watchdog: str  # deadline | device
    age_s: float
    hold_s: float
    slack_s: float
    late_s: float = KILL_S + IO_S  # K

    @staticmethod
    def of(timing: Timing, watchdog: str) -> Armed:
        return Armed(watchdog, timing.age_s, timing.hold_s, timing.slack_s, timing.late_s)

    def dead_s(self) -> float:
        return RATE * (self.age_s + self.slack_s)

    def window_s(self) -> float:
        return RATE * (self.hold_s + self.slack_s)

    def suspect_s(self) -> float:
        return _suspect_s(_renew_s(self.age_s))


UNARMED_SUSPECT_S = _suspect_s(MOST_RENEW_S)  # a node that promises nothing renews at its leisure


@dataclass(frozen=True)
class Evidence:
    """What a renewal says (``drover.dev/evidence`` on the node's Lease): the content of rule A1.

    ``vouched`` gives for each peer how old the last voucher for it was when this was written; a peer that is absent
    was never vouched for in this agent's life, which is ``life_s`` old. ``promises`` names inquests by peer."""

    attempt: str
    boot: str
    machine: str
    seq: int
    armed: Armed | None = None
    life_s: float = 0.0
    vouched: Mapping[str, float] | None = None
    promises: Mapping[str, str] | None = None
    roster: int = 0  # generation it goes by; 0: none

    def voucher_age_s(self, node: str) -> float:
        """Of its last voucher for ``node``. After an agent's restart all may have been given just before it."""
        return min((self.vouched or {}).get(node, self.life_s), self.life_s)

    def dump(self) -> str:
        armed = self.armed
        said: dict[str, Any] = {
            "attempt": self.attempt,
            "boot": self.boot,
            "machine": self.machine,
            "seq": self.seq,
            "lifeMs": _floor_ms(self.life_s),
            "roster": self.roster,
        }
        if armed is not None:
            said["armed"] = {
                "watchdog": armed.watchdog,
                "ageMs": _ceil_ms(armed.age_s),
                "holdMs": _ceil_ms(armed.hold_s),
                "slackMs": _ceil_ms(armed.slack_s),
                "lateMs": _ceil_ms(armed.late_s),
            }
        if self.vouched:
            said["vouchedMs"] = {node: _floor_ms(age) for node, age in sorted(self.vouched.items())}
        if self.promises:
            said["promises"] = dict(sorted(self.promises.items()))
        return json.dumps(said)

    @staticmethod
    def load(text: str) -> Evidence:
        """Raises ValueError on anything that this program did not write."""
        try:
            said = json.loads(text)
            armed = said.get("armed")
            return Evidence(
                attempt=str(said["attempt"]),
                boot=str(said["boot"]),
                machine=str(said["machine"]),
                seq=int(said["seq"]),
                armed=_load_armed(armed) if armed is not None else None,
                life_s=_age_s(said["lifeMs"]),
                vouched={str(n): _age_s(ms) for n, ms in said.get("vouchedMs", {}).items()},
                promises={str(n): str(i) for n, i in said.get("promises", {}).items()},
                roster=int(said["roster"]),
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"no evidence of ours: {error!r}") from error


def _load_armed(said: Mapping[str, Any]) -> Armed:
    ages = [_age_s(said[name]) for name in ("ageMs", "holdMs", "slackMs")]
    late = {"late_s": _age_s(said["lateMs"])} if "lateMs" in said else {}  # 0.1 did not say it
    return Armed(str(said["watchdog"]), *ages, **late)


def _age_s(ms: Any) -> float:
    """Raises ValueError. No comparison holds of NaN, which JSON has: an age of that kind would prove anything."""
    if not 0 <= ms <= _MOST_MS:
        raise ValueError(f"{ms!r} is no age in ms")
    return float(ms) / 1000


def _floor_ms(seconds: float) -> int:
    """Ages are told too young rather than too old: the controller then waits longer."""
    return max(0, int(seconds * 1000))


def _ceil_ms(seconds: float) -> int:
    return -int(-seconds * 1000 // 1)


def vouchers_needed(members: int, inside: bool) -> int:
    """V: of a roster of so many, to hold. A node outside it needs one more, so that V + q > number of peers."""
    return members // 2 + (0 if inside else 1)


def clean_needed(members: int) -> int:
    """q: peers that must promise and be clean before a node may be fenced."""
    return members - members // 2


def most_unhealthy(limit: int | None, nodes: int) -> int:
    """How many nodes of a group of so many may be silent at once: its ``limit``, else fewer than half, at least one."""
    return max(1, (nodes - 1) // 2) if limit is None else limit
