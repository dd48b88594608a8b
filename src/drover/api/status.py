"""Errors of the API as kinds. Decide on the class (or ``reason``), never on the text.

Two families matter to whoever writes: ``ApiError`` is an *answer* (the write did not happen, except for 5xx whose
``landed`` is unknown), ``Unanswered`` is the lack of one. ``Unanswered.sent`` is False only when the request provably
never left this host, so that it cannot land later.
"""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """The server refused. ``code`` is the HTTP status, ``reason`` Kubernetes' machine word."""

    code = 0

    def __init__(self, message: str, reason: str = "", code: int = 0, details: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.code = code or type(self).code
        self.details = details


class Invalid(ApiError):
    code = 422


class BadRequest(ApiError):
    code = 400


class Unauthorized(ApiError):
    code = 401


class Forbidden(ApiError):
    code = 403


class NotFound(ApiError):
    code = 404


class Conflict(ApiError):
    """409: the version read is stale (reason Conflict)."""

    code = 409


class AlreadyExists(ApiError):
    """409 with reason AlreadyExists."""

    code = 409


class Gone(ApiError):
    """410: the resourceVersion is too old to watch from; list again."""

    code = 410


class TooManyRequests(ApiError):
    code = 429


class ServerError(ApiError):
    """5xx: whether a write landed is not known."""

    code = 500


class Unanswered(Exception):
    """No answer came: time-out, reset, or no connection. ``sent`` False: it provably never left this host."""

    def __init__(self, message: str, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


_BY_CODE: dict[int, type[ApiError]] = {
    400: BadRequest, 401: Unauthorized, 403: Forbidden, 404: NotFound, 410: Gone, 422: Invalid, 429: TooManyRequests,
}  # fmt: skip


def error_from(code: int, body: Any) -> ApiError:
    """The kind of error for an HTTP status and a decoded ``Status`` body."""
    status = body if isinstance(body, dict) else {}
    message = str(status.get("message") or f"HTTP {code}")
    reason = str(status.get("reason") or "")
    if code == 409:
        kind: type[ApiError] = AlreadyExists if reason == "AlreadyExists" else Conflict
    elif code >= 500:
        kind = ServerError
    else:
        kind = _BY_CODE.get(code, ApiError)
    return kind(message, reason, code, status.get("details"))
