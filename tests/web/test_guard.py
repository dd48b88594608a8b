"""Who gets in, and what every answer carries: log-in, cookies, forgery, foreign names, expiry, headers."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from tests.web.rig import ADMIN, LIMIT_S, TENANT, VIEWER, VM, on_a_page, serving, until, vm

from drover.web import sessions

ROUTES = [
    ("GET", "/api/session"),
    ("GET", "/api/live"),
    ("GET", "/api/why"),
    ("GET", "/api/forecast"),
    ("GET", "/api/console"),
    ("GET", "/api/screen"),
    ("POST", "/api/act"),
    ("POST", "/api/logout"),
]


async def test_without_a_log_in_there_is_the_page_and_nothing_else() -> None:
    async with serving() as rig, rig.browser() as browser:
        async with browser.http.get("/") as page:
            assert page.status == 200
            assert page.content_type == "text/html"
        for method, path in ROUTES:
            headers = {"Origin": rig.base}
            async with browser.http.request(method, path, headers=headers, json={}) as answer:
                assert answer.status == 401, path


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/static/../server.py", "/api/session"])
async def test_every_answer_forbids_what_is_not_ours(path: str) -> None:
    async with serving() as rig, rig.browser() as browser, browser.http.get(path) as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Server" not in answer.headers
        if "server.py" in path:
            assert answer.status == 404


async def test_the_live_line_carries_the_headers_too() -> None:
    async with (
        serving() as rig,
        rig.browser(VIEWER) as browser,
        browser.http.get("/api/live") as answer,
    ):
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"


async def test_the_cookie_is_for_this_page_alone() -> None:
    async with serving() as rig, rig.browser() as browser:
        sent = {"Origin": rig.base}
        async with browser.http.post("/api/login", json={"token": VIEWER}, headers=sent) as answer:
            cookie = answer.headers["Set-Cookie"]
            told = await answer.json()
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert "Path=/" in cookie
        assert told["user"] == "vic"
        assert told["token"] not in cookie
        assert VIEWER not in cookie


@pytest.mark.parametrize(
    ("credentials", "status"),
    [
        ({"token": "nobody's"}, 401),
        ({}, 400),
        ({"token": "two\nlines"}, 400),
        ({"token": "x" * 20_000}, 400),
        ({"code": "guessed"}, 403),
        ({"code": "é"}, 403),
        ({"token": TENANT, "namespace": "../../nodes"}, 400),
    ],
)
async def test_a_bad_log_in_is_refused(credentials: dict[str, str], status: int) -> None:
    async with serving() as rig, rig.browser() as browser:
        code, told = await browser.login(**credentials)
        assert code == status
        assert told["error"]
        assert all(gate.closed for gate in rig.gates)
        assert (await browser.get("/api/session"))[0] == 401


async def test_a_link_logs_in_once_and_is_followed_by_the_next() -> None:
    async with serving() as rig, rig.browser() as one, rig.browser() as other:
        (first,) = rig.codes
        status, told = await one.login(code=first)
        assert (status, told["user"]) == (200, "ada")
        assert (await other.login(code=first))[0] == 403
        assert len(rig.codes) == 2
        assert (await other.login(code=rig.codes[1]))[0] == 200


async def test_an_old_link_is_refused_and_replaced() -> None:
    async with serving() as rig, rig.browser() as browser:
        rig.clock.ahead_s = sessions.INVITATION_S
        assert (await browser.login(code=rig.codes[0]))[0] == 403
        assert (await browser.login(code=rig.codes[1]))[0] == 200


async def test_nothing_changes_by_what_another_page_sends() -> None:
    wish = {"act": "stop", "namespace": "default", "name": "one"}
    forged = [
        {"Origin": "http://evil.test"},
        {"Origin": "null"},
        {"X-Drover-Token": ""},
        {"X-Drover-Token": "guessed"},
        {"X-Drover-Token": "é\udcff"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ]
    async with serving() as rig, rig.browser(ADMIN) as browser:
        await rig.admin.create(VM, vm("one"))
        for headers in forged:
            assert (await browser.post("/api/act", wish, **headers))[0] == 403, headers
        assert (await browser.post("/api/act", wish))[0] == 200


async def test_a_foreign_page_can_neither_log_in_nor_out() -> None:
    async with serving() as rig, rig.browser(ADMIN) as browser:
        evil = {"Origin": "http://evil.test"}
        assert (await browser.post("/api/login", {"token": VIEWER}, **evil))[0] == 403
        assert (await browser.post("/api/logout", {}, **evil))[0] == 403
        assert (await browser.get("/api/session"))[1]["user"] == "ada"


async def test_a_cookie_of_any_shape_is_only_not_ours() -> None:
    async with serving() as rig, rig.browser() as browser:
        name = f"drover-{rig.base.rpartition(':')[2]}"
        for value in ("é", "x" * 4_000, ""):
            assert (await browser.get("/api/session", Cookie=f"{name}={value}"))[0] == 401


async def test_a_foreign_name_of_this_machine_gets_nothing() -> None:
    async with serving() as rig, rig.browser(ADMIN) as browser:
        for path in ("/", "/api/session"):
            assert (await browser.get(path, Host="evil.test"))[0] == 421
        assert (await browser.get("/api/session", Host=rig.base[7:]))[0] == 200


async def test_a_console_needs_our_page_and_its_token() -> None:
    async with serving() as rig, rig.browser(ADMIN) as browser:
        for path, origin, token in (
            ("console", "http://evil.test", browser.token),
            ("console", rig.base, "guessed"),
            ("screen", rig.base, ""),
        ):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await browser.http.ws_connect(
                    f"/api/{path}?name=one&namespace=default",
                    headers={"Origin": origin},
                    protocols=("drover.console", *filter(None, [token])),
                )
            assert refused.value.status == 403


async def test_a_vm_that_does_not_run_has_no_console() -> None:
    async with serving() as rig, rig.browser(ADMIN) as browser:
        socket = await browser.http.ws_connect(
            "/api/console?name=none&namespace=default",
            headers={"Origin": rig.base},
            protocols=("drover.console", browser.token),
        )
        said = await socket.receive_json(timeout=LIMIT_S)
        assert "does not run" in said["says"]
        assert socket.protocol == "drover.console"
        await socket.close()


@pytest.mark.parametrize("ahead_s", [sessions.LONGEST_S, sessions.IDLE_S])
async def test_a_log_in_ends_by_time(ahead_s: float) -> None:
    async with serving() as rig, rig.browser(ADMIN) as browser:
        assert (await browser.get("/api/session"))[0] == 200
        rig.clock.ahead_s = ahead_s
        assert (await browser.get("/api/session"))[0] == 401
        assert (await browser.act(act="stop", namespace="default", name="one"))[0] == 401


async def test_an_open_page_keeps_the_log_in_but_not_for_ever() -> None:
    async with on_a_page() as (rig, browser, events):
        for step in range(1, 9):
            rig.clock.ahead_s = step * 0.9 * sessions.IDLE_S
            await asyncio.sleep(0.06)  # the sweep looks
        assert (await browser.get("/api/session"))[0] == 200
        rig.clock.ahead_s = sessions.LONGEST_S
        assert "eight hours" in (await until(events, "bye"))["why"]
    assert rig.gates[-1].closed


async def test_log_out_ends_open_pages() -> None:
    async with on_a_page() as (_, browser, events):
        assert (await browser.post("/api/logout", {}))[0] == 200
        assert (await until(events, "bye"))["why"]
        assert (await browser.get("/api/session"))[0] == 401


async def test_a_credential_that_is_revoked_ends_the_log_in() -> None:
    async with on_a_page() as (rig, browser, events):
        rig.revoked.add(ADMIN)
        assert (await browser.act(act="start", namespace="default", name="one"))[0] == 401
        assert "no longer accepts" in (await until(events, "bye"))["why"]


async def test_sessions_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 1)
    async with serving() as rig, rig.browser(ADMIN), rig.browser() as other:
        assert (await other.login(token=VIEWER))[0] == 429
        assert rig.gates[-1].closed
