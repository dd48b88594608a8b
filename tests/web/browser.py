"""A real browser: Debian's Chromium, driven by Playwright. ``./test`` installs both; without them tests skip."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

PROGRAM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
wanted = pytest.mark.skipif(
    PROGRAM is None or importlib.util.find_spec("playwright") is None,
    reason="no Chromium or no Playwright here; ./test says why",
)
# Its own sandbox wants rights that a container has not; only pages of ours are opened.
FLAGS = ["--no-sandbox", "--disable-gpu"]
WIDE = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=PROGRAM, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def opened(browser: Browser, url: str, refusals: bool = False) -> AsyncIterator[Page]:
    """A page of its own person. What it logs as an error fails the test: a refusal by the policy is one, unless
    ``refusals`` are meant."""
    context = await browser.new_context(viewport=WIDE)
    page = await context.new_page()
    page.set_default_timeout(15_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if _matters(said) else None)
    await page.goto(url)
    try:
        yield page
    except Exception as trouble:
        trouble.add_note(f"the page {page.url.partition('#')[2]} showed:\n{await _shown(page)}")
        raise
    finally:
        await context.close()
    assert refusals or not errors, errors


async def _shown(page: Page) -> str:
    """Its text, so that a failure which happens once in a hundred runs can be understood."""
    try:
        return (await page.inner_text("body", timeout=5_000))[:4_000]
    except Exception as trouble:  # it may have crashed, which is then what failed
        return f"nothing: {trouble}"


def _matters(said: Any) -> bool:
    """Answers of 4xx and lost connections are logged by the browser itself; tests look at what the page does."""
    return said.type == "error" and "Failed to load resource" not in said.text
