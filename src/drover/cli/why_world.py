"""What ``drover why`` and ``drover whatif`` read: everything that answers are made of, live or from a file.

Live it is one list per kind, with the user's own rights; a kind that is forbidden or not installed is named and done
without. A file is a `drover snapshot`, or what `drover k get ... -o json` prints, or YAML: one List, or documents.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from drover.answers.world import KINDS, World
from drover.api import scheme
from drover.api.scheme import Kind, key_of
from drover.api.status import Forbidden, NotFound
from drover.api.wire import Object
from drover.base.clock import RealClock, parse_rfc3339
from drover.base.tasks import all_of
from drover.cli import versions
from drover.cli.connect import Api, with_api
from drover.cli.session import PROGRAM, Session

MOST_BYTES = 512 * 2**20


def world_for(session: Session, file: str) -> World:
    """From the file, else live."""
    return from_file(file) if file else with_api(session, look)


async def look(api: Api, kinds: Iterable[Kind] = KINDS) -> World:
    """All of it, read now, the kinds side by side."""
    wanted = tuple(kinds)
    found: dict[str, list[Object]] = {}
    missing = []

    async def read(kind: Kind) -> None:
        try:
            items, _ = await api.client.list(kind)
        except (Forbidden, NotFound):
            missing.append(kind.kind)
            return
        head = {"apiVersion": kind.api_version, "kind": kind.kind}
        found[kind.kind] = [{**head, **item} for item in items]

    await all_of(*(read(kind) for kind in wanted))
    objects = (obj for kind in wanted for obj in found.get(kind.kind, ()))
    return World.of(objects, api.clock.wall(), missing)


def from_file(path: str) -> World:
    """Raises ClickException when it holds no objects of a cluster."""
    documents = _documents(path, _read(path))
    objects = list(_objects(documents))
    versions.check(documents, objects)
    if not objects:
        kinds = "vm,vmop,vmm,vml,vmclass,vd,vmip,pods,nodes,nodegroups,nodefences"
        raise click.ClickException(
            f"{path} holds no objects of a cluster; make one with `{PROGRAM} k get {kinds} -A -o json`"
        )
    for obj in objects:
        obj["metadata"].setdefault("uid", f"{obj.get('kind')}/{key_of(obj)}")
    seen = {str(obj.get("kind")) for obj in objects}
    missing = [kind.kind for kind in _NEEDED if kind.kind not in seen]
    return World.of(objects, _taken_s(documents), missing)


# Of a file that holds none of these it is told: the others may well be absent in the cluster.
_NEEDED = (scheme.VM, scheme.POD, scheme.NODE, scheme.VML, scheme.NODEGROUP)


def _taken_s(documents: list[Any]) -> float:
    """When a snapshot was taken; now for what does not say."""
    told = documents[0].get("takenAt") if documents and isinstance(documents[0], dict) else None
    try:
        return parse_rfc3339(str(told)) if told else RealClock().wall()
    except ValueError:
        return RealClock().wall()


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
    try:
        return [json.loads(text)]  # YAML could read it too, many times as slowly
    except ValueError:
        pass
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
        if isinstance(document.get("items"), list):
            yield from _objects(document["items"])
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
