"""What ``drover why`` and ``drover whatif`` read: everything that answers are made of, live or from a file.

Live it is one list per kind, with the user's own rights; a kind that is forbidden or not installed is named and done
without. A file is what `drover k get ... -o json` prints, or YAML of it: one List, or several documents.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from drover.answers.world import KINDS, World
from drover.api import scheme
from drover.api.status import Forbidden, NotFound
from drover.api.wire import Object
from drover.base.clock import RealClock
from drover.cli.connect import Api, with_api
from drover.cli.session import PROGRAM, Session

MOST_BYTES = 512 * 2**20


def world_for(session: Session, file: str) -> World:
    """From the file, else live."""
    return from_file(file) if file else with_api(session, look)


async def look(api: Api) -> World:
    """All of it, read now."""
    found: list[Object] = []
    missing = []
    for kind in KINDS:
        try:
            items, _ = await api.client.list(kind)
        except (Forbidden, NotFound):
            missing.append(kind.kind)
            continue
        found += [{"apiVersion": kind.api_version, "kind": kind.kind, **item} for item in items]
    return World.of(found, api.clock.wall(), missing)


def from_file(path: str) -> World:
    """Raises ClickException when it holds no objects of a cluster."""
    text = _read(path)
    objects = list(_objects(_documents(path, text)))
    if not objects:
        kinds = "vm,vmop,vmm,vml,vmclass,vd,vmip,pods,nodes,nodegroups,nodefences"
        raise click.ClickException(
            f"{path} holds no objects of a cluster; make one with `{PROGRAM} k get {kinds} -A -o json`"
        )
    seen = {str(obj.get("kind")) for obj in objects}
    missing = [kind.kind for kind in KINDS if kind.kind not in seen]
    return World.of(objects, RealClock().wall(), [name for name in missing if name in _NEEDED])


_NEEDED = (scheme.VM.kind, scheme.POD.kind, scheme.NODE.kind, scheme.VML.kind)


def _read(path: str) -> str:
    try:
        if path == "-":
            return sys.stdin.read(MOST_BYTES)
        file = Path(path)
        if file.stat().st_size > MOST_BYTES:
            raise click.ClickException(f"{path} is larger than {MOST_BYTES // 2**20} MiB")
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"cannot read {path}: {error}") from error


def _documents(path: str, text: str) -> list[Any]:
    import yaml

    try:
        return list(yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise click.ClickException(f"{path} is neither JSON nor YAML{line}") from error


def _objects(documents: Iterable[Any]) -> Iterator[Object]:
    for document in documents:
        if not isinstance(document, dict):
            continue
        if str(document.get("kind", "")).endswith("List") or "items" in document:
            yield from _objects(document.get("items") or ())
        elif isinstance(document.get("metadata"), dict) and "name" in document["metadata"]:
            yield document


def documents_of(path: str) -> list[Object]:
    """The objects of a manifest."""
    return list(_objects(_documents(path, _read(path))))


def hint_missing(world: World) -> str:
    """What the answers had to do without; empty: nothing."""
    if not world.missing:
        return ""
    return f"Not looked at (absent or forbidden): {', '.join(world.missing)}"
