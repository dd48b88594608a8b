"""A server's certificates are renewed while it runs, and its parts started anew one after the other."""

from __future__ import annotations

import base64
import datetime
import os
import ssl
from pathlib import Path

import pytest
from tests.server.test_config import config_at

from drover.runtime.pki import ends, time_fault
from drover.server import main
from drover.server.parts import Part
from drover.server.renewal import Renewal, left_at_renewal
from drover.server.supervisor import _Child, next_stale

DAY = datetime.timedelta(days=1)
BORN = datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC)


def test_each_certificate_and_what_is_made_of_it_is_renewed_in_good_time(tmp_path: Path) -> None:
    config = config_at(tmp_path)
    main.write_files(config, BORN)
    pki = config.plane.pki
    before = {file.name: file.read_bytes() for file in pki.iterdir()}
    admin = config.plane.kubeconfig.read_bytes()
    due = BORN + 365 * DAY - left_at_renewal(config.name)
    assert Renewal(config, lambda: due - DAY).renew() == []
    made = Renewal(config, lambda: due).renew()
    authorities = {"ca", "etcd-ca", "migration-ca"}
    assert {*made} == {file.stem for file in pki.glob("*.crt")} - authorities
    assert all(ends(pki / f"{name}.crt") == due + 365 * DAY for name in made)
    kept = {name for name, content in before.items() if (pki / name).read_bytes() == content}
    shared = {f"{name}.{kind}" for name in authorities for kind in ("crt", "key")}
    accounts = {"service-accounts.key", "service-accounts.pub"}
    assert kept == {*shared, *accounts, "webhook-client.kubeconfig"}  # that one names its files
    assert config.plane.kubeconfig.read_bytes() != admin
    assert Renewal(config, lambda: due + DAY).renew() == []
    (pki / "scheduler.crt").write_bytes(b"half")
    assert Renewal(config, lambda: due + DAY).renew() == ["scheduler"]


def test_certificates_of_a_clock_that_was_ahead_are_made_anew(tmp_path: Path) -> None:
    """Hosts take them for not valid yet."""
    config = config_at(tmp_path)
    main.write_files(config, BORN)
    for file in config.plane.pki.glob("*.crt"):
        if file.stem not in ("ca", "etcd-ca", "migration-ca"):
            file.unlink()
    main.write_files(config, BORN + 400 * DAY)
    assert "apiserver" in Renewal(config, lambda: BORN + DAY).renew()
    assert time_fault(config.plane.pki / "apiserver.crt", BORN + DAY) == ""
    assert Renewal(config, lambda: BORN + DAY).renew() == []


@pytest.mark.parametrize("writes", range(24))
def test_a_renewal_that_breaks_off_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """After so many of its writes: of keys, of certificates, of what is made of them."""
    config = config_at(tmp_path)
    main.write_files(config, BORN)
    due = BORN + 365 * DAY - left_at_renewal(config.name)
    renewal, left = Renewal(config, lambda: due), writes

    def replace(source: Path, target: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(28, "No space left on device")
        os.replace(source, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OSError, match="No space"):
        renewal.renew()
    monkeypatch.undo()
    made, pki = renewal.renew(), config.plane.pki
    assert {*made} == {file.stem for file in pki.glob("*.crt")} - {"ca", "etcd-ca", "migration-ca"}
    for name in made:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pki / f"{name}.crt", pki / f"{name}.key")  # a pair
        assert ends(pki / f"{name}.crt") == due + 365 * DAY
    within = base64.b64encode((pki / "admin.crt").read_bytes()).decode()
    assert within in config.plane.kubeconfig.read_text()
    assert renewal.renew() == []


def test_servers_renew_on_days_of_their_own() -> None:
    left = {left_at_renewal(f"server-{number}") for number in range(1, 6)}
    assert len(left) == 5
    assert all(20 * DAY < one <= 30 * DAY for one in left)


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ({}, "a"),
        ({"pid": 0}, None),  # it is down: no other is ended as well
        ({"born_s": 80.0}, None),  # it has only begun
        ({"told_s": 99.0}, None),  # it is about to end
        ({"done": True, "pid": 0}, "a"),
    ],
)
def test_a_part_is_ended_only_while_all_others_are_well(
    change: dict[str, object], first: str | None
) -> None:
    parts = [
        _Child(Part(name, ()), Path(name), pid=7, born_s=10.0, stale=True) for name in ("a", "b")
    ]
    for field, value in change.items():
        setattr(parts[1], field, value)
    found = next_stale(parts, 100.0, 30.0)
    assert (found.part.name if found else None) == first
