"""A FAT12 volume with a few small files in its root, made in memory: the form of a cloud-init seed.

Byte for byte the same for the same content, since both ends of a migration make their own and the guest must not see a
difference. Follows Microsoft's FAT specification (fatgen103): boot sector, two FATs, root directory with long names,
data. Limits: 224 directory entries, 2847 clusters of one sector (1.4 MB), which ``volume`` checks.
"""

from __future__ import annotations

import struct

SECTOR_BYTES = 512
_TOTAL_SECTORS = 2880
_FAT_SECTORS = 9
_ROOT_ENTRIES = 224
_ROOT_SECTORS = _ROOT_ENTRIES * 32 // SECTOR_BYTES
_DATA_START = 1 + 2 * _FAT_SECTORS + _ROOT_SECTORS
_CLUSTERS = _TOTAL_SECTORS - _DATA_START
_MEDIA = 0xF8
_ARCHIVE, _VOLUME, _LONG_NAME = 0x20, 0x08, 0x0F
_DATE = (46 << 9) | (1 << 5) | 1  # 2026-01-01, the same for ever
_LONG_CHARS = 13


class TooLarge(Exception):
    """The files do not fit into the volume."""


def volume(label: str, serial: int, files: dict[str, bytes]) -> bytes:
    """The whole image. ``label`` up to 11 characters; names are long names. Raises TooLarge."""
    fat = [0xF00 | _MEDIA, 0xFFF]
    entries = [_entry(label.upper().ljust(11)[:11].encode(), _VOLUME, 0, 0)]
    data = bytearray()
    for number, (name, content) in enumerate(sorted(files.items()), start=1):
        first = len(fat) if content else 0
        count = -(-len(content) // SECTOR_BYTES)
        fat += [len(fat) + 1 + step for step in range(count - 1)] + ([0xFFF] if count else [])
        data += content.ljust(count * SECTOR_BYTES, b"\0")
        short = f"FILE{number}".ljust(8).encode() + b"   "
        entries += [*_long_entries(name, short), _entry(short, _ARCHIVE, first, len(content))]
    if len(fat) - 2 > _CLUSTERS or len(entries) > _ROOT_ENTRIES:
        raise TooLarge(f"{len(data)} bytes in {len(files)} files do not fit into a seed")
    packed = _packed(fat).ljust(_FAT_SECTORS * SECTOR_BYTES, b"\0")
    root = b"".join(entries).ljust(_ROOT_SECTORS * SECTOR_BYTES, b"\0")
    image = _boot_sector(label, serial) + packed + packed + root + bytes(data)
    return image.ljust(_TOTAL_SECTORS * SECTOR_BYTES, b"\0")


def _boot_sector(label: str, serial: int) -> bytes:
    parameters = struct.pack(
        "<3s8sHBHBHHBHHHIIBBBI11s8s",
        b"\xeb\x3c\x90", b"MSWIN4.1", SECTOR_BYTES, 1, 1, 2, _ROOT_ENTRIES, _TOTAL_SECTORS, _MEDIA, _FAT_SECTORS,
        18, 2, 0, 0, 0x80, 0, 0x29, serial & 0xFFFFFFFF, label.upper().ljust(11)[:11].encode(), b"FAT12   ",
    )  # fmt: skip
    return parameters.ljust(510, b"\0") + b"\x55\xaa"


def _entry(short: bytes, attributes: int, cluster: int, size: int) -> bytes:
    return struct.pack(
        "<11sBBBHHHHHHHI", short, attributes, 0, 0, 0, _DATE, _DATE, 0, 0, _DATE, cluster, size
    )


def _long_entries(name: str, short: bytes) -> list[bytes]:
    """The pieces of a long name, last piece first, each tied to the short name by its checksum."""
    checksum = 0
    for byte in short:
        checksum = ((checksum >> 1) | ((checksum & 1) << 7)) + byte & 0xFF
    text = name + "\0"
    pieces = [text[at : at + _LONG_CHARS] for at in range(0, len(text), _LONG_CHARS)]
    if len(name) % _LONG_CHARS == 0:
        pieces.pop()  # a name that fills its pieces has no terminator
    entries = []
    for order, piece in reversed(list(enumerate(pieces, start=1))):
        chars = piece.encode("utf-16-le").ljust(2 * _LONG_CHARS, b"\xff")
        last = 0x40 if order == len(pieces) else 0
        entries.append(
            struct.pack(
                "<B10sBBB12sH4s",
                order | last,
                chars[:10],
                _LONG_NAME,
                0,
                checksum,
                chars[10:22],
                0,
                chars[22:26],
            )
        )
    return entries


def _packed(fat: list[int]) -> bytes:
    """Two 12-bit entries in three bytes."""
    padded = fat if len(fat) % 2 == 0 else [*fat, 0]
    packed = bytearray()
    for low, high in zip(padded[::2], padded[1::2], strict=True):
        packed += (low | high << 12).to_bytes(3, "little")
    return bytes(packed)
