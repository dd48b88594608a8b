"""Certificates: strict enough for Python 3.13 and QEMU, kept while good, renewed when not."""

from __future__ import annotations

import contextlib
import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from drover.runtime.pki import Leaf, ensure_authority, ensure_key, ensure_leaf

NOW = datetime.datetime.now(datetime.UTC)


def server_leaf(directory: Path, names: tuple[str, ...] = ("127.0.0.1",)) -> Leaf:
    return Leaf(directory / "s.crt", directory / "s.key", "server", names=names, server=True)


def client_leaf(directory: Path) -> Leaf:
    return Leaf(
        directory / "c.crt", directory / "c.key", "system:node:a", "system:nodes", client=True
    )


def test_both_ends_accept_each_other_under_strict_rules(tmp_path):
    authority = ensure_authority(tmp_path, "ca", NOW)
    ensure_leaf(authority, server_leaf(tmp_path), NOW)
    ensure_leaf(authority, client_leaf(tmp_path), NOW)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "ca.crt")
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(tmp_path / "s.crt", tmp_path / "s.key")
    client = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    client.load_cert_chain(tmp_path / "c.crt", tmp_path / "c.key")
    for context in (server, client):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert _subject_seen(server, client) == {
        "organizationName": "system:nodes",
        "commonName": "system:node:a",
    }


def _subject_seen(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, str]:
    """Shake hands in memory; what the server learns of the client."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    cert = ends[1].getpeercert()
    assert cert is not None
    return {key: value for part in cert["subject"] for key, value in part}  # type: ignore[misc]


def test_good_certificates_stay(tmp_path):
    authority = ensure_authority(tmp_path, "ca", NOW)
    assert ensure_leaf(authority, server_leaf(tmp_path), NOW)
    again = ensure_authority(tmp_path, "ca", NOW)
    assert again.cert == authority.cert
    assert not ensure_leaf(again, server_leaf(tmp_path), NOW)


@pytest.mark.parametrize("days", [340, 366])
def test_a_leaf_near_or_past_its_end_is_renewed(tmp_path, days):
    authority = ensure_authority(tmp_path, "ca", NOW)
    ensure_leaf(authority, server_leaf(tmp_path), NOW)
    later = NOW + datetime.timedelta(days=days)
    assert ensure_leaf(authority, server_leaf(tmp_path), later)
    assert not ensure_leaf(authority, server_leaf(tmp_path), later)


def test_other_addresses_make_a_new_leaf(tmp_path):
    authority = ensure_authority(tmp_path, "ca", NOW)
    ensure_leaf(authority, server_leaf(tmp_path, ("127.0.0.1", "a")), NOW)
    assert not ensure_leaf(authority, server_leaf(tmp_path, ("a", "127.0.0.1")), NOW)
    assert ensure_leaf(authority, server_leaf(tmp_path, ("127.0.0.2", "a")), NOW)


@pytest.mark.parametrize("content", [b"", b"no certificate", b"\xff\xfe"])
@pytest.mark.parametrize("name", ["s.crt", "s.key"])
def test_damaged_files_are_made_anew(tmp_path, name, content):
    authority = ensure_authority(tmp_path, "ca", NOW)
    ensure_leaf(authority, server_leaf(tmp_path), NOW)
    (tmp_path / name).write_bytes(content)
    assert ensure_leaf(authority, server_leaf(tmp_path), NOW)


def test_a_leaf_of_another_authority_is_replaced(tmp_path):
    first = ensure_authority(tmp_path, "ca", NOW)
    ensure_leaf(first, server_leaf(tmp_path), NOW)
    (tmp_path / "ca.key").unlink()
    second = ensure_authority(tmp_path, "ca", NOW)
    assert second.cert != first.cert
    assert ensure_leaf(second, server_leaf(tmp_path), NOW)


def test_keys_are_readable_by_their_owner_alone(tmp_path):
    authority = ensure_authority(tmp_path, "ca", NOW)
    ensure_leaf(authority, server_leaf(tmp_path), NOW)
    ensure_key(tmp_path / "sa.key")
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.glob("*.key")} == {
        "ca.key": "0o600",
        "s.key": "0o600",
        "sa.key": "0o600",
    }


def test_qemu_finds_the_key_usages_it_insists_on(tmp_path):
    authority = ensure_authority(tmp_path, "ca", NOW)
    ensure_leaf(authority, client_leaf(tmp_path), NOW)
    cert = x509.load_pem_x509_certificate((tmp_path / "c.crt").read_bytes())
    usage = cert.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.key_encipherment
    assert authority.cert.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
