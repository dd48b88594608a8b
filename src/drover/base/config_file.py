"""Configuration files of our processes: a msgspec Struct, checked by name. JSON, or TOML where the file is called so.

A file is written whole under another name and then renamed: a crash leaves the old one or none, never half of one.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class BadConfig(Exception):
    """The file cannot be read, or is no valid configuration. ``str()`` names file, field and rule."""


def load(path: Path, kind: type[T]) -> T:
    """Read and check ``path``. Raises BadConfig."""
    try:
        if path.suffix == ".toml":
            return msgspec.convert(tomllib.loads(path.read_text()), type=kind)
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise BadConfig(f"{path}: {error.strerror}") from error
    except (msgspec.DecodeError, msgspec.ValidationError, ValueError) as error:
        raise BadConfig(f"{path}: {error}") from error


def save(path: Path, config: msgspec.Struct) -> None:
    """Write ``config`` so that ``load`` gives it back."""
    text = (
        _toml(msgspec.to_builtins(config))
        if path.suffix == ".toml"
        else msgspec.json.format(msgspec.json.encode(config)).decode()
    )
    part = path.with_name(path.name + ".part")
    part.write_text(text + "\n")
    part.replace(path)


def _toml(fields: dict[str, Any]) -> str:
    """Flat fields first, then tables of texts: all that our configurations hold. JSON's texts, numbers and lists of
    them are TOML's too."""
    flat = {key: value for key, value in fields.items() if not isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in flat.items()]
    for key in fields.keys() - flat.keys():
        lines += ["", f"[{key}]"]
        lines += [
            f"{json.dumps(name)} = {json.dumps(value)}" for name, value in fields[key].items()
        ]
    return "\n".join(lines)
