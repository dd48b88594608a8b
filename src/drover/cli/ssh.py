"""``drover ssh VM [-- COMMAND]``: becomes the system's ssh, pointed at the VM's address.

The machine reaches the VM addresses of its labs. Host keys are kept in the lab, under the VM's uid, so a new VM at
an old address is no alarm, and another key of the *same* VM is one.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drover.cli.session import Session, examples

if TYPE_CHECKING:
    from drover.api.wire import Object
    from drover.cli.connect import Api


@click.command(
    epilog=examples(
        "ssh linux-vm",
        "ssh linux-vm -- uptime",
        "ssh -l root -i ~/.ssh/id_ed25519 linux-vm.default -c 'uname -a'",
    )
)
@click.argument("vm")
@click.argument("words", nargs=-1, metavar="[-- COMMAND...]")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("-l", "--username", default="root", show_default=True)
@click.option("-i", "--identity-file", default="", metavar="FILE", help="Private key.")
@click.option("-p", "--port", default=22, show_default=True)
@click.option("-c", "--command", "line", default="", metavar="LINE", help="Same as -- COMMAND.")
@click.pass_obj
def command(
    session: Session, /, vm: str, words: tuple[str, ...], namespace: str, **given: str
) -> None:
    """Log in to VM by SSH, or run COMMAND there.

    The guest lets in the keys that its user data names (`ssh_authorized_keys` of cloud-config).
    """
    from drover.cli.connect import with_api
    from drover.cli.targets import find, target

    if given["line"] and words:
        raise click.UsageError("give the command once: by --command or after --")
    program = shutil.which("ssh")
    if program is None:
        raise click.ClickException("ssh is not installed: apt-get install openssh-client")
    wanted = target(vm, namespace)

    async def look(api: Api) -> Object:
        return await find(api.client, wanted)

    found = with_api(session, look)
    address = _address(found, wanted)
    command_words = (given.pop("line"),) if given["line"] else words
    known = session.home.run / "known_hosts"
    argv = ssh_argv(address, str(found["metadata"]["uid"]), known, command_words, **given)
    os.execv(program, argv)


def _address(found: Object, wanted: object) -> str:
    from drover.api.kinds import vm as vms
    from drover.cli.targets import Target, active_pod, why_not_running

    assert isinstance(wanted, Target)
    if not active_pod(found):
        raise click.ClickException(why_not_running(wanted, found))
    if not vms.ip_address(found):
        raise click.ClickException(f"{wanted} has no address yet")
    return vms.ip_address(found)


def ssh_argv(
    address: str, uid: str, known_hosts: Path, words: tuple[str, ...], **given: str
) -> list[str]:
    """The command line of ssh. Pure."""
    options = {
        "UserKnownHostsFile": str(known_hosts),
        "HostKeyAlias": uid,
        "StrictHostKeyChecking": "accept-new",
        "LogLevel": "ERROR",
    }
    argv = ["ssh", "-p", str(given["port"]), "-l", given["username"]]
    for name, value in options.items():
        argv += ["-o", f"{name}={value}"]
    if given.get("identity_file"):
        argv += ["-i", given["identity_file"], "-o", "IdentitiesOnly=yes"]
    return [*argv, address, *words]
