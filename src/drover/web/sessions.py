"""Who has logged in: sessions, and the one-time invitations that `drover web` prints.

A session holds the credential of whoever logged in, in memory alone, and everything it does is done with it. It is
known by two random words: the *key* in a cookie that scripts cannot read, and the *token* that each request that
changes something must repeat in a header, which a foreign page cannot know. Both have 256 bits; sessions are found by
the hash of their key, which itself is kept nowhere. A session ends after ``LONGEST_S``, after ``IDLE_S`` without a
request or an open page, by log-out, or when the API no longer takes its credential.

An invitation is a random code for one log-in with the credential of whoever started the server.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drover.base.clock import Clock
    from drover.runtime.kubeconfig import Access
    from drover.web.feed import Feed

LONGEST_S = 8 * 3600.0
IDLE_S = 3600.0
INVITATION_S = 900.0
MOST_SESSIONS = 32
LOOK_S = 5.0  # how often expiry is looked at


class TooManySessions(Exception):
    """The server holds as many sessions as it may."""


@dataclass
class Session:
    """One log-in."""

    user: str
    access: Access
    feed: Feed
    may: dict[str, bool]  # which buttons the API would carry out
    began_s: float
    seen_s: float
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    consoles: int = 0

    def expires_in_s(self, now_s: float) -> float:
        return max(0.0, self.began_s + LONGEST_S - now_s)


def hashed(word: str) -> str:
    return hashlib.sha256(_bytes(word)).hexdigest()


def same(one: str, other: str) -> bool:
    """Whether both words are one, in a time that does not tell how much of them is."""
    return secrets.compare_digest(_bytes(one), _bytes(other))


def _bytes(word: str) -> bytes:
    """Of whatever somebody has sent: no character is too strange."""
    return word.encode(errors="surrogatepass")


class Sessions:
    """All of them. ``sweep`` runs beside the server."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_key: dict[str, Session] = {}

    def add(self, session: Session) -> str:
        """The key for the cookie. Raises TooManySessions."""
        if len(self._by_key) >= MOST_SESSIONS:
            raise TooManySessions
        key = secrets.token_urlsafe(32)
        self._by_key[hashed(key)] = session
        return key

    def find(self, key: str) -> Session | None:
        """The living session of that key; being asked for keeps it alive."""
        session = self._by_key.get(hashed(key))
        if session is None or session.feed.ended or self._over(session):
            return None
        session.seen_s = self._clock.monotonic()
        return session

    async def remove(self, key: str, why: str) -> None:
        session = self._by_key.pop(hashed(key), None)
        if session is not None:
            session.feed.end(why)
            await session.feed.aclose()

    async def sweep(self) -> None:
        """End what is over, for ever."""
        while True:
            for key, session in list(self._by_key.items()):
                if session.feed.pages and not self._over(session):
                    session.seen_s = self._clock.monotonic()
                broken = "drover has made a mistake; log in again" if session.feed.failure else ""
                why = session.feed.ended or self._over(session) or broken
                if why:
                    self._by_key.pop(key, None)
                    session.feed.end(why)
                    await session.feed.aclose()
            await self._clock.sleep(LOOK_S)

    async def aclose(self) -> None:
        while self._by_key:
            _, session = self._by_key.popitem()
            session.feed.end("the server was stopped")
            await session.feed.aclose()

    def _over(self, session: Session) -> str:
        now_s = self._clock.monotonic()
        if now_s - session.began_s >= LONGEST_S:
            return "this log-in has lasted its eight hours"
        if now_s - session.seen_s >= IDLE_S:
            return "this log-in was not used for an hour"
        return ""


class Invitations:
    """At most one is open; a new one replaces it."""

    def __init__(self, clock: Clock, access: Access | None, issued: Callable[[str], None]) -> None:
        self._clock = clock
        self._access = access  # of whoever started the server
        self._issued = issued
        self._open = ""
        self._until_s = 0.0

    def issue(self) -> None:
        """Make one, and hand the code to whoever shows it."""
        if self._access is None:
            return
        code = secrets.token_urlsafe(32)
        self._open = hashed(code)
        self._until_s = self._clock.monotonic() + INVITATION_S
        self._issued(code)

    def redeem(self, code: str) -> Access | None:
        """The credential, once; None for a code that is unknown, used or too old. A new code follows the open one."""
        if not self._open or not same(hashed(code), self._open):
            return None
        late = self._clock.monotonic() >= self._until_s
        self.issue()
        return None if late else self._access
