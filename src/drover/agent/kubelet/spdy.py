"""The frames of SPDY 3.1, as far as kubectl's port-forward speaks it: bytes to frames and back. Pure.

kubectl multiplexes its connections by SPDY inside one WebSocket. Understood are the frames that its library sends; what
carries nothing for us (settings, windows: the library knows no flow control) is passed over. Header blocks are zlib
texts with a common dictionary, one stream for all frames of a direction (SPDY protocol, draft 3.1, 2.6.10.1).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY, HEADERS = 1, 2, 3, 6, 7, 8
FIN = 1
VERSION = 3
MOST_FRAME_BYTES = 1024 * 1024
MOST_HEADER_BYTES = 16 * 1024
_HEAD = struct.Struct(">II")
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200|OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_REST = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(
        struct.pack(">I", len(word)) + word.encode()
        for word in (one.replace("|", " ") for one in _WORDS.split())
    )
    + _REST.encode()
)


class BadFrames(Exception):
    """The other side does not speak as agreed; ``str()`` says how."""


@dataclass(frozen=True)
class Frame:
    """A data frame has ``kind`` 0. ``number`` is the stream's, or a ping's."""

    kind: int
    number: int
    data: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    fin: bool = False


class Reader:
    """Bytes in any pieces become frames."""

    def __init__(self) -> None:
        self._rest = b""
        self._unzip = zlib.decompressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now. Raises BadFrames."""
        self._rest += data
        while len(self._rest) >= _HEAD.size:
            head, sizes = _HEAD.unpack_from(self._rest)
            size = sizes & 0xFFFFFF
            if size > MOST_FRAME_BYTES:
                raise BadFrames(f"a frame of {size} bytes; {MOST_FRAME_BYTES} are allowed")
            end = _HEAD.size + size
            if len(self._rest) < end:
                return
            body, self._rest = self._rest[_HEAD.size : end], self._rest[end:]
            fin = bool(sizes >> 24 & FIN)
            if head >> 31:
                yield self._control(head, body, fin)
            else:
                yield Frame(0, head, body, fin=fin)

    def _control(self, head: int, body: bytes, fin: bool) -> Frame:
        version, kind = head >> 16 & 0x7FFF, head & 0xFFFF
        if version != VERSION:
            raise BadFrames(f"SPDY version {version}; {VERSION} is spoken here")
        before_headers = {SYN_STREAM: 10, SYN_REPLY: 4, HEADERS: 4}.get(kind)
        if len(body) < max(4, before_headers or 0):
            raise BadFrames("a frame is too short")
        number = int.from_bytes(body[:4], "big") & 0x7FFFFFFF
        headers = self._headers(body[before_headers:]) if before_headers else {}
        # The number of a ping has no bit to spare.
        number = int.from_bytes(body[:4], "big") if kind == PING else number
        return Frame(kind, number, headers=headers, fin=fin)

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            text = self._unzip.decompress(block, MOST_HEADER_BYTES)
        except zlib.error as error:
            raise BadFrames(f"headers cannot be read: {error}") from error
        if self._unzip.unconsumed_tail:
            raise BadFrames(f"headers of more than {MOST_HEADER_BYTES} bytes")
        try:
            (count,), at = struct.unpack_from(">I", text), 4
            words = []
            for _ in range(2 * count):
                (size,) = struct.unpack_from(">I", text, at)
                words.append(text[at + 4 : at + 4 + size].decode())
                at += 4 + size
        except (struct.error, UnicodeDecodeError) as error:
            raise BadFrames(f"headers cannot be read: {error}") from error
        return dict(zip(words[::2], words[1::2], strict=True))


class Writer:
    """Frames become bytes."""

    def __init__(self) -> None:
        self._zip = zlib.compressobj(zdict=DICTIONARY)

    def data(self, stream: int, data: bytes, fin: bool = False) -> bytes:
        return _HEAD.pack(stream, (FIN << 24 if fin else 0) | len(data)) + data

    def ping(self, number: int) -> bytes:
        return self._control(PING, struct.pack(">I", number))

    def reset(self, stream: int, status: int = 1) -> bytes:
        return self._control(RST_STREAM, struct.pack(">II", stream, status))

    def reply(self, stream: int) -> bytes:
        """That a stream is welcome, without headers."""
        return self._control(SYN_REPLY, struct.pack(">I", stream) + self._block({}))

    def open(self, stream: int, headers: dict[str, str]) -> bytes:
        """What a client sends."""
        head = struct.pack(">IIH", stream, 0, 0)
        return self._control(SYN_STREAM, head + self._block(headers))

    def _block(self, headers: dict[str, str]) -> bytes:
        text = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for word in (name.encode(), value.encode()):
                text += struct.pack(">I", len(word)) + word
        return self._zip.compress(text) + self._zip.flush(zlib.Z_SYNC_FLUSH)

    def _control(self, kind: int, body: bytes) -> bytes:
        return _HEAD.pack(1 << 31 | VERSION << 16 | kind, len(body)) + body
