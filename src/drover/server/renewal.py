"""A server's own certificates are made anew while it runs, about a month before their end.

The supervisor asks every hour and starts its parts anew, one after the other, when there are new ones: some of them
read their files again by themselves, others never do. Servers that were made on one day would all do so on one day,
eleven months later; so each does on a day of its own, by its name.

It does not promise to renew the authorities, which last ten years and are the cluster's, not a server's.
"""

from __future__ import annotations

import datetime
import zlib
from collections.abc import Callable
from pathlib import Path

from drover.runtime.pki import RENEW_DAYS, ends, time_fault
from drover.server.config import ServerConfig
from drover.server.credentials import AUTHORITIES, LOOPBACK, ensure_plane, require_shared

_SPREAD_HOURS = 240  # ten days: the last server still has twenty to spare


def left_at_renewal(server: str) -> datetime.timedelta:
    """How much life a certificate of that server has left when it is made anew."""
    earlier = zlib.crc32(server.encode()) % _SPREAD_HOURS
    return datetime.timedelta(days=RENEW_DAYS) - datetime.timedelta(hours=earlier)


def _lasts(file: Path, now: datetime.datetime, until: datetime.datetime) -> bool:
    """A file that holds no certificate is made anew, too; and one that was made while the clock was ahead."""
    try:
        return not time_fault(file, now) and ends(file) > until
    except ValueError:
        return False


class Renewal:
    """``renew`` is told the time by ``now``."""

    def __init__(self, config: ServerConfig, now: Callable[[], datetime.datetime]) -> None:
        self._config = config
        self._now = now
        self._before: dict[Path, bytes] = {}  # those of before a renewal that broke off

    def renew(self) -> list[str]:
        """The certificates that were made, if it was time. Raises OSError, ValueError, ControlPlaneError: to be tried
        again, however far it got.
        """
        plane, now = self._config.plane, self._now()
        files = [file for file in plane.pki.glob("*.crt") if file.stem not in AUTHORITIES]
        soon = now + left_at_renewal(self._config.name)
        if not self._before and all(_lasts(file, now, soon) for file in files):
            return []
        self._before = self._before or {file: file.read_bytes() for file in files}
        require_shared(plane.pki, now)
        more = self._config.more_names
        ensure_plane(plane.pki, plane.kubeconfig, plane.address, LOOPBACK, now, more)
        made = [file.stem for file, was in self._before.items() if file.read_bytes() != was]
        self._before = {}
        return made
