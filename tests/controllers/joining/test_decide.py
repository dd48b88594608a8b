"""Who gets a certificate: every branch, by what a host could ask for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drover.controllers.joining.decide import (
    CLIENT,
    MIGRATION,
    SERVING,
    Approve,
    Claim,
    Deny,
    Nothing,
    Sign,
    View,
    Wish,
    decide,
)

BOTH = frozenset({"digital signature", "key encipherment"})
JOIN = Wish(
    CLIENT,
    "system:bootstrap:abcdef",
    BOTH | {"client auth"},
    "system:node:host-4",
    ("system:nodes",),
    key="k4",
    by_our_token=True,
)
SERVE = Wish(
    SERVING,
    "system:node:host-4",
    BOTH | {"server auth"},
    "system:node:host-4",
    ("system:nodes",),
    ("host-4",),
    ("10.0.0.4",),
    by_our_agent=True,
)
STREAM = replace(
    SERVE,
    signer=MIGRATION,
    usages=BOTH | {"server auth", "client auth"},
    common_name="host-4",
    organizations=(),
)


def test_a_host_joins_once_with_its_token() -> None:
    assert decide(View(JOIN)) == Claim("host-4 k4")
    assert decide(View(JOIN, used_by="host-4 k4")) == Approve()
    assert decide(View(JOIN, used_by="host-4 k4", approved=True)) == Nothing()
    again = View(JOIN, used_by="host-4 k4", nodes=frozenset({"host-4"}))
    assert decide(again) == Approve()  # its agent was faster than the end of its join


@pytest.mark.parametrize(
    ("view", "word"),
    [
        (View(JOIN, used_by="host-3 k3"), "has served host-3 already"),
        (View(JOIN, used_by="host-4 other"), "has served host-4 already"),
        (View(JOIN, used_by=None), "revoked"),
        (View(JOIN, nodes=frozenset({"host-4"})), "there is a node host-4 already"),
        (View(replace(JOIN, common_name="system:node:A b")), "cannot be the name"),
        (View(replace(JOIN, common_name="system:node:")), "cannot be the name"),
        (View(replace(JOIN, common_name="drover:controllers")), "and nobody else"),
        (View(replace(JOIN, organizations=("system:masters",))), "and nobody else"),
        (View(replace(JOIN, organizations=("system:nodes", "system:masters"))), "and nobody else"),
        (View(replace(JOIN, dns=("host-4",))), "names no hosts"),
        (View(replace(JOIN, usages=BOTH | {"cert sign"})), "usages"),
        (View(replace(JOIN, usages=frozenset())), "usages"),
        (View(replace(JOIN, problem="no PEM")), "no PEM"),
        (View(replace(SERVE, user="alice")), "only nodes"),
        (View(replace(SERVE, user="system:bootstrap:abcdef")), "only nodes"),
        (View(replace(SERVE, common_name="system:node:host-5")), "asks for a certificate of"),
        (View(replace(SERVE, organizations=())), "asks for a certificate of"),
        (View(replace(SERVE, dns=("kubernetes",))), "is not the name of this node"),
        (View(replace(SERVE, addresses=())), "has to name an address"),
        (View(SERVE, taken=frozenset({"10.0.0.4"})), "is the address of another host"),
        (View(replace(SERVE, usages=BOTH | {"client auth"})), "usages"),
        (View(replace(STREAM, common_name="host-5")), "asks for a certificate of"),
        (View(replace(STREAM, organizations=("system:nodes",))), "asks for a certificate of"),
        (View(replace(STREAM, dns=("host-5",))), "is not the name of this node"),
    ],
)
def test_what_is_denied_and_the_way_out(view: View, word: str) -> None:
    step = decide(view)
    assert isinstance(step, Deny)
    assert word in step.message


def test_a_node_gets_what_is_its_own() -> None:
    assert decide(View(SERVE)) == Approve()
    assert decide(View(SERVE, approved=True)) == Nothing()  # Kubernetes signs
    assert decide(View(STREAM)) == Approve()
    assert decide(View(STREAM, approved=True)) == Sign()


def test_what_is_not_ours_or_is_answered_stays() -> None:
    for view in (
        View(replace(JOIN, signer="example.com/other")),
        View(replace(JOIN, user="system:node:host-4")),  # a renewal: Kubernetes approves it
        View(replace(JOIN, by_our_token=False, common_name="x")),  # kubeadm's own hosts
        View(replace(SERVE, by_our_agent=False, addresses=())),  # a kubelet's
        View(JOIN, denied=True),
        View(STREAM, approved=True, denied=True),
        View(STREAM, approved=True, issued=True),
    ):
        assert decide(view) == Nothing()
