"""A host joins a real control plane: certificates by token, and each way in which it can go wrong."""

from __future__ import annotations

import asyncio
import datetime
import shutil
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from drover.agent import join, service
from drover.agent.config import AgentConfig
from drover.agent.join import JoinError, Wanted
from drover.agent.renewal import Renewal
from drover.api import scheme, status
from drover.base import config_file
from drover.base.clock import RealClock
from drover.base.ids import RealIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.cli import tokens
from drover.cli.connect import Api
from drover.controllers.config import ControllersConfig
from drover.controllers.joining.controller import wire
from drover.runtime import csr
from drover.runtime.client import Client
from drover.runtime.kubeconfig import from_files
from drover.runtime.manager import Manager
from drover.runtime.pki import cert_pem, ensure_authority, issue

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.engine import Engine

pytestmark = pytest.mark.engine


class Site:
    """A cluster whose controllers let hosts join, and a directory for each host."""

    def __init__(self, engine: Engine, cluster: Cluster, directory: Path) -> None:
        self.cluster = cluster
        self.server = engine.server
        self.api = Api(cluster.admin, RealClock())
        self.directory = directory
        self.ca = (engine.directory / "pki" / "ca.crt").read_bytes()

    async def token(self, ttl_s: int = 600) -> str:
        await tokens.ensure_cluster_info(self.api, self.server, self.ca)
        return await tokens.make(self.api, ttl_s, "a test")

    async def forget_requests(self) -> None:
        """As Kubernetes does, an hour after they were answered."""
        found, _ = await self.cluster.admin.list(scheme.CSR)
        for request in found:
            await self.cluster.admin.delete(scheme.CSR, request["metadata"]["name"])

    async def wanted(self, node: str = "", token: str = "") -> Wanted:
        node = node or self.cluster.name("host")
        number = len(list(self.directory.iterdir())) + 1
        return Wanted(
            self.server,
            token or await self.token(),
            csr.authority_hash(self.ca),
            node,
            f"10.9.0.{number}",
            str(self.directory),
            self.directory / node / "etc",
        )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


async def joined(wanted: Wanted) -> AgentConfig:
    return await join.join(wanted, RealClock(), lambda text: None)


async def refused(wanted: Wanted) -> str:
    with pytest.raises(JoinError) as why:
        await joined(wanted)
    assert not wanted.config_file.exists()
    return str(why.value)


@pytest.fixture
async def site(engine: Engine, cluster: Cluster, tmp_path: Path) -> AsyncIterator[Site]:
    pki = tmp_path / "pki"
    authority = ensure_authority(pki, "migration-ca", _now())
    config = ControllersConfig(
        api_server=engine.server,
        ca_file="",
        client_cert_file="",
        client_key_file="",
        disks_dir="",
        images_dir="",
        vm_cidr="10.66.0.0/24",
        vm_first="",
        vm_last="",
        vm_gateway="10.66.0.254",
        webhook_address="",
    )
    hosts = tmp_path / "hosts"
    hosts.mkdir()
    log = Log(RealClock())
    manager = Manager(cluster.controllers, RealClock(), RealIds(), log, component="joining")
    wire(manager, authority, engine.server, config)
    async with TaskScope("controllers") as scope:
        running = scope.spawn(manager.run(), "manager")
        yield Site(engine, cluster, hosts)
        running.cancel()
    await asyncio.sleep(0.25)  # the connections of its watches say goodbye, which nothing waits for


async def test_a_host_joins_and_is_a_node(site: Site) -> None:
    wanted = await site.wanted()
    config = await joined(wanted)
    assert config_file.load(wanted.config_file, AgentConfig) == config
    assert service.faults(config, _now()) == []
    assert (config.vm_cidr, config.vm_gateway) == ("10.66.0.0/24", "10.66.0.254")
    for file in wanted.pki.rglob("*"):
        assert file.is_dir() or file.stat().st_mode & 0o077 == 0, file
    async with node_of(config) as node:
        await node.create(scheme.NODE, {"metadata": {"name": wanted.node}})
        with pytest.raises(status.Forbidden):
            await node.create(scheme.NODE, {"metadata": {"name": "another"}})
    tls = ssl.create_default_context(cafile=f"{config.migration_pki_dir}/ca-cert.pem")
    for side in ("server", "client"):
        files = [f"{config.migration_pki_dir}/{side}-{part}.pem" for part in ("cert", "key")]
        tls.load_cert_chain(*files)
    cert = x509.load_pem_x509_certificate(Path(config.serving_cert_file).read_bytes())
    found = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name.value) for name in found} == {wanted.node, wanted.address}
    assert "has joined as" in said_again(wanted)
    await site.cluster.admin.delete(scheme.NODE, wanted.node)


