"""kubectl against our kinds: what it explains, how it applies."""

from __future__ import annotations

import json

import pytest
from tests.conformance.conftest import a_disk, named
from tests.support.engine import Engine

pytestmark = pytest.mark.engine


def said(engine: Engine, *arguments: str, stdin: str = "") -> str:
    done = engine.kubectl(*arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_explain_has_words_units_and_choices(prepared: Engine) -> None:
    text = said(prepared, "explain", "vm.spec.bootloader")
    assert "EFI" in text
    assert "DESCRIPTION:\n    <empty>" not in text
    for field in ("vm", "vmop.spec", "vml.spec.holder", "rbp.spec.moves"):
        assert "<empty>" not in said(prepared, "explain", field)


def test_explain_knows_both_versions_of_a_class(prepared: Engine) -> None:
    for version in ("v1alpha2", "v1alpha3"):
        text = said(
            prepared, "explain", "vmclass.spec.sizingPolicies",
            f"--api-version=virtualization.deckhouse.io/{version}",
        )  # fmt: skip
        assert f"VERSION:    {version}" in text
        assert "defaultCoreFraction" in text


def test_apply_server_side_names_the_conflict(prepared: Engine) -> None:
    name = named("kubectl")
    apply = ("apply", "--server-side", "-f", "-")
    said(prepared, *apply, "--field-manager=a", stdin=json.dumps(a_disk(name, app="db")))
    other = json.dumps(a_disk(name, app="web"))
    done = prepared.kubectl(*apply, "--field-manager=b", stdin=other)
    assert done.returncode == 1
    assert 'conflict with "a": .metadata.labels.app' in done.stderr
    assert "serverside-applied" in said(
        prepared, *apply, "--field-manager=b", "--force-conflicts", stdin=other
    )


def test_a_field_that_does_not_exist_is_refused_by_name(prepared: Engine) -> None:
    disk = a_disk(named("kubectl"))
    disk["spec"]["sise"] = "1Gi"
    done = prepared.kubectl("apply", "-f", "-", stdin=json.dumps(disk))
    assert done.returncode == 1
    assert 'unknown field "spec.sise"' in done.stderr
