"""``drover k ARGS``: kubectl on the lab. It becomes kubectl, so signals, terminal and exit code are its own.

Kubeconfig and cache directory go by environment, not by flags: kubectl's plugins take no flags before their name. The
cache lies in the home, so ``~/.kube`` is never touched.
"""

from __future__ import annotations

import os

import click

from drover.cli.session import Session, examples

# These need no server.
_OFFLINE = {"help", "--help", "-h", "completion", "options"}


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
    epilog=examples("k get nodes", "k get vm -w", "k describe vm linux-vm"),
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def command(session: Session, arguments: tuple[str, ...]) -> None:
    """kubectl on the lab: `drover k get nodes`."""
    from drover.server.parts import find_engine

    engine = find_engine(os.environ)
    if arguments and not _OFFLINE & set(arguments):
        os.environ["KUBECONFIG"] = str(session.kubeconfig())
    os.environ["KUBECACHEDIR"] = str(session.home.kube_cache)
    # The engine takes its part from argv[1] and makes it kubectl's argv[0].
    os.execv(engine, ["kubectl", "kubectl", *arguments])