def said_again(wanted: Wanted) -> str:
    with pytest.raises(JoinError) as why:
        join.check(wanted)
    return str(why.value)


async def test_a_token_serves_one_host(site: Site) -> None:
    first = await site.wanted()
    await joined(first)
    second = await site.wanted(token=first.token)
    assert f"has served {first.node} already" in await refused(second)
    same_name = replace(second, node=first.node, directory=site.directory / "twin")
    assert f"has served {first.node} already" in await refused(same_name)
    listed, _ = await tokens._listed(site.api)
    assert first.node in {one.used_by for one in listed}
    assert first.token.partition(".")[2] not in str(listed)


async def test_two_hosts_with_one_name(site: Site) -> None:
    """And the way out works at once, with the same token."""
    admin, wanted = site.cluster.admin, await site.wanted()
    await admin.create(scheme.NODE, {"metadata": {"name": wanted.node}})
    said = await refused(wanted)
    assert f"there is a node {wanted.node} already" in said
    assert "--name" in said
    await admin.delete(scheme.NODE, wanted.node)
    await joined(wanted)


class Later(RealClock):
    """A clock that many days have passed on."""

    days = 300

    def wall(self) -> float:
        return super().wall() + self.days * 86400


async def test_certificates_are_renewed_for_the_same_keys(site: Site) -> None:
    config = await joined(await site.wanted())
    assert config.renew
    files = [Path(config.client_cert_file), Path(config.serving_cert_file)]
    files.append(Path(config.migration_pki_dir) / "server-cert.pem")
    await site.forget_requests()
    async with node_of(config) as client:
        log = Log(RealClock())
        assert await Renewal(config, client, RealClock(), log).renew() == []
        before = [file.read_bytes() for file in files]
        renewed = await Renewal(config, client, Later(), log).renew()
        # By that clock they are due again at once; an agent that was started anew each time would do nothing else.
        assert await Renewal(config, client, Later(), log).renew() == []
    assert renewed == ["client.crt", "serving.crt", "cert.pem"]
    assert all(old != file.read_bytes() for old, file in zip(before, files, strict=True))
    async with node_of(config) as client:  # the new identity is one
        await client.create(scheme.NODE, {"metadata": {"name": config.node}})
    await site.cluster.admin.delete(scheme.NODE, config.node)


async def test_a_certificate_that_ended_while_the_host_was_off(site: Site, engine: Engine) -> None:
    """It is said by name, opens nothing, and a new join gives the same key a new one."""
    wanted = await site.wanted()
    config = await joined(wanted)
    file, key = Path(config.client_cert_file), Path(config.client_key_file)
    now = _now()
    assert service.faults(config, now) == []
    cert = x509.load_pem_x509_certificate(file.read_bytes())
    long_ago = now - datetime.timedelta(days=400)
    uses: list[x509.ObjectIdentifier] = [ExtendedKeyUsageOID.CLIENT_AUTH]
    authority = ensure_authority(engine.ca.parent, "ca", now)
    old = issue(authority, cert.subject, cert.public_key(), (), uses, long_ago)  # type: ignore[arg-type]
    file.write_bytes(cert_pem(old))
    (fault,) = service.faults(config, now)
    assert (
        f"client_cert_file: {file} ended on {now - datetime.timedelta(days=35):%Y-%m-%d}" in fault
    )
    assert "is not valid before" in service.ended(config, long_ago - datetime.timedelta(days=1))[0]
    await site.forget_requests()
    async with node_of(config) as client:
        with pytest.raises(status.Unauthorized):
            await client.get(scheme.NODE, config.node)
    before = key.read_bytes()
    wanted.config_file.unlink()
    assert await joined(replace(wanted, token=await site.token())) == config
    assert key.read_bytes() == before
    assert service.faults(config, now) == []


