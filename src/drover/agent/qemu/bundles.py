"""The firmware bundles of a node: asked for their versions once, chosen from at each start.

A bundle is a QEMU that finds its own ROMs. ``probe`` asks each binary what it is; one that cannot tell is left out,
with the reason, except for the node's default, without which nothing could start. ``choose`` is pure: the version that
a Pod wishes for when the node has it and it knows the VM's machine type, else the default. A VM runs on an old version
rather than not at all; whoever wanted the other one is told in ``Choice.why``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from drover.agent.ports import HypervisorError, MachineSpec
from drover.agent.qemu.settings import Bundle
from drover.api.firmware import Offer, Version

_ASK_LIMIT_S = 20.0


@dataclass(frozen=True)
class Probed:
    """What a node has. ``problems``: one sentence per binary that could not be asked."""

    bundles: Mapping[str, Bundle]
    problems: tuple[str, ...] = ()

    @property
    def offers(self) -> tuple[Offer, ...]:
        """The default first, then by version."""
        default = self.bundles[""]
        others = [
            bundle
            for version, bundle in self.bundles.items()
            if version and version != default.version
        ]
        others.sort(key=lambda bundle: Version.of(bundle.version))
        found = [default, *others] if default.version else others
        return tuple(Offer(b.version, tuple(sorted(b.machine_types))) for b in found)


async def probe(default: str, more: Iterable[str] = ()) -> Probed:
    """Ask the binaries, one after the other: they compete with everything else that starts."""
    bundles: dict[str, Bundle] = {"": Bundle(default)}
    problems: list[str] = []
    for binary in (default, *more):
        try:
            bundle = await _ask(binary)
        except _Mute as mute:
            problems.append(f"{binary}: {mute}")
            continue
        if binary == default:
            bundles[""] = bundle
        bundles.setdefault(bundle.version, bundle)
    return Probed(bundles, tuple(problems))


class _Mute(Exception):
    """The binary does not say what it is."""


async def _ask(binary: str) -> Bundle:
    version = version_in(await _said(binary, "--version"))
    types = machine_types_in(await _said(binary, "-machine", "help"))
    if not version or not types:
        raise _Mute("it tells no version or no machine types")
    return Bundle(binary, version=version, machine_types=types)


async def _said(binary: str, *arguments: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            binary,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise _Mute(str(error.strerror)) from error
    try:
        async with asyncio.timeout(_ASK_LIMIT_S):
            out, _ = await process.communicate()
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise _Mute(f"no answer within {_ASK_LIMIT_S:.0f} s") from error
    if process.returncode != 0:
        raise _Mute(f"it ended with status {process.returncode}")
    return out.decode(errors="replace")


def version_in(text: str) -> str:
    """Of ``QEMU emulator version 7.2.22 (Debian ...)``; empty when there is none."""
    words = text.split("\n", 1)[0].split()
    return words[3] if words[:3] == ["QEMU", "emulator", "version"] and len(words) > 3 else ""


def machine_types_in(text: str) -> frozenset[str]:
    """Of a ``-machine help`` list: the versioned q35 types, which is what VMs have."""
    names = (line.split(" ", 1)[0] for line in text.splitlines())
    return frozenset(name for name in names if name.startswith("pc-q35-"))


@dataclass(frozen=True)
class Choice:
    """The bundle for one start. ``why``: the reason for which it is not the one that was wished for."""

    bundle: Bundle
    why: str = ""


def choose(bundles: Mapping[str, Bundle], spec: MachineSpec) -> Choice:
    """For a start of ``spec``, whose ``firmware`` is a wish. Raises HypervisorError when nothing here can run it."""
    default, wished = bundles[""], bundles.get(spec.firmware)
    if wished is not None and _knows(wished, spec.machine_type):
        return Choice(wished)
    why = (
        f"QEMU {spec.firmware} is not on this node"
        if wished is None
        else f"QEMU {wished.version} has no machine type {spec.machine_type}"
    )
    if not _knows(default, spec.machine_type):
        raise HypervisorError(f"{why}, and QEMU {default.version} does not know the machine type")
    return Choice(default, f"{why}; it runs on QEMU {default.version or 'of the node'}")


def _knows(bundle: Bundle, machine_type: str) -> bool:
    """A bundle that was not asked is taken at its word when it starts."""
    return not bundle.machine_types or machine_type in bundle.machine_types
