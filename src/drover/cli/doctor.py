"""``drover doctor``: what this machine offers, what is missing, and what to do about it.

Each check looks and returns one row; none installs or changes anything, except that the probe for
KVM is remembered. ``tools/bootstrap/needs.sh`` holds the shorter list for a machine where nothing is
set up yet.

    ok        as it should be
    note      works, with a drawback that is named
    missing   some commands cannot serve; the remedy says what to do

It does not look into a lab: that is ``drover status``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from drover.cli import accel
from drover.cli.session import examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

COMMAND_LIMIT_S = 10
DISK_NEEDED = 2_000_000_000
MEMORY_NEEDED = 3_000_000_000
NAMESPACES = ["unshare", "--net", "--pid", "--mount", "--uts", "--fork", "true"]
PROGRAMS = {
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "ping": "iputils-ping",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table."""

    check: str
    state: Literal["ok", "note", "missing"]
    found: str
    remedy: str = ""


@dataclasses.dataclass(frozen=True)
class Places:
    """Where ``./drover`` has put things."""

    cache: Path
    engine: str
    image: Path

    @classmethod
    def from_environment(cls) -> Places:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cls(
            cache=Path(os.environ.get("DROVER_CACHE") or home / "drover"),
            engine=os.environ.get("DROVER_ENGINE", ""),
            image=Path(os.environ.get("DROVER_IMAGE", "")),
        )


def collect(places: Places | None = None) -> list[Row]:
    """All rows, in the order in which they matter."""
    at = places or Places.from_environment()
    return [
        check_accelerator(at),
        check_qemu(),
        check_firmware(),
        check_engine(at),
        check_kubectl(at),
        check_image(at),
        check_system(),
        check_root(),
        check_namespaces(),
        check_tun(),
        check_programs(),
        check_disk(at),
        check_memory(),
    ]


def output_of(command: list[str]) -> str | None:
    """Standard output of a short command; None when it cannot be run or fails."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def check_accelerator(at: Places) -> Row:
    known = accel.verdict(at.cache, at.image)
    if known.accelerator == "kvm":
        return Row("accelerator", "ok", f"KVM: {known.why}")
    remedy = "guests run in software, several times slower; a machine with working KVM is faster"
    return Row("accelerator", "note", f"TCG: {known.why}", remedy)


def check_qemu() -> Row:
    version = accel.qemu_version()
    if version is None:
        return Row("qemu", "missing", "not installed", "apt-get install qemu-system-x86 qemu-utils")
    return Row("qemu", "ok", version)


def check_firmware() -> Row:
    """Whether there is a second version to upgrade guests to."""
    found = [version for binary in accel.more_qemus() if (version := accel.qemu_version(binary))]
    if found:
        return Row("firmware", "ok", f"{', '.join(found)} beside it; see ./drover firmware list")
    why = accel.why_no_more()
    if not why:
        return Row("firmware", "note", "one version", "the next ./drover up looks for a newer one")
    remedy = f"guests have one version; to look again remove {accel.firmware_dir()}"
    return Row("firmware", "note", f"one version: {why}", remedy)


def check_engine(at: Places) -> Row:
    if not os.access(at.engine or "/nonexistent", os.X_OK):
        return Row("engine", "missing", "not built yet", "the first ./drover up builds it")
    version = output_of([at.engine, "version"])
    if version is None:
        return Row(
            "engine", "missing", f"{at.engine} does not run", "remove it and run ./drover up"
        )
    return Row("engine", "ok", f"{version} at {at.engine}")


def check_kubectl(at: Places) -> Row:
    """The engine holds a kubectl of its own; one of the machine is only mentioned."""
    text = output_of([at.engine, "kubectl", "version", "--client"]) if at.engine else None
    if text is None:
        return Row("kubectl", "missing", "comes with the engine", "the first ./drover up builds it")
    also = shutil.which("kubectl")
    version = text.split("\n", 1)[0].rpartition(" ")[2]
    return Row("kubectl", "ok", f"{version} as ./drover k" + (f"; also {also}" if also else ""))


def check_image(at: Places) -> Row:
    disk = at.image / "drover-linux.qcow2"
    if not disk.is_file():
        return Row("guest image", "missing", "not built yet", "the first ./drover up builds it")
    return Row("guest image", "ok", f"{disk.stat().st_size // 2**20} MiB at {disk}")


def check_system() -> Row:
    name = platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    found = f"{name}, {platform.machine()}, Linux {platform.release()}"
    if platform.machine() != "x86_64":
        return Row("system", "missing", found, "drover runs on x86-64 machines only")
    return Row("system", "ok", found)


def check_root() -> Row:
    if os.geteuid() != 0:
        return Row("root", "missing", f"user {os.geteuid()}", "a lab needs root: sudo ./drover ...")
    return Row("root", "ok", "yes")


def check_namespaces() -> Row:
    if output_of(NAMESPACES) is None:
        remedy = "run on the machine itself, or in a container that may make them (--privileged)"
        return Row("namespaces", "missing", "the kernel refuses new ones", remedy)
    return Row("namespaces", "ok", "network, PID, mount and UTS can be made")


def check_tun() -> Row:
    if not Path("/dev/net/tun").is_char_device():
        remedy = "modprobe tun, or give it to the container (--device /dev/net/tun)"
        return Row("tun", "missing", "no /dev/net/tun", remedy)
    return Row("tun", "ok", "/dev/net/tun")


def check_programs() -> Row:
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    lacking = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if lacking:
        remedy = "apt-get install " + " ".join(PROGRAMS[name] for name in lacking)
        return Row("programs", "missing", f"no {', '.join(lacking)}", remedy)
    return Row("programs", "ok", ", ".join(PROGRAMS))


def check_disk(at: Places) -> Row:
    place = next(x for x in (at.cache, *at.cache.parents) if x.is_dir())
    free = shutil.disk_usage(place).free
    found = f"{free / 1e9:.0f} GB free at {place}"
    if free < DISK_NEEDED:
        return Row("disk", "missing", found, "free 2 GB for the disks of a lab")
    return Row("disk", "ok", found)


def check_memory() -> Row:
    words = Path("/proc/meminfo").read_text().split()
    total, free = (int(words[words.index(x) + 1]) * 1024 for x in ("MemTotal:", "MemAvailable:"))
    found = f"{total / 1e9:.0f} GB, {free / 1e9:.1f} GB available"
    if total < MEMORY_NEEDED:
        return Row("memory", "missing", found, "a lab with two guests needs 3 GB")
    if free < MEMORY_NEEDED / 2:
        return Row("memory", "note", found, "end other programs before starting many guests")
    return Row("memory", "ok", found)


def as_table(rows: Iterable[Row], style: Callable[[Row], str]) -> str:
    """Plain text, one row a line; remedies stand below what they cure."""
    lines = []
    for row in rows:
        lines.append(f"{row.check:<12}{style(row)}{row.found}")
        if row.remedy:
            lines.append(f"{'':<21}{row.remedy}")
    return "\n".join(lines)


def colored(row: Row) -> str:
    color = {"ok": "green", "note": "yellow", "missing": "red"}[row.state]
    return click.style(f"{row.state:<9}", fg=color)


@click.command("doctor", epilog=examples("doctor", "doctor -o json"))
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
@click.pass_context
def command(context: click.Context, output: str) -> None:
    """What this machine offers, what is missing, and what to do about it."""
    rows = collect()
    if output == "json":
        click.echo(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
    else:
        click.echo(as_table(rows, colored))
    if any(row.state == "missing" for row in rows):
        context.exit(1)
