"""Kubeconfig files and in-cluster accounts, as they are found in the wild."""

from __future__ import annotations

import base64
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.runtime.raw_server import RawServer, answer

from drover.api.status import Unanswered
from drover.api.wire import Request
from drover.base.clock import RealClock
from drover.runtime.kubeconfig import BadKubeconfig, ExecPlugin, in_cluster, load

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, user: dict[str, Any], server: str = "http://one", **cluster: Any) -> Path:
    content = {
        "current-context": "first",
        "contexts": [
            {"name": "first", "context": {"cluster": "c", "user": "u", "namespace": "team"}},
            {"name": "second", "context": {"cluster": "other", "user": "u"}},
        ],
        "clusters": [
            {"name": "c", "cluster": {"server": server, **cluster}},
            {"name": "other", "cluster": {"server": "http://two"}},
        ],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(content))
    return path


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_inline_data_and_contexts(tmp_path: Path) -> None:
    user = {"client-certificate-data": encoded("cert"), "client-key-data": encoded("key")}
    data = {"certificate-authority-data": encoded("ca"), "tls-server-name": "kubernetes"}
    path = write(tmp_path / "config", user, **data)
    access = load(path)
    assert (access.server, access.namespace) == ("http://one", "team")
    assert (access.ca, access.cert, access.key) == (b"ca", b"cert", b"key")
    assert access.server_name == "kubernetes"
    assert load(path, context="second").server == "http://two"


def test_files_are_looked_for_beside_the_kubeconfig(tmp_path: Path) -> None:
    for name in ("ca.crt", "me.crt", "me.key"):
        (tmp_path / name).write_text(name)
    user = {"client-certificate": "me.crt", "client-key": str(tmp_path / "me.key")}
    data = {"certificate-authority": "ca.crt"}
    access = load(write(tmp_path / "config", user, **data))
    assert (access.ca, access.cert, access.key) == (b"ca.crt", b"me.crt", b"me.key")


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({"client-certificate": "missing.crt"}, "client-certificate: No such file"),
        ({"client-key-data": "*"}, "client-key-data is no base64"),
        ({"username": "u", "password": "p"}, "username, password is not supported"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(
    tmp_path: Path, user: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadKubeconfig, match=message):
        load(write(tmp_path / "config", user))


def test_a_missing_file_or_context_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadKubeconfig, match=r"nowhere: No such file"):
        load(tmp_path / "nowhere")
    with pytest.raises(BadKubeconfig, match="no context 'third'"):
        load(write(tmp_path / "config", {}), context="third")
    (tmp_path / "list").write_text("- a")
    with pytest.raises(BadKubeconfig, match="is no kubeconfig"):
        load(tmp_path / "list")


async def tokens_sent(path: Path, server: RawServer, times: int = 1) -> list[str]:
    http = await load(path).transport(RealClock())
    for _ in range(times):
        await http.send(Request("GET", "/x"))
    await http.aclose()
    return [headers["authorization"] for _, headers, _ in server.requests]


async def test_a_token_is_sent(tmp_path: Path) -> None:
    async with RawServer(answer(200, {})) as server:
        path = write(tmp_path / "config", {"token": "s3cret"}, server.url)
        assert await tokens_sent(path, server) == ["bearer s3cret"]


PLUGIN = """
import json, os, sys
asked = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
assert asked["kind"] == "ExecCredential"
with open(sys.argv[1], "a") as calls:
    calls.write("x")
count = os.path.getsize(sys.argv[1])
status = {"token": os.environ["PREFIX"] + str(count)}
if len(sys.argv) > 2:
    status["expirationTimestamp"] = sys.argv[2]
print(json.dumps({"apiVersion": asked["apiVersion"], "kind": "ExecCredential", "status": status}))
"""


def plugin(tmp_path: Path, *more: str) -> dict[str, Any]:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(tmp_path / "plugin.py"), str(tmp_path / "calls"), *more],
            "env": [{"name": "PREFIX", "value": "t"}],
        }
    }


async def test_an_exec_plugin_is_asked_once_while_its_token_lasts(tmp_path: Path) -> None:
    async with RawServer(*[answer(200, {})] * 3) as server:
        path = write(tmp_path / "config", plugin(tmp_path), server.url)
        assert await tokens_sent(path, server, times=3) == ["bearer t1"] * 3


async def test_an_exec_plugin_is_asked_again_when_its_token_ends(tmp_path: Path) -> None:
    async with RawServer(*[answer(200, {})] * 2) as server:
        expired = plugin(tmp_path, "2020-01-01T00:00:00Z")
        path = write(tmp_path / "config", expired, server.url)
        assert await tokens_sent(path, server, times=2) == ["bearer t2", "bearer t3"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["/nowhere/plugin"], "No such file"),
        (["sh", "-c", "exit 3"], "printed no ExecCredential"),
        (["sh", "-c", "echo '{\"status\": {}}'; exit 3"], r"failed \(3\)"),
    ],
)
async def test_a_failing_exec_plugin_is_named(
    tmp_path: Path, argv: list[str], message: str
) -> None:
    command, *args = argv
    version = "client.authentication.k8s.io/v1"
    entry = {"apiVersion": version, "command": command, "args": args}
    access = load(write(tmp_path / "config", {"exec": entry}))
    assert access.plugin == ExecPlugin((command, *args), (), version)
    with pytest.raises(BadKubeconfig, match=message):
        await access.transport(RealClock())


async def test_in_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in {"token": "t1\n", "ca.crt": "ca", "namespace": "team"}.items():
        (tmp_path / name).write_text(content)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(BadKubeconfig, match="not in a cluster"):
        in_cluster(tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    access = in_cluster(tmp_path)
    assert (access.server, access.ca, access.namespace) == ("https://[fd00::1]:443", b"ca", "team")


async def test_a_token_file_is_read_again(tmp_path: Path) -> None:
    class Later(RealClock):
        ahead_s = 0.0

        def monotonic(self) -> float:
            return super().monotonic() + self.ahead_s

    (tmp_path / "token").write_text("old\n")
    async with RawServer(*[answer(200, {})] * 3) as server:
        clock = Later()
        path = write(tmp_path / "config", {"tokenFile": "token"}, server.url)
        http = await load(path).transport(clock)
        for ahead_s in (0, 30, 61):
            clock.ahead_s = ahead_s
            await http.send(Request("GET", "/x"))
            (tmp_path / "token").write_text("new\n")
        await http.aclose()
        sent = [headers["authorization"] for _, headers, _ in server.requests]
        assert sent == ["bearer old", "bearer old", "bearer new"]


async def test_a_token_that_cannot_be_had_is_a_request_never_sent(tmp_path: Path) -> None:
    async with RawServer() as server:
        for user in (plugin(tmp_path, "2020-01-01T00:00:00Z"), {"tokenFile": "missing"}):
            http = await load(write(tmp_path / "config", user, server.url)).transport(RealClock())
            (tmp_path / "plugin.py").write_text("raise SystemExit(1)")
            with pytest.raises(Unanswered) as caught:
                await http.send(Request("PUT", "/x", body={}))
            assert caught.value.sent is False
            await http.aclose()
        assert server.requests == []


def test_json_is_yaml(tmp_path: Path) -> None:
    path = write(tmp_path / "config", {})
    path.write_text(json.dumps(yaml.safe_load(path.read_text())))
    assert load(path).server == "http://one"
