"""The relay between a source's QEMU and the network: as a process, against a target of Python's, and behind QEMU."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.agent.qemu.certificates import Certificates
from tests.agent.qemu.rig import qemu_rig

from drover.agent.config import QEMU_USER
from drover.agent.ports import HypervisorError, MigrationOptions, MigrationState, MonitorSilent
from drover.agent.qemu import relay, relaying
from drover.agent.qemu.files import CopyFiles
from drover.agent.qemu.hypervisor import bound_backlog
from drover.agent.qemu.settings import QemuSettings
from drover.agent.spawner import Confined

LIMIT_S = 10.0
PEER = "node-2"


@dataclass
class Wired:
    """A relay that runs, QEMU's side of it, and the keys of all nodes."""

    process: subprocess.Popen[str]
    qemu: socket.socket

    def end(self) -> tuple[int, str]:
        """Its exit code and what it said."""
        said, _ = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, said


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="drv", dir="/tmp"))
    authority = Certificates("migration")
    for node in ("node-1", PEER):
        authority.write(path / node, node)
    Certificates("another").write(path / "stranger", PEER)
    yield path
    shutil.rmtree(path)


@contextlib.contextmanager
def wired(place: Path, port: int, user: int = 0) -> Iterator[Wired]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "mig"))
        listener.listen(1)
        listener.settimeout(LIMIT_S)
        argv = [str(place / "mig"), "127.0.0.1", str(port), PEER, str(place / "node-1"), str(user)]
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", relay.__file__, *argv],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            qemu, _ = listener.accept()
            qemu.settimeout(LIMIT_S)
            with qemu:
                yield Wired(process, qemu)
        finally:
            process.kill()
            process.communicate()


@contextlib.contextmanager
def target(place: Path, keys: str, talk: Callable[[ssl.SSLSocket], None]) -> Iterator[int]:
    """The port of a target that wants a certificate of its own authority, and talks to one relay."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(place / keys / "ca-cert.pem")
    context.load_cert_chain(place / keys / "server-cert.pem", place / keys / "server-key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT_S)
        bound_backlog(listener)

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                connection.settimeout(LIMIT_S)
                with context.wrap_socket(connection, server_side=True) as sealed:
                    talk(sealed)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(LIMIT_S)
            assert not thread.is_alive()


def exactly(size: int, recv: Callable[[int], bytes]) -> bytes:
    found = b""
    while len(found) < size:
        part = recv(size - len(found))
        assert part, f"hung up after {len(found)} bytes"
        found += part
    return found


def test_what_goes_in_comes_out_both_ways_at_once(place: Path) -> None:
    memory, word = os.urandom(6 << 20), os.urandom(3 << 20)
    seen: list[bytes] = []

    def talk(sealed: ssl.SSLSocket) -> None:
        seen.append(exactly(len(memory), sealed.recv))
        sealed.sendall(word)
        seen.append(sealed.recv(1))

    with target(place, PEER, talk) as port, wired(place, port) as it:
        it.qemu.sendall(memory)
        assert exactly(len(word), it.qemu.recv) == word
        it.qemu.close()
        assert it.end() == (0, "")
    assert seen == [memory, b""]


def test_little_waits_for_a_target_that_was_quick_and_is_slow_now(place: Path) -> None:
    """What QEMU got rid of counts as sent, and its guest stands still until the target has all of it."""
    read, leave = threading.Event(), threading.Event()

    def talk(sealed: ssl.SSLSocket) -> None:
        left = 32 << 20
        while left:  # for which a kernel lets more and more wait on our side
            left -= len(sealed.recv(left))
        read.set()
        leave.wait(LIMIT_S)

    with target(place, PEER, talk) as port, wired(place, port) as it:
        it.qemu.sendall(bytes(32 << 20))
        assert read.wait(LIMIT_S)
        waiting = 0
        it.qemu.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while waiting < 64 << 20:
                waiting += it.qemu.send(bytes(65536))
        leave.set()
    assert waiting < 3 << 20


def test_little_waits_on_the_targets_side() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bound_backlog(listener)
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * (512 << 10)


def test_the_targets_last_word_arrives_before_it_hangs_up(place: Path) -> None:
    def talk(sealed: ssl.SSLSocket) -> None:
        sealed.sendall(b"all of it")

    with target(place, PEER, talk) as port, wired(place, port) as it:
        assert exactly(9, it.qemu.recv) == b"all of it"
        assert it.qemu.recv(1) == b""
        assert it.end() == (1, f"the connection to {PEER} broke: the target hung up\n")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("node-1", "Hostname mismatch, certificate is not valid for 'node-2'."),
        ("stranger", "self-signed certificate in certificate chain"),
    ],
)
def test_a_target_that_is_not_who_it_should_be(place: Path, keys: str, said: str) -> None:
    with target(place, keys, lambda sealed: None) as port, wired(place, port) as it:
        assert it.qemu.recv(1) == b""
        code, words = it.end()
        assert code == 1
        assert words.startswith(f"no connection to {PEER} (127.0.0.1 port {port}): ")
        assert said in words


def test_a_target_that_does_not_take_our_certificate(place: Path) -> None:
    for end in ("cert", "key"):  # the server is what it should be, its authority for clients is not
        shutil.copy(place / PEER / f"server-{end}.pem", place / "stranger")
    with target(place, "stranger", lambda sealed: None) as port, wired(place, port) as it:
        assert it.qemu.recv(1) == b""
        assert it.end() == (1, f"the connection to {PEER} broke: tlsv1 alert unknown ca\n")


def test_nobody_is_there(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with wired(place, port) as it:
        assert it.qemu.recv(1) == b""
        where = f"no connection to {PEER} (127.0.0.1 port {port})"
        assert it.end() == (1, f"{where}: Connection refused\n")


def test_keys_that_are_not_there(place: Path) -> None:
    (place / "node-1" / "client-key.pem").unlink()
    with wired(place, 9) as it:
        said = "the migration keys cannot be read: No such file or directory\n"
        assert it.end() == (1, said)


def test_it_has_said_why_before_qemu_can_notice(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent reads it as soon as QEMU says that its copy failed."""
    said = place / "relay.log"
    with socket.socket(socket.AF_UNIX) as listener, said.open("w") as log:
        listener.bind(str(place / "mig"))
        listener.listen(1)
        monkeypatch.setattr(sys, "stdout", log)
        argv = [str(place / "mig"), "127.0.0.1", "9", PEER, str(place / "nowhere"), "0"]
        assert relay.main(argv) == 1
        qemu, _ = listener.accept()
        with qemu:
            qemu.settimeout(LIMIT_S)
            assert qemu.recv(1) == b""
        assert said.read_text().startswith("the migration keys cannot be read: ")


