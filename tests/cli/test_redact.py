"""Secrets are struck out by place and by value, and what is none stays readable."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from drover.cli import redact
from drover.cli.redact import GONE, Redactor, texts_of_secret

USER_DATA = """#cloud-config
hostname: my-vm
password: hunter22
users:
- name: alice-the-admin
  lock: true
  keys: [ssh-ed25519 AAAAsecretkey]
write_files:
- content: |
    first line of it
    second line of it
"""


@pytest.fixture
def redactor() -> Redactor:
    return Redactor([USER_DATA], ["my-vm"])


@pytest.mark.parametrize(
    "line",
    [
        "login with hunter22 failed",
        "hello alice-the-admin!",
        "authorized: ssh-ed25519 AAAAsecretkey",
        "cat: second line of it",
        f"blob {base64.b64encode(USER_DATA.encode()).decode()}",
    ],
)
def test_values_of_user_data_are_struck_out_of_any_text(redactor: Redactor, line: str) -> None:
    told = redactor.text(line)
    assert GONE in told
    assert not any(word in told for word in ("hunter22", "alice", "AAAA", "second", "Y2xvdWQ"))


def test_names_of_objects_stay(redactor: Redactor) -> None:
    assert redactor.text("VM my-vm is Running on n1") == "VM my-vm is Running on n1"
    assert redactor.text("true 1000") == "true 1000"


@pytest.mark.parametrize(
    "line",
    [
        "-----BEGIN EC PRIVATE KEY-----\nMHcCAQ\n-----END EC PRIVATE KEY-----",
        "Authorization: Bearer abcdefghijklmnopqrstuvwxyz012345",
        "token eyJhbGciOiJSUzI1NiIs.eyJpc3MiOiJrdWJl.c2lnbmF0dXJl",
        "root password: opensesame",
    ],
)
def test_what_looks_like_a_secret_is_one(line: str) -> None:
    told = Redactor().text(line)
    assert GONE in told
    assert not any(word in told for word in ("MHcCAQ", "uvwxyz", "c2lnbmF0dXJl", "opensesame"))


def test_places_are_emptied_at_any_depth_also_in_annotations() -> None:
    spec = {"provisioning": {"type": "UserData", "userData": "x: y"}, "cpu": {"cores": 2}}
    applied = json.dumps({"spec": spec})
    vm: dict[str, Any] = {
        "metadata": {"annotations": {"last-applied": applied, "note": "hi"}},
        "spec": {**spec, "env": [{"api_key": "k", "passwd": ["a", "b"]}]},
    }
    told = Redactor().value(vm)
    assert told["spec"]["provisioning"] == {"type": "UserData", "userData": GONE}
    assert told["spec"]["env"] == [{"api_key": GONE, "passwd": GONE}]
    assert told["spec"]["cpu"] == {"cores": 2}
    assert told["metadata"]["annotations"]["note"] == "hi"
    inner = json.loads(told["metadata"]["annotations"]["last-applied"])
    assert inner["spec"]["provisioning"]["userData"] == GONE


def test_references_and_switches_are_no_secrets() -> None:
    value = {
        "userDataRef": {"kind": "Secret", "name": "s"},
        "automountServiceAccountToken": False,
        "seed_secret": "vm-seed",
    }
    assert Redactor().value(value) == value


def test_secrets_are_decoded_and_bad_ones_taken_as_they_are() -> None:
    data = {"a": base64.b64encode(b"open sesame").decode(), "b": "no base64!"}
    assert texts_of_secret({"data": data}) == ["open sesame", "no base64!"]
    assert Redactor(texts_of_secret({"data": data})).text("say open sesame") == f"say {GONE}"


def test_user_data_that_is_no_yaml_is_known_by_its_lines() -> None:
    assert Redactor(["a: [b\nexport KEY=abcdefg"]).text("export KEY=abcdefg") == GONE


def test_too_many_values_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "MOST_VALUES", 3)
    assert Redactor(["abcdef\nghijkl"]).overwhelmed
    assert not Redactor(["abcdef"]).overwhelmed
