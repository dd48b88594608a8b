"""A guest's network card without the guest: raw frames through a tap, and just enough of DHCP."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import time
from dataclasses import dataclass
from ipaddress import IPv4Address

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_COOKIE = bytes.fromhex("63825363")
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5


@dataclass(frozen=True)
class Answer:
    """A DHCP answer as the guest sees it."""

    kind: int
    address: str
    server: str
    server_mac: str
    router: str


class Card:
    """Opens a persistent tap of the current network namespace, as QEMU does."""

    def __init__(self, tap: str, mac: str) -> None:
        self._mac = bytes.fromhex(mac.replace(":", ""))
        self._asked = 0x1234
        self._fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(
            self._fd, _TUNSETIFF, struct.pack("16sH22x", tap.encode(), _IFF_TAP | _IFF_NO_PI)
        )

    def close(self) -> None:
        os.close(self._fd)

    def ask(self, kind: int, wanted: str = "", server: str = "", tries: int = 8) -> list[Answer]:
        """Broadcast a DHCP message until there are answers, as guests do; all answers to the last one."""
        for _ in range(tries):
            self._asked += 1  # an answer to an earlier question may be late
            os.write(self._fd, self._frame(kind, wanted, server))
            if answers := self._listen(0.4):
                return answers
        return []

    def _listen(self, listen_s: float) -> list[Answer]:
        answers = []
        deadline = time.monotonic() + listen_s
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._fd], [], [], left)[0]:
                answer = self._answer(os.read(self._fd, 2048))
                answers += [answer] if answer else []
        return answers

    def _frame(self, kind: int, wanted: str, server: str) -> bytes:
        options = bytes([53, 1, kind])
        if wanted:
            options += bytes([50, 4]) + IPv4Address(wanted).packed
        if server:
            options += bytes([54, 4]) + IPv4Address(server).packed
        fixed = (1, 1, 6, 0, self._asked, 0, 0x8000)
        bootp = struct.pack("!BBBBIHH16x6s10x192x", *fixed, self._mac)
        payload = bootp + _COOKIE + options + b"\xff"
        udp = struct.pack("!HHHH", 68, 67, 8 + len(payload), 0) + payload
        head = struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4
        )
        head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
        return b"\xff" * 6 + self._mac + b"\x08\x00" + head + udp

    def _answer(self, frame: bytes) -> Answer | None:
        if (
            frame[12:14] != b"\x08\x00"
            or frame[23] != 17
            or frame[34:38] != struct.pack("!HH", 67, 68)
        ):
            return None
        bootp = frame[42:]
        if bootp[28:34] != self._mac or bootp[4:8] != struct.pack("!I", self._asked):
            return None
        options = _options(bootp[240:])
        return Answer(
            kind=options[53][0],
            address=str(IPv4Address(bootp[16:20])),
            server=str(IPv4Address(options[54])),
            server_mac=frame[6:12].hex(":"),
            router=str(IPv4Address(options[3])) if 3 in options else "",
        )


def _options(raw: bytes) -> dict[int, bytes]:
    found = {}
    while raw and raw[0] != 255:
        if raw[0] == 0:
            raw = raw[1:]
            continue
        found[raw[0]] = raw[2 : 2 + raw[1]]
        raw = raw[2 + raw[1] :]
    return found


def _checksum(head: bytes) -> int:
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF
