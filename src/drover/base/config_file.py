"""Configuration files of our processes: one JSON object of a msgspec Struct, checked by name."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


class BadConfig(Exception):
    """The file cannot be read, or is no valid configuration. ``str()`` names file, field and rule."""


def load(path: Path, kind: type[T]) -> T:
    """Read and check ``path``. Raises BadConfig."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise BadConfig(f"{path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise BadConfig(f"{path}: {error}") from error


def save(path: Path, config: msgspec.Struct) -> None:
    """Write ``config`` so that ``load`` gives it back."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(config)) + b"\n")
