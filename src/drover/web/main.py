"""The page beside a lab's control plane, kept by the same supervisor: it is there as long as the lab is.

It has no power of its own. Whoever may use the lab's kubeconfig asks at the door for a link (``drover web``), which
logs in once with that kubeconfig; everybody else logs in with a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any

import msgspec

from drover.base.clock import RealClock
from drover.base.ids import RealIds
from drover.base.log import Log, stderr_sink
from drover.runtime import kubeconfig, process
from drover.web import door
from drover.web.server import Options, Server

_NICENESS = 10  # the control plane comes first


class PageConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``lab`` names the door, ``kubeconfig`` what a link logs in with."""

    lab: str
    kubeconfig: str
    address: str = "127.0.0.1"
    port: int = door.PORT  # or any other, when that is taken


async def serve(config: PageConfig) -> None:
    """Until cancelled."""
    access = kubeconfig.load(Path(config.kubeconfig))
    async with contextlib.AsyncExitStack() as stack:
        options = Options(access, config.address, config.port)
        try:
            server, port = await _listening(stack, options)
        except OSError:  # another lab has that port
            server, port = await _listening(stack, dataclasses.replace(options, port=0))
        page = f"http://{config.address}:{port}/"

        def answer(question: str) -> str:
            match question:
                case door.ADDRESS:
                    return page
                case door.LINK:
                    codes: list[str] = []
                    server.invite(kubeconfig.load(Path(config.kubeconfig)), codes.append)
                    return f"{page}#login={codes[0]}"
            return ""

        await stack.enter_async_context(door.opened(config.lab, answer))
        await asyncio.Event().wait()


async def _listening(stack: contextlib.AsyncExitStack, options: Options) -> tuple[Server, int]:
    clock = RealClock()
    server = Server(options, clock, RealIds(), Log(clock, _told))
    return server, await stack.enter_async_context(server.running())


def _told(entry: dict[str, Any]) -> None:
    """Of the log only mistakes: an API that is away shows on the page."""
    if entry.get("level") == "error":
        stderr_sink(entry)


def main() -> None:
    os.nice(_NICENESS)
    process.run("drover-page", "Serve the web page of a lab.", PageConfig, serve)


if __name__ == "__main__":
    main()
