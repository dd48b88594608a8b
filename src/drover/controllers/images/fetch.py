"""Fetches one URL into one file, counting and hashing on the way. The only HTTP client among the controllers.

Every wait and size is bounded: connecting, silence between two reads, the whole fetch, redirects, bytes. ``FetchError``
says whether trying again can help. Proxies of the environment are honoured.
"""

from __future__ import annotations

import asyncio
import hashlib
import stat
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp

MOST_BYTES = 256 * 2**30
CHUNK_BYTES = 2**20
CONNECT_S = 15.0
SILENCE_S = 60.0
WHOLE_S = 6 * 3600.0
MOST_REDIRECTS = 5
_PASSING_STATUS = (408, 425, 429)

Fetched = Callable[[int, int], None]  # bytes so far, bytes in all (0: not known)


class FetchError(Exception):
    """``again``: it may work later."""

    def __init__(self, message: str, again: bool) -> None:
        super().__init__(message)
        self.again = again


@dataclass(frozen=True)
class Source:
    """``checksums`` by algorithm, lower case hex."""

    url: str
    checksums: dict[str, str]


class Fetcher(Protocol):
    async def fetch(self, source: Source, target: Path, progress: Fetched) -> None:
        """Put the content at ``target``, with its checksums verified. Raises FetchError."""
        ...


class UrlFetcher:
    """``closed`` directories are never read through file URLs: they hold other people's disks."""

    def __init__(self, closed: tuple[Path, ...] = (), most_bytes: int = MOST_BYTES) -> None:
        self._closed = tuple(path.resolve() for path in closed)
        self._most_bytes = most_bytes

    async def fetch(self, source: Source, target: Path, progress: Fetched) -> None:
        hashes = {name: hashlib.new(name) for name in source.checksums}
        opened = self._file if source.url.startswith("file:") else self._http
        try:
            async with opened(source.url) as (chunks, total):
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
                f"cannot fetch {source.url}: {str(error) or type(error).__name__}", True
            ) from error
        except OSError as error:
            raise FetchError(f"cannot store {source.url}: {error.strerror}", True) from error
        for name, digest in hashes.items():
            if digest.hexdigest() != source.checksums[name].lower():
                raise FetchError(
                    f"{name} is {digest.hexdigest()}, expected {source.checksums[name].lower()}",
                    False,
                )

    @asynccontextmanager
    async def _http(self, url: str) -> AsyncIterator[tuple[AsyncIterator[bytes], int]]:
        limits = aiohttp.ClientTimeout(total=WHOLE_S, sock_connect=CONNECT_S, sock_read=SILENCE_S)
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=limits, trust_env=True, auto_decompress=False
                ) as session,
                session.get(
                    url, max_redirects=MOST_REDIRECTS, headers={"Accept-Encoding": "identity"}
                ) as answer,
            ):
                if answer.status != 200:
                    again = answer.status >= 500 or answer.status in _PASSING_STATUS
                    raise FetchError(f"{url} answers {answer.status} {answer.reason}", again)
                yield answer.content.iter_chunked(CHUNK_BYTES), answer.content_length or 0
        except aiohttp.InvalidURL as error:
            raise FetchError(f"{url} is no URL", False) from error

    @asynccontextmanager
    async def _file(self, url: str) -> AsyncIterator[tuple[AsyncIterator[bytes], int]]:
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