@asynccontextmanager
async def node_of(config: AgentConfig) -> AsyncIterator[Client]:
    cert, key = Path(config.client_cert_file), Path(config.client_key_file)
    access = from_files(config.api_server, Path(config.ca_file), cert, key)
    transport = await access.transport(RealClock())
    try:
        yield Client(transport)
    finally:
        await transport.aclose()


async def test_a_wrong_hash_sends_no_token(site: Site) -> None:
    wanted = replace(await site.wanted(), ca_hash="sha256:" + "0" * 64)
    assert "somebody stands between" in await refused(wanted)
    listed, _ = await tokens._listed(site.api)
    (token,) = [one for one in listed if one.id == wanted.token.partition(".")[0]]
    assert token.used_by == ""
    assert not wanted.pki.exists()


async def test_tokens_that_are_over(site: Site) -> None:
    expired = await site.wanted(token=await site.token(ttl_s=-5))
    assert "has expired or was revoked" in await refused(expired)
    revoked = await site.wanted()
    name = tokens.PREFIX + revoked.token.partition(".")[0]
    await site.cluster.admin.delete(scheme.SECRET, name, tokens.SPACE)
    assert "has expired or was revoked" in await refused(revoked)
    never = await site.wanted(token="abcdef.0123456789abcdef")
    assert "has expired or was revoked" in await refused(never)


async def test_a_join_that_broke_off_goes_on(site: Site) -> None:
    """Killed after each of its writes: the next one makes a node of the same key."""
    wanted = await site.wanted()
    config = await joined(wanted)
    key = Path(config.client_key_file).read_bytes()
    for lost in (
        wanted.config_file,
        Path(config.serving_cert_file),
        Path(config.migration_pki_dir) / "server-key.pem",
        Path(config.client_cert_file),
    ):
        wanted.config_file.unlink(missing_ok=True)
        lost.unlink(missing_ok=True)
        assert await joined(wanted) == config
        assert service.faults(config, _now()) == []
    assert Path(config.client_key_file).read_bytes() == key


async def test_half_a_configuration_is_named(site: Site, tmp_path: Path) -> None:
    wanted = await site.wanted()
    wanted.directory.mkdir(parents=True)
    for text, word in (
        ('node = "x', "agent.toml"),
        ('node = "x"\n', "missing required field"),
        ('node = "x"\nnodes = 3\n', "nodes"),
        ("node = 3\n", "Expected `str`, got `int`"),
    ):
        wanted.config_file.write_text(text)
        with pytest.raises(JoinError, match=word) as why:
            join.check(wanted)
        assert "mend it" in str(why.value)


async def test_the_unit_runs_the_first_process_over_the_agent(site: Site) -> None:
    wanted = await site.wanted()
    config = await joined(wanted)
    text = service.unit(wanted.config_file, config, "/usr/bin/python3")
    assert f"nodeinit {config.nodeinit_socket} /usr/bin/python3 -m drover.agent.main" in text
    assert f"--config {wanted.config_file}" in text
    analyze = shutil.which("systemd-analyze")
    if analyze:  # it finds unknown words and programs that are not there
        file = site.directory / "drover-agent.service"
        file.write_text(service.unit(wanted.config_file, config, sys.executable))
        argv = (analyze, "verify", "--man=no", str(file))
        child = await asyncio.create_subprocess_exec(*argv, stderr=asyncio.subprocess.PIPE)
        _, said_of_it = await child.communicate()
        assert (child.returncode, said_of_it) == (0, b"")
    broken = replace_config(config, disks_dir="/nowhere", address="host", api_server="http://x")
    said = " ".join(service.faults(broken, _now()))
    for field in ("disks_dir", "address", "api_server"):
        assert f"{field}:" in said


def replace_config(config: AgentConfig, **changes: object) -> AgentConfig:
    return msgspec.structs.replace(config, **changes)


def test_words_that_are_no_token_hash_or_server(tmp_path: Path) -> None:
    good = Wanted(
        "https://10.0.0.1:6443",
        "abcdef.0123456789abcdef",
        "sha256:" + "a" * 64,
        "h",
        "10.0.0.2",
        "/d",
        tmp_path,
    )
    join.check(good)
    for change, word in (
        ({"server": "http://10.0.0.1"}, "no address of an API server"),
        ({"token": "abc"}, "token is not one"),
        ({"ca_hash": "md5:1"}, "hash of the authority is not one"),
    ):
        with pytest.raises(JoinError, match=word):
            join.check(replace(good, **change))
