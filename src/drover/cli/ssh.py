"""``drover ssh VM [-- COMMAND]``: the system's ssh, pointed at the VM's address.

Its end is ours. When it could not log in, a line tells whether the guest listens at all, or where its keys come from.
The machine reaches the VM addresses of its labs. Host keys are kept in the lab, under the VM's uid, so a new VM at an
old address is no alarm, and another key of the *same* VM is one.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drover.cli.session import Session, examples, spoken

if TYPE_CHECKING:
    from drover.api.wire import Object
    from drover.cli.connect import Api
    from drover.cli.targets import Target

SSH_FAILED = 255  # ssh's own failure; every other status is the command's
_PROBE_S = 2.0


@click.command(
    epilog=examples(
        "ssh linux-vm",
        "ssh linux-vm -- uptime",
        "ssh -l debian -i ~/.ssh/id_ed25519 debian-vm.default -c 'uname -a'",
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

    A guest lets in the keys that the VM's user data names: `ssh_authorized_keys` of its cloud-config, under
    spec.provisioning. Put your own public key there before the VM is made, or change it and restart the VM;
    examples/linux-vm.yaml shows how. The built-in image has the user root, cloud images have one of their own, named
    by -l: debian, ubuntu.
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
    code = _run(program, argv)
    if code == SSH_FAILED:
        there = _answers(address, int(given["port"]))
        said = no_login(wanted, given["username"]) if there else no_answer(wanted, given["port"])
        click.echo(spoken(said), err=True)
    sys.exit(code)


def _run(program: str, argv: list[str]) -> int:
    """ssh itself hears Ctrl+C; we wait for its end."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        done = subprocess.run([program, *argv[1:]], check=False, preexec_fn=_hear_interrupts)
    finally:
        signal.signal(signal.SIGINT, before)
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


def _hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _answers(address: str, port: int) -> bool:
    """Whether the guest takes connections there: what ssh could not do had another reason then."""
    try:
        socket.create_connection((address, port), _PROBE_S).close()
    except OSError:
        return False
    return True


def no_answer(wanted: Target, port: object) -> str:
    """What to look at when nothing listens there, as in a guest that starts."""
    return (
        f"Error: nothing in {wanted} answers on port {port}: it may be starting still (minutes without KVM), "
        f"or has no SSH server. `drover console {wanted.name} -n {wanted.namespace}` shows how far it is."
    )


def no_login(wanted: Target, user: str) -> str:
    """What to look at when ssh could not log in; its own words stand above."""
    return (
        f"Error: ssh could not log in to {wanted} as {user}. A guest lets in the keys that its user data names "
        "(ssh_authorized_keys), and images have different users (-l). `drover ssh --help` tells more; "
        "`drover console` needs no key."
    )


def _address(found: Object, wanted: Target) -> str:
    from drover.api.kinds import vm as vms
    from drover.cli.targets import active_pod, why_not_running

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
