"""``drover web``: prints a link to the web page that logs in whoever called, once.

The page of a lab runs beside it; of another cluster, or on another port, this command serves it until Ctrl+C. The link
carries a random code in its fragment, which browsers send to nobody; the page exchanges it for a session with
the rights of the kubeconfig at hand. Others log in with a token.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
from typing import TYPE_CHECKING, Any

import click

from drover.cli.session import Session, examples, say
from drover.web import door

if TYPE_CHECKING:
    from drover.web.server import Options


@click.command(
    epilog=examples(
        "web",
        "web --port 9000 --open no",
        "web --kubeconfig ~/.kube/config --no-link",
        "web --address 192.0.2.7 --tls-cert page.crt --tls-key page.key",
    )
)
@click.option("--port", type=click.IntRange(0, 65_535), default=None, metavar="PORT",
              help=f"Where it listens; {door.PORT}, or any free one when that is taken.")  # fmt: skip
@click.option("--address", default="127.0.0.1", show_default=True, metavar="IP",
              help="Another than the loopback's needs a certificate.")  # fmt: skip
@click.option("--name", "names", multiple=True, metavar="HOST", help="A further name of it.")
@click.option("--tls-cert", metavar="FILE", default="", help="Certificate of the page, PEM.")
@click.option("--tls-key", metavar="FILE", default="", help="Its key, PEM.")
@click.option("--kubeconfig", metavar="FILE", default="", help="Another cluster than the lab.")
@click.option("--link/--no-link", default=True, help="Print a link that logs you in, once.")
@click.option("--open", "browser", type=click.Choice(["yes", "no"]), default="yes",
              help="Open the link in a browser, if there is a desktop.")  # fmt: skip
@click.pass_obj
def command(session: Session, /, port: int | None, browser: str, link: bool, **given: Any) -> int:
    """The web page: cluster, VMs, operations, nodes, plans, failovers.

    It shows and does only what your own rights allow. A lab's page runs beside it, and this prints a link; with any
    option about where it listens, or of another cluster, the page is served here until Ctrl+C.
    """
    from drover.runtime.kubeconfig import load
    from drover.web.server import Options

    elsewhere = session.elsewhere or port is not None or given["kubeconfig"] or given["names"]
    own = given["address"] == "127.0.0.1" and not given["tls_cert"] and not elsewhere
    if own and link and _beside_the_lab(session, browser == "yes"):
        return 0
    tls = _tls(given["address"], given["tls_cert"], given["tls_key"])
    access = load(given["kubeconfig"] or session.kubeconfig())
    options = Options(
        access, given["address"], door.PORT if port is None else port, given["names"], tls
    )
    return asyncio.run(_serve(options, port is None, link, browser == "yes"))


def _beside_the_lab(session: Session, browser: bool) -> bool:
    """Show a link to the page that runs there; False when none does."""
    session.kubeconfig()  # the lab has to run
    link = door.ask(session.home.lab_id, door.LINK)
    if link:
        say(f"This logs you in, once, within 15 minutes:\n  {link}")
        _open(link, browser)
    return bool(link)


def _open(link: str, browser: bool) -> None:
    if browser and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        import webbrowser

        webbrowser.open(link)


def _tls(address: str, cert: str, key: str) -> Any:
    """None: plain HTTP, which is for the loopback alone."""
    import ssl

    try:
        loopback = ipaddress.ip_address(address).is_loopback
    except ValueError as error:
        raise click.BadParameter(f"{address!r} is no IP address") from error
    if not cert or not key:
        if not loopback:
            raise click.UsageError(
                f"{address} can be reached from elsewhere, where a log-in could be read: "
                "give --tls-cert and --tls-key"
            )
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise click.ClickException(f"certificate {cert}, key {key}: {error}") from error
    return context


async def _serve(options: Options, any_port: bool, link: bool, browser: bool) -> int:
    from drover.base.clock import RealClock
    from drover.base.ids import RealIds
    from drover.base.log import Log
    from drover.web.server import Server

    clock = RealClock()
    server = Server(options, clock, RealIds(), Log(clock, _told))
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        async with server.running() as port:
            await _show(server, options, port, link, browser, ended)
            return 0
    except OSError as error:
        if not any_port:
            raise click.ClickException(
                f"port {options.port} of {options.address} cannot be used: {error.strerror}"
            ) from error
    import dataclasses

    return await _serve(dataclasses.replace(options, port=0), False, link, browser)


async def _show(
    server: Any, options: Options, port: int, link: bool, browser: bool, ended: asyncio.Event
) -> None:
    scheme = "https" if options.tls else "http"
    host = options.names[0] if options.names else options.address
    address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"
    say(f"The page is at {address}", bold=True)
    links: list[str] = []

    def issued(code: str) -> None:
        links.append(f"{address}#login={code}")
        words = "It logs you in" if len(links) == 1 else "That link was used. The next one"
        say(f"{words}, once, within 15 minutes:\n  {links[-1]}")

    if link:
        server.invite(options.upstream, issued)
    say("Others log in with a token of their own. Ctrl+C ends it.")
    _open(links[0] if links else address, browser)
    await ended.wait()
    say()


def _told(entry: dict[str, Any]) -> None:
    """Of the log only mistakes: an API that is away shows on the page."""
    if entry.get("level") == "error":
        import json

        click.echo(json.dumps(entry, default=str), err=True)
