"""What every request must satisfy before anything else, and what every answer carries.

- The Host is one of ours: a foreign name that is made to resolve to this machine gets nothing.
- A request that changes something, a log-in or a console comes from our own page: Origin, and the session's token.
- All but the page itself and the log-in need a session.
- Answers forbid scripts, styles and frames that are not ours, and are kept nowhere.

The API's refusals reach the page with their own words; a mistake of ours with none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from drover.answers.world import NoSuch
from drover.api.status import ApiError, Unanswered
from drover.web.actions import BadWish
from drover.web.feed import TooManyPages
from drover.web.sessions import LONGEST_S, Session, Sessions, TooManySessions, same

if TYPE_CHECKING:
    from drover.base.log import Log

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SESSION = web.RequestKey("session", Session)
TOKEN_HEADER = "X-Drover-Token"
CONSOLE_PROTOCOL = "drover.console"
OPEN = frozenset({"/api/login"})  # of /api, without a session

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Site:
    """Where the page is: ``hosts`` are the values of Host that are ours, with their port."""

    hosts: frozenset[str]
    secure: bool
    port: int

    @property
    def cookie(self) -> str:
        """Cookies do not know ports, so the name does. The prefix makes a browser insist on Secure."""
        return f"{'__Host-' if self.secure else ''}drover-{self.port}"

    def own_origin(self, request: web.Request) -> bool:
        scheme = "https" if self.secure else "http"
        return request.headers.get("Origin") == f"{scheme}://{request.headers.get('Host', '')}"


def refusal(status: int, says: str) -> web.Response:
    return web.json_response({"error": says}, status=status)


def guard(site: Site, sessions: Sessions, log: Log) -> Handler:
    """The one middleware."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.headers.get("Host", "") not in site.hosts:
            return refusal(421, "this server goes by another name; see what `drover web` prints")
        if request.path.startswith("/api/") and (refused := _refused(request, site, sessions)):
            return refused
        return await _answered(request, handler, log)

    return check  # type: ignore[return-value]


def _refused(request: web.Request, site: Site, sessions: Sessions) -> web.Response | None:
    changes = request.method not in ("GET", "HEAD")
    socket = request.headers.get("Upgrade", "").lower() == "websocket"
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return refusal(403, "this came from another page")
    if (changes or socket) and not site.own_origin(request):
        return refusal(403, "this came from another page")
    if request.path in OPEN:
        return None
    session = sessions.find(request.cookies.get(site.cookie, ""))
    if session is None:
        return refusal(401, "you are not logged in, or no longer")
    if (changes or socket) and not same(_token(request), session.token):
        return refusal(403, "this did not come from your page; load it again")
    request[SESSION] = session
    return None


def _token(request: web.Request) -> str:
    """In a header; a browser's WebSocket can set none, and names it among its protocols."""
    if token := request.headers.get(TOKEN_HEADER):
        return token
    words = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    return next((word.strip() for word in words if word.strip() != CONSOLE_PROTOCOL), "")


async def _answered(request: web.Request, handler: Handler, log: Log) -> web.StreamResponse:
    """Errors as JSON; a boundary: a bug in one answer stops no other."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return refusal(error.status, error.reason)
    except ApiError as error:
        return refusal(error.code if 400 <= error.code < 600 else 502, error.message)
    except Unanswered:
        return refusal(503, "the API does not answer; what was asked may still happen")
    except BadWish as error:
        return refusal(400, str(error))
    except NoSuch as error:
        return refusal(404, str(error))
    except TooManyPages:
        return refusal(429, "this log-in has as many pages open as it may; close one")
    except TooManySessions:
        return refusal(429, "too many people are logged in; log out somewhere")
    except Exception as error:
        log.bug(error, path=request.path)
        return refusal(500, "drover has made a mistake; its log tells more")


async def dress(request: web.Request, response: web.StreamResponse) -> None:
    """Signal ``on_response_prepare``: streams and errors carry the headers too."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.popall("Server", None)


def set_cookie(site: Site, response: web.Response, key: str) -> None:
    response.set_cookie(
        site.cookie, key, max_age=int(LONGEST_S), path="/", httponly=True, samesite="Strict",
        secure=site.secure,
    )  # fmt: skip


def drop_cookie(site: Site, response: web.Response) -> None:
    response.del_cookie(site.cookie, path="/", httponly=True, samesite="Strict", secure=site.secure)
