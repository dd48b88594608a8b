"""Fetches one URL into one file, counting and hashing on the way. The only HTTP client among the controllers.

Every wait and size is bounded: connecting, silence between two reads, the whole fetch, redirects, bytes. ``FetchError``
says whether trying again can help. Proxies of the environment are honoured. Where a URL may lead is ``guard``'s matter;
redirects are followed by hand, so that each of their hops is judged. No message shows more of a URL than scheme, host
and path: the rest may be a password or a signature.
"""

from __future__ import annotations

import asyncio
import hashlib
import stat
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp
from aiohttp.helpers import get_env_proxy_for_url
from yarl import URL

from drover.api.kinds.image import shown_url
from drover.controllers.images.guard import Closed, Guard, GuardedResolver

MOST_BYTES = 256 * 2**30
CHUNK_BYTES = 2**20
CONNECT_S = 15.0
SILENCE_S = 60.0
WHOLE_S = 6 * 3600.0
MOST_REDIRECTS = 5
_PASSING_STATUS = (408, 425, 429)
_REDIRECTS = (301, 302, 303, 307, 308)

Fetched = Callable[[int, int], None]  # bytes so far, bytes in all (0: not known)


class FetchError(Exception):
    """``again``: it may work later."""

    def __init__(self, message: str, again: bool) -> None:
        super().__init__(message)
        self.again = again


@dataclass(frozen=True)
class Source:
    """``checksums`` by algorithm, lower case hex. ``trusted``: an administrator wrote the URL, so it may name this
    host, as it may name its files; what it redirects to may not."""

    url: str
    checksums: dict[str, str]
    trusted: bool = False


class Fetcher(Protocol):
    async def fetch(self, source: Source, target: Path, progress: Fetched) -> None:
        """Put the content at ``target``, with its checksums verified. Raises FetchError."""
        ...


class UrlFetcher:
    """``closed`` directories are never read through file URLs: they hold other people's disks."""

    def __init__(
        self,
        closed: tuple[Path, ...] = (),
        most_bytes: int = MOST_BYTES,
        guard: Guard | None = None,
    ) -> None:
        self._closed = tuple(path.resolve() for path in closed)
        self._most_bytes = most_bytes
        self._guard = guard or Guard()

    async def fetch(self, source: Source, target: Path, progress: Fetched) -> None:
        hashes = {name: hashlib.new(name) for name in source.checksums}
        opened = self._file if source.url.lower().startswith("file:") else self._http
        shown = shown_url(source.url)
        try:
            async with opened(source) as (chunks, total):
                if total > self._most_bytes:
                    raise FetchError(
                        f"{total} bytes are more than the {self._most_bytes} allowed", False
                    )
                done = 0
                with target.open("wb") as file:
                    async for chunk in chunks:
                        done += len(chunk)
                        if done > self._most_bytes:
                            raise FetchError(
                                f"more than the {self._most_bytes} bytes allowed", False
                            )
                        for digest in hashes.values():
                            digest.update(chunk)
                        file.write(chunk)
                        progress(done, total)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise FetchError(
                f"cannot fetch {shown}: {str(error) or type(error).__name__}", True
            ) from error
        except OSError as error:
            raise FetchError(f"cannot store {shown}: {error.strerror}", True) from error
        for name, digest in hashes.items():
            if digest.hexdigest() != source.checksums[name].lower():
                raise FetchError(
                    f"{name} is {digest.hexdigest()}, expected {source.checksums[name].lower()}",
                    False,
                )

    @asynccontextmanager
    async def _http(self, source: Source) -> AsyncIterator[tuple[AsyncIterator[bytes], int]]:
        url = _parsed(source.url)
        for hop in range(MOST_REDIRECTS + 1):
            trusted = source.trusted and hop == 0
            async with self._session(url, trusted) as session, _get(session, url) as answer:
                if answer.status in _REDIRECTS and "Location" in answer.headers:
                    url = _parsed(str(url.join(URL(answer.headers["Location"]))))
                    continue
                if answer.status != 200:
                    again = answer.status >= 500 or answer.status in _PASSING_STATUS
                    shown = shown_url(str(url))
                    raise FetchError(f"{shown} answers {answer.status} {answer.reason}", again)
                yield answer.content.iter_chunked(CHUNK_BYTES), answer.content_length or 0
                return
        shown = shown_url(source.url)
        raise FetchError(f"cannot fetch {shown}: more than {MOST_REDIRECTS} redirects", True)

    @asynccontextmanager
    async def _session(self, url: URL, trusted: bool) -> AsyncIterator[aiohttp.ClientSession]:
        """To fetch this URL with. Raises FetchError where it leads to a closed address."""
        limits = aiohttp.ClientTimeout(total=WHOLE_S, sock_connect=CONNECT_S, sock_read=SILENCE_S)
        resolver = None
        if not trusted:
            try:
                await self._guard.check(url.host or "")
            except Closed as closed:
                raise FetchError(
                    f"{shown_url(str(url))} is not fetched: {closed}; serve the image elsewhere, or let an "
                    "administrator make a ClusterVirtualImage of it",
                    False,
                ) from closed
            resolver = None if _proxied(url) else GuardedResolver(self._guard)
        connector = aiohttp.TCPConnector(resolver=resolver)
        async with aiohttp.ClientSession(
            timeout=limits, trust_env=True, auto_decompress=False, connector=connector
        ) as session:
            yield session

    @asynccontextmanager
    async def _file(self, source: Source) -> AsyncIterator[tuple[AsyncIterator[bytes], int]]:
        url = source.url
        parsed = urllib.parse.urlsplit(url)
        path = Path(urllib.request.url2pathname(parsed.path))
        if parsed.netloc not in ("", "localhost"):
            raise FetchError(f"{url} names another host; a file URL begins with file:///", False)
        real = path.resolve()  # noqa: ASYNC240 - local, and before anything is copied
        if any(real.is_relative_to(closed) for closed in self._closed):
            raise FetchError(f"{path} is among drover's own files", False)
        try:
            file = real.open("rb")
        except OSError as error:
            raise FetchError(f"{path}: {error.strerror}", False) from error
        with file:
            facts = real.stat()
            if not stat.S_ISREG(facts.st_mode):
                raise FetchError(f"{path} is no regular file", False)

            async def chunks() -> AsyncIterator[bytes]:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
                    await asyncio.sleep(0)

            yield chunks(), facts.st_size


def _parsed(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError as error:
        raise FetchError(f"{shown_url(text)} is no URL", False) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise FetchError(f"{shown_url(text)}: only http and https lead to images", False)
    return url


def _proxied(url: URL) -> bool:
    try:
        get_env_proxy_for_url(url)
    except LookupError:
        return False
    return True


def _get(
    session: aiohttp.ClientSession, url: URL
) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
    return session.get(url, allow_redirects=False, headers={"Accept-Encoding": "identity"})
