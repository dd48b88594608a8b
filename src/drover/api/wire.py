"""The plain values that cross the door between a client and an API server, real or modelled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One HTTP request without the HTTP: ``path`` begins with /api or /apis, ``query`` is decoded.

    ``timeout_s`` bounds the whole answer; for a watch it bounds only the first byte.
    """

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = "application/json"
    timeout_s: float = 10.0


@dataclass(frozen=True)
class Response:
    """``body`` is decoded JSON (a dict) or None."""

    status: int
    body: Any


JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
