"""Whether this machine's clock and a server's agree: certificates and tokens go by them.

Asked before a machine joins, over a connection that trusts anybody, since with a wrong clock no certificate can be
trusted. So that is advice, and decides nothing that matters.
"""

from __future__ import annotations

import ssl
from email.utils import parsedate_to_datetime

import aiohttp

LIMIT_S = 5.0
MOST_OFF_S = 60.0


async def server_time(server: str, trusted: ssl.SSLContext | None = None) -> float | None:
    """What the server's clock says, in seconds since 1970; None when it does not answer, or is not ``trusted``."""
    try:
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=LIMIT_S), trust_env=False
            ) as session,
            session.get(f"{server}/readyz", ssl=trusted or False) as answer,
        ):
            return parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (aiohttp.ClientError, TimeoutError, OSError, KeyError, ValueError):
        return None


def clock_fault(server: str, theirs_s: float, ours_s: float) -> str:
    """What is wrong and what to do; empty when they agree."""
    off_s = ours_s - theirs_s
    if abs(off_s) <= MOST_OFF_S:
        return ""
    where = "ahead of" if off_s > 0 else "behind"
    return (
        f"the clock of this machine is {abs(off_s):.0f} s {where} that of {server}: set it right "
        "(timedatectl set-ntp true), then join again"
    )
