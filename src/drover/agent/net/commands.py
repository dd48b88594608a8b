"""Running ``ip`` in the agent's own network namespace, bounded in time."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from drover.agent.ports import HypervisorError

_LIMIT_S = 10.0


class NetworkFailed(HypervisorError):
    """The kernel or a tool refused a change of the node's network; ``str()`` is its own word."""


async def ip(*lines: str) -> None:
    """Run lines of ``ip`` as one batch; the first failing line ends it. Raises NetworkFailed."""
    process = await asyncio.create_subprocess_exec(
        "ip",
        "-batch",
        "-",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_LIMIT_S):
            _, errors = await process.communicate("\n".join(lines).encode())
    except TimeoutError as error:
        raise NetworkFailed(f"ip did not end within {_LIMIT_S:.0f} s: {lines}") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    if process.returncode != 0:
        raise NetworkFailed(f"{'; '.join(lines)}: {errors.decode().strip()[-300:]}")


def exists(link: str) -> bool:
    """Whether this network namespace has an interface of that name."""
    try:
        socket.if_nametoindex(link)
    except OSError:
        return False
    return True