def test_qemu_gives_up_on_a_target_that_never_answers(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, wired(place, deaf.getsockname()[1]) as it:
        it.qemu.sendall(b"first")
        accepted, _ = deaf.accept()
        with accepted:
            assert exactly(5, accepted.recv)[:1] == b"\x16"  # it shakes hands
            it.qemu.shutdown(socket.SHUT_RDWR)
            assert it.end() == (0, "")


def test_qemu_gives_up_on_a_target_that_takes_no_more(place: Path) -> None:
    full, over = threading.Event(), threading.Event()

    def talk(sealed: ssl.SSLSocket) -> None:
        sealed.recv(1)
        full.set()
        over.wait(LIMIT_S)

    with target(place, PEER, talk) as port, wired(place, port) as it:
        it.qemu.settimeout(1.0)
        with pytest.raises(TimeoutError):
            it.qemu.sendall(bytes(64 << 20))
        assert full.wait(LIMIT_S)
        it.qemu.shutdown(socket.SHUT_RDWR)
        assert it.end() == (0, "")
        over.set()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_it_has_keys_that_its_user_cannot_get_at(place: Path) -> None:
    """Nor can a QEMU of the same user that was taken over."""
    over = threading.Event()

    def talk(sealed: ssl.SSLSocket) -> None:
        sealed.sendall(b"!")
        over.wait(LIMIT_S)

    def may_look_into(pid: int) -> bool:
        command = ["cat", f"/proc/{pid}/maps", f"/proc/{pid}/environ"]
        who = {"user": QEMU_USER, "group": QEMU_USER, "extra_groups": []}
        return subprocess.run(command, capture_output=True, check=False, **who).returncode == 0

    with target(place, PEER, talk) as port, wired(place, port, QEMU_USER) as it:
        assert it.qemu.recv(1) == b"!"
        status = Path(f"/proc/{it.process.pid}/status").read_text()
        assert f"Uid:\t{QEMU_USER}\t{QEMU_USER}\t{QEMU_USER}" in status
        assert "CapEff:\t0000000000000000" in status
        assert not may_look_into(it.process.pid)
        other = subprocess.Popen(["sleep", "60"], user=QEMU_USER, group=QEMU_USER, extra_groups=[])
        try:
            assert may_look_into(other.pid)
        finally:
            other.kill()
            other.wait()
        over.set()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_it_dies_with_its_parent_as_another_user_too(place: Path) -> None:
    """Also when it stands still, so that nobody's hanging up reaches it."""
    with socket.create_server(("127.0.0.1", 0)) as deaf, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "mig"))
        listener.listen(1)
        listener.settimeout(LIMIT_S)
        port, keys = str(deaf.getsockname()[1]), str(place / "node-1")
        argv = [relay.__file__, str(place / "mig"), "127.0.0.1", port, PEER, keys, str(QEMU_USER)]
        script = (
            "import subprocess, sys\n"
            "print(subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL).pid, flush=True)\n"
            "input()"
        )
        parent = subprocess.Popen(
            [sys.executable, "-c", script, sys.executable, "-I", "-S", *argv],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            with listener.accept()[0], deaf.accept()[0] as network:
                assert network.recv(1) == b"\x16"  # it is somebody else by now
                os.kill(child, signal.SIGSTOP)
                parent.kill()
                parent.communicate()
                network.settimeout(LIMIT_S)
                while network.recv(4096):
                    pass
        finally:
            parent.kill()
            parent.communicate()
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


async def test_qemu_says_why_its_relay_failed_and_can_try_again() -> None:
    async with qemu_rig() as rig:
        here, there = rig.nodes
        machine = await here.hypervisor.launch("copy-1", rig.spec())
        await machine.cont()
        await rig.booted("copy-1")
        listener = await there.hypervisor.listen("node-1")
        await there.hypervisor.unlisten(listener)
        await machine.migrate(MigrationOptions("127.0.0.1", listener.port, "node-2"))
        while (info := await machine.migration()).state is not MigrationState.FAILED:
            assert info.state in (MigrationState.SETUP, MigrationState.ACTIVE)
        assert "Connection refused" in info.error
        assert await rig.runs("copy-1")
        async with asyncio.timeout(LIMIT_S):  # the relay ends after its word
            while list(await here.spawner.children()) != ["copy-1"]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        listener = await there.hypervisor.listen("node-1")
        await there.hypervisor.launch("copy-2", rig.spec(), listener)
        await machine.migrate(MigrationOptions("127.0.0.1", listener.port, "node-2"))
        while (info := await machine.migration()).state is not MigrationState.COMPLETED:
            assert info.state in (
                MigrationState.SETUP,
                MigrationState.ACTIVE,
                MigrationState.DEVICE,
            )


@dataclass
class NoRelays:
    """A node whose relays do not come up; they say why, or nothing."""

    says: str = ""
    error: HypervisorError | None = None

    async def spawn(
        self, copy: str, argv: list[str], stdio: Path, nice: int = 0, confined: Confined = None
    ) -> int:
        if self.error is not None:
            raise self.error
        stdio.write_text(self.says)
        return 1

    async def confines(self) -> bool:
        return False

    async def children(self) -> dict[str, int]:
        return {}

    async def wait(self, copy: str) -> int | None:
        return None

    async def kill(self, copy: str) -> None:
        pass


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (NoRelays("Traceback\nImportError: ssl\n"), "ImportError: ssl"),
        (NoRelays(), "it gave no sign within 0 s, as on a host that is too busy"),
        (NoRelays(error=HypervisorError("256 children run")), "256 children run"),
        (NoRelays(error=MonitorSilent("nodeinit is silent")), "nodeinit is silent"),
    ],
)
async def test_a_relay_that_does_not_come_up(
    place: Path, monkeypatch: pytest.MonkeyPatch, node: NoRelays, why: str
) -> None:
    monkeypatch.setattr(relaying, "_CONNECT_LIMIT_S", 0.01)
    files = CopyFiles(place / "run", place / "log")
    for directory in (files.run_dir, files.log_dir):
        directory.mkdir()
    found = relaying.Relay("copy-1", files, QemuSettings(place, place, place, "127.0.0.1"), node)
    with pytest.raises(HypervisorError) as refused:
        async with found.opened(MigrationOptions("127.0.0.1", 9, PEER)):
            pass
    assert str(refused.value) == (
        f"no relay came up on the source, so the copy did not begin: {why}"
    )
    assert not isinstance(refused.value, MonitorSilent)  # for sure


async def test_no_relay_is_left_of_a_copy_that_qemu_refuses() -> None:
    async with qemu_rig() as rig:
        here, there = rig.nodes
        listener = await here.hypervisor.listen("node-2")
        machine = await here.hypervisor.launch("copy-1", rig.spec(), listener)
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            port = deaf.getsockname()[1]
            with pytest.raises(HypervisorError, match="incoming"):  # it waits for one itself
                await machine.migrate(MigrationOptions("127.0.0.1", port, there.name))
            assert await here.spawner.of_life(here.spawner.life) == ["copy-1"]
