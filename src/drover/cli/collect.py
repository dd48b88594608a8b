"""``drover collect FILE.tar.gz``: a support bundle: objects, Events, logs, serial and QMP tails, versions. No secrets.

Each part is collected for itself: what cannot be had is named in ``manifest.json`` with the reason, so a bundle is made
also when the API or half of the lab is down, which is when one wants it. Secrets are read only to know what must not be
in the bundle; they, user data, keys and kubeconfigs are not put in. Where they cannot be read, nobody knows what guests
may have printed of them: then the guests' output stays out, unless one asks for it.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import platform
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drover.cli.redact import Redactor, texts_of_secret
from drover.cli.session import Session, examples, say

if TYPE_CHECKING:
    from drover.answers.world import World
    from drover.api.wire import Object

API_S = 20.0
MOST_FILES = 500  # logs, newest first
SECRETS = "values of Secrets, to strike them out"
SERIAL_LOG = "serial.log"


@dataclass
class Bundle:
    """What goes in, by name; ``lacking`` by part: why it could not be had."""

    files: dict[str, bytes] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)

    def put_json(self, name: str, value: Any) -> None:
        self.files[name] = json.dumps(value, indent=1).encode()

    def manifest(self) -> dict[str, Any]:
        listed = {name: len(data) for name, data in sorted(self.files.items())}
        return {"files": listed, "lacking": self.lacking}


@click.command(
    epilog=examples(
        "collect bundle.tar.gz", "collect bundle.tar.gz --tail 64", "collect bundle.tar.gz -o json"
    )
)
@click.argument("file", metavar="FILE.tar.gz", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--tail",
    "tail_kib",
    type=click.IntRange(1, 16384),
    default=256,
    show_default=True,
    help="KiB of each log.",
)
@click.option(
    "--serial", is_flag=True, help="Put the guests' output in even when Secrets cannot be read."
)
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@click.pass_obj
def command(
    session: Session, file: Path, tail_kib: int, serial: bool, force: bool, output: str
) -> int:
    """Write a support bundle: objects, Events, logs, serial and QMP tails, versions.

    Secrets, user data, keys and passwords are taken out; look into it before you hand it on. Exit code 0 when all
    could be had, 1 when something is missing (the bundle is written, and its manifest.json says what).
    """
    if file.exists() and not force:
        raise click.ClickException(f"{file} exists already: name another file, or say --force")
    session.parts()
    bundle = Bundle()
    known, world, events = asyncio.run(_ask(session, bundle))
    blind = world is None or SECRETS in bundle.lacking
    redactor = Redactor(known, _names(world))
    if world is not None:
        _objects(bundle, redactor, world)
        bundle.put_json("objects/Event.json", redactor.value(events))
    _logs(session, bundle, redactor, tail_kib * 1024, serial or not blind)
    _versions(session, bundle)
    _write(file, bundle)
    if output == "json":
        click.echo(json.dumps({"file": str(file), **bundle.manifest()}, indent=2))
    else:
        size = file.stat().st_size / 2**20
        say(
            f"{file}: {len(bundle.files)} files, {size:.1f} MiB. Secrets and user data are taken out."
        )
        say("Names, addresses and what guests print are in it: look before you hand it on.")
        for part, why in bundle.lacking.items():
            say(f"not in it: {part}: {why}")
    return 1 if bundle.lacking else 0


async def _ask(session: Session, bundle: Bundle) -> tuple[list[str], World | None, list[Object]]:
    """(texts that hold secrets, the objects, Events)."""
    from drover.api import scheme
    from drover.api.status import ApiError, Unanswered
    from drover.cli import why_world
    from drover.cli.connect import connected
    from drover.lab.errors import LabError

    known: list[str] = []
    try:
        async with asyncio.timeout(API_S), connected(session) as api:
            secrets: list[Object] = []
            try:
                secrets, _ = await api.client.list(scheme.SECRET)
            except ApiError as error:
                bundle.lacking[SECRETS] = str(error)
            for secret in secrets:
                known += texts_of_secret(secret)
            world = await why_world.look(api)
            known += [text for vm in world.all(scheme.VM) if (text := _inline(vm))]
            events, _ = await api.client.list(scheme.EVENT)
            return known, world, events
    except TimeoutError:
        bundle.lacking["objects"] = f"the API did not answer within {API_S:.0f} s"
    except (LabError, ApiError, Unanswered) as error:
        bundle.lacking["objects"] = str(error)
    return known, None, []


def _inline(vm: Object) -> str:
    from drover.api.kinds import vm as vms

    return vms.user_data(vm) or ""


def _names(world: World | None) -> list[str]:
    """Of all objects: they stand in user data as well, and are no secrets."""
    if world is None:
        return []
    return [
        word
        for found in world.objects.values()
        for obj in found.values()
        for word in (obj["metadata"]["name"], obj["metadata"].get("namespace", ""))
    ]


def _objects(bundle: Bundle, redactor: Redactor, world: World) -> None:
    """A file for each kind; and what we ourselves say of it all."""
    from drover.answers.history import history
    from drover.answers.overview import Overview

    for kind in world.objects:
        if kind.kind in world.missing:
            bundle.lacking[f"objects/{kind.kind}"] = "not readable"
        else:
            bundle.put_json(f"objects/{kind.kind}.json", redactor.value(world.all(kind)))
    bundle.put_json("status.json", redactor.value(Overview(world).as_json()))
    bundle.put_json("report.json", redactor.value(history(world, world.now_s - 86400).as_json()))


def _logs(
    session: Session, bundle: Bundle, redactor: Redactor, most_bytes: int, serial: bool
) -> None:
    if redactor.overwhelmed:
        bundle.lacking["logs"] = "there are too many Secrets to search them for"
        return
    listed = list(_log_files(session))
    if not serial:
        others = [(name, path) for name, path in listed if path.name != SERIAL_LOG]
        if len(others) < len(listed):
            why = "Secrets could not be read, so it might hold some; --serial puts it in"
            bundle.lacking["output of guests"] = why
        listed = others
    found = sorted(listed, key=lambda pair: _age(pair[1]), reverse=True)
    for name, path in found[:MOST_FILES]:
        try:
            bundle.files[name] = redactor.text(_tail(path, most_bytes)).encode()
        except OSError as error:
            bundle.lacking[name] = error.strerror or str(error)
    if len(found) > MOST_FILES:
        bundle.lacking["older logs"] = f"{len(found) - MOST_FILES} files"


def _log_files(session: Session) -> Iterator[tuple[str, Path]]:
    """(name in the bundle, where it is): control plane and agents; serial and QEMU's own; QMP events of living ones."""
    from drover.lab import processes

    if session.given_kubeconfig:
        return
    home = session.home
    for path in sorted(home.logs.glob("*.log")):
        yield f"logs/{path.name}", path
    for path in sorted(home.path.glob("nodes/*/state/log/*/*.log")):
        node, copy = path.parts[-5], path.parts[-2]
        yield f"nodes/{node}/{copy}/{path.name}", path
    for node, pid in sorted(processes.inits(session.lab.lab_id).items()):
        root = Path(f"/proc/{pid}/root{processes.NODE_RUN}/copies")
        for path in sorted(root.glob("*/events.log")):
            yield f"nodes/{node}/{path.parent.name}/qmp-events.log", path


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _tail(path: Path, most_bytes: int) -> str:
    """Its last whole lines."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - most_bytes))
        text = file.read(most_bytes).decode(errors="replace")
    return text if size <= most_bytes else text.partition("\n")[2]


def _versions(session: Session, bundle: Bundle) -> None:
    from dataclasses import asdict

    from drover import __version__
    from drover.server.parts import engine_version

    told = {
        "drover": __version__,
        "kubernetes": engine_version(os.environ),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
    }
    bundle.put_json("versions.json", told)
    bundle.put_json("parts.json", [asdict(part) for part in session.parts()])


def _write(file: Path, bundle: Bundle) -> None:
    """Whole or not at all, readable for its owner alone."""
    bundle.put_json("manifest.json", bundle.manifest())
    part = file.with_name(f"{file.name}.part")
    try:
        private = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(private, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as tar:
            for name, data in sorted(bundle.files.items()):
                entry = tarfile.TarInfo(f"drover-bundle/{name}")
                entry.size, entry.mode = len(data), 0o600
                tar.addfile(entry, io.BytesIO(data))
        part.replace(file)
    except OSError as error:
        raise click.ClickException(f"cannot write {file}: {error.strerror}") from error
