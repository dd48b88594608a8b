"""Files of another version: a snapshot, or an object of ours, that this drover would misread is refused.

Of kinds that are Kubernetes' own the group decides, as their versions are older than drover.
"""

from __future__ import annotations

from typing import Any

import click

from drover.api import scheme
from drover.api.wire import Object

SNAPSHOT = "Snapshot"
SNAPSHOT_VERSION = f"{scheme.DROVER}/v1alpha1"
_OURS = {
    (kind.group, kind.kind): kind.api_version
    for kind in vars(scheme).values()
    if isinstance(kind, scheme.Kind) and not kind.group.endswith("k8s.io") and "." in kind.group
}


def check(documents: list[Any], objects: list[Object]) -> None:
    """Raises ClickException."""
    for told in documents:
        if isinstance(told, dict) and told.get("kind") == SNAPSHOT:
            _same("it is a snapshot", told.get("apiVersion"), SNAPSHOT_VERSION)
    for obj in objects:
        version, kind = str(obj.get("apiVersion", "")), str(obj.get("kind", ""))
        wanted = _OURS.get((version.rpartition("/")[0], kind))
        if wanted is not None:
            _same(f"{kind} {obj['metadata']['name']} in it is", version, wanted)


def _same(what: str, found: Any, wanted: str) -> None:
    if found != wanted:
        raise click.ClickException(
            f"this file is of another version: {what} of {found or 'none'}, and this drover reads {wanted}. "
            "Take it again with the drover that reads it: `drover snapshot > FILE`."
        )
