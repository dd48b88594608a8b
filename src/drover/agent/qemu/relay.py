"""A process between a source's QEMU and the network while a copy takes place: plain on one side, TLS on the other.

QEMU could do TLS itself, as the target's QEMU does. But it seals every page, and the header of every page, on its own,
with a system call each, and each costs the other end two calls to read: more than half of a copy's time. This process
seals what it finds waiting, in records of 16 KiB ([decision 5](../../../../docs/decisions/0005-a-relay-for-tls.md)).

    relay.py SOCKET ADDRESS PORT PEER TLS_DIR USER

It connects to the unix socket SOCKET, where QEMU's side comes from, reads the keys in TLS_DIR, becomes USER (a number;
0: stays what it is), and connects to the target, whose certificate must name PEER. Then it passes bytes on, both ways,
until either side hangs up. What a side cannot take yet is left with the other one, but for a buffer each way. The last
line of its output says what was wrong with the network's side, for the agent to read.

When QEMU hangs up, what was not sent yet is dropped: the target acknowledges a whole copy over this very stream, so
only one that was given up can lose anything. Standard library only and run by its path, since it must start in tens of
milliseconds. Not promised: to notice that a link is dead, which QEMU does not either. The agent cancels, and then QEMU
hangs up.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import socket
import ssl
import sys

_BUFFER_BYTES = 256 * 1024
_CONNECT_LIMIT_S = 30.0
_HANDSHAKE_LIMIT_S = 120.0  # for each answer; the target's QEMU gives it, and may not be up yet
_PR_SET_PDEATHSIG = 1
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_GONE = select.POLLHUP | select.POLLERR


class NetworkFailed(Exception):
    """``str()`` is for people."""


class QemuHungUp(Exception):
    """It has what it wanted, or gave up."""


class Pipe:
    """One direction. ``pending`` was read and is not written yet."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self._source = source
        self._sink = sink
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self.pending = self._buffer[:0]
        self.ended = False

    def pump(self) -> bool:
        """Read and write what can be done without waiting; whether anything was. Raises OSError."""
        try:
            if not self.pending and not self.ended:
                size = self._source.recv_into(self._buffer)
                self.pending, self.ended = self._buffer[:size], size == 0
            if not self.pending:
                return False
            self.pending = self.pending[self._sink.send(self.pending) :]
        except _NOT_NOW:
            return False
        return True


def await_either(network: socket.socket, events: int, plain: socket.socket, limit_s: float) -> None:
    """Until the network's side is ready. Raises QemuHungUp, NetworkFailed after the limit."""
    poll = select.poll()
    poll.register(network, events)
    poll.register(plain, 0)
    ready = dict(poll.poll(limit_s * 1000))
    if plain.fileno() in ready:
        raise QemuHungUp
    if not ready:
        raise NetworkFailed("no answer in time")


def connect(address: str, port: int, plain: socket.socket) -> socket.socket:
    """Raises OSError, NetworkFailed, QemuHungUp."""
    network = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    network.setblocking(False)
    network.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # What waits here counts as sent for QEMU, and its guest stands still until the target has it.
    network.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _BUFFER_BYTES)
    number = network.connect_ex((address, port))
    if number == errno.EINPROGRESS:
        await_either(network, select.POLLOUT, plain, _CONNECT_LIMIT_S)
        number = network.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))
    return network


def shake_hands(
    network: socket.socket, context: ssl.SSLContext, peer: str, plain: socket.socket
) -> ssl.SSLSocket:
    """Raises OSError, NetworkFailed, QemuHungUp."""
    sealed = context.wrap_socket(network, server_hostname=peer, do_handshake_on_connect=False)
    while True:
        try:
            sealed.do_handshake()
        except ssl.SSLWantReadError:
            await_either(sealed, select.POLLIN, plain, _HANDSHAKE_LIMIT_S)
        except ssl.SSLWantWriteError:
            await_either(sealed, select.POLLOUT, plain, _HANDSHAKE_LIMIT_S)
        else:
            return sealed


def pass_on(plain: socket.socket, sealed: ssl.SSLSocket) -> None:
    """Until a side hangs up. Raises OSError, NetworkFailed, QemuHungUp."""
    there, back = Pipe(plain, sealed), Pipe(sealed, plain)
    while True:
        try:
            moved = there.pump()
        except OSError:
            back.pump()  # raises what the target had to say, if it did
            raise
        moved = back.pump() or moved
        if there.ended:
            raise QemuHungUp
        if back.ended and not back.pending:
            raise NetworkFailed("the target hung up")
        if not moved:
            _await_any(plain, sealed, there, back)


def _await_any(plain: socket.socket, sealed: ssl.SSLSocket, there: Pipe, back: Pipe) -> None:
    poll = select.poll()
    outward = select.POLLOUT if there.pending else 0
    inward = select.POLLOUT if back.pending else 0
    if outward or not back.pending:  # else a broken network would be told again and again
        poll.register(sealed, outward | (0 if back.pending else select.POLLIN))
    poll.register(plain, inward | (0 if there.pending else select.POLLIN))
    if dict(poll.poll()).get(plain.fileno(), 0) & _GONE:
        raise QemuHungUp


def keys(directory: str) -> ssl.SSLContext:
    """Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the name, and asks for a certificate
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(f"{directory}/ca-cert.pem")
    context.load_cert_chain(f"{directory}/client-cert.pem", f"{directory}/client-key.pem")
    return context


def become(user: int) -> None:
    """After the keys are read. From then on the kernel lets no other process of that user look into this one; and it
    forgets that this one is to die with its parent.
    """
    parent = os.getppid()
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise QemuHungUp  # its parent is that one too


def why(error: OSError) -> str:
    """In words for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return error.strerror or str(error)


def hung_up(plain: socket.socket) -> bool:
    poll = select.poll()
    poll.register(plain, 0)
    return bool(poll.poll(0))


def main(argv: list[str]) -> int:
    """Exit code 0 when QEMU hung up first."""
    path, address, port, peer, tls_dir, user = argv
    with socket.socket(socket.AF_UNIX) as plain:
        plain.connect(path)
        plain.setblocking(False)
        doing = "the migration keys cannot be read"
        try:
            context = keys(tls_dir)
            become(int(user))
            doing = f"no connection to {peer} ({address} port {port})"
            sealed = shake_hands(connect(address, int(port), plain), context, peer, plain)
            doing = f"the connection to {peer} broke"
            pass_on(plain, sealed)
        except QemuHungUp:
            return 0
        except (OSError, NetworkFailed) as error:
            if hung_up(plain):
                return 0
            sys.stdout.write(f"{doing}: {why(error) if isinstance(error, OSError) else error}\n")
            sys.stdout.flush()  # before QEMU sees its end close, at which the agent reads this
        return 1


if __name__ == "__main__":
    # Not by an interpreter that tidies up: just then a guest is let go on.
    os._exit(main(sys.argv[1:]))
