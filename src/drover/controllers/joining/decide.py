"""Whether a host gets the certificate that it asks for. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from drover.api import names

CLIENT = names.CLIENT_SIGNER
SERVING = names.SERVING_SIGNER
MIGRATION = names.MIGRATION_SIGNER
BOOTSTRAP_USER = "system:bootstrap:"

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_BOTH = {"digital signature", "key encipherment"}
_USAGES = {
    CLIENT: _BOTH | {"client auth"},
    SERVING: _BOTH | {"server auth"},
    MIGRATION: _BOTH | {"client auth", "server auth"},
}


@dataclass(frozen=True)
class Wish:
    """What is asked for; ``problem``: the request cannot be read. ``key`` is a digest of its public key."""

    signer: str
    user: str
    usages: frozenset[str] = frozenset()
    common_name: str = ""
    organizations: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    key: str = ""
    problem: str = ""
    by_our_token: bool = False  # of the group of our tokens; kubeadm's hosts have another
    by_our_agent: bool = False  # called as our agents call theirs; kubelets ask for the same


@dataclass(frozen=True)
class View:
    wish: Wish
    approved: bool = False
    denied: bool = False
    issued: bool = False
    nodes: frozenset[str] = frozenset()
    taken: frozenset[str] = frozenset()  # addresses of other nodes
    used_by: str | None = (
        ""  # host and key that the token served; empty: none yet; None: there is no such token
    )


@dataclass(frozen=True)
class Step:
    pass


@dataclass(frozen=True)
class Nothing(Step):
    pass


@dataclass(frozen=True)
class Deny(Step):
    message: str


@dataclass(frozen=True)
class Claim(Step):
    """Write onto the token whom it serves."""

    used_by: str


@dataclass(frozen=True)
class Approve(Step):
    pass


@dataclass(frozen=True)
class Sign(Step):
    pass


def decide(view: View) -> Step:
    wish = view.wish
    if not _ours(wish) or view.denied or view.issued:
        return Nothing()
    if view.approved:
        return Sign() if wish.signer == MIGRATION else Nothing()
    why = wish.problem or _common(wish)
    if why:
        return Deny(why)
    if wish.signer == CLIENT:
        return _join(view)
    why = _of_a_node(view)
    return Deny(why) if why else Approve()


def _ours(wish: Wish) -> bool:
    if wish.signer == CLIENT:
        return wish.by_our_token and wish.user.startswith(BOOTSTRAP_USER)
    return wish.signer == MIGRATION or (wish.signer == SERVING and wish.by_our_agent)


def _common(wish: Wish) -> str:
    allowed = _USAGES[wish.signer]
    if not wish.usages or not wish.usages <= allowed:
        return f"usages must be some of: {', '.join(sorted(allowed))}"
    return ""


def _join(view: View) -> Step:
    wish = view.wish
    node = wish.common_name.removeprefix(names.NODE_USER_PREFIX)
    if node == wish.common_name or wish.organizations != (names.NODES_GROUP,):
        return Deny(
            "a host asks to be system:node:NAME of the organization system:nodes, and nobody else"
        )
    if not _NAME.fullmatch(node):
        return Deny(
            f"{node!r} cannot be the name of a node: use lower case letters, digits, '-' and '.'"
        )
    if wish.dns or wish.addresses:
        return Deny("the certificate of an identity names no hosts")
    if view.used_by is None:
        return Deny("the token was revoked; make a new one with `drover token create`")
    me = f"{node} {wish.key}"
    if view.used_by not in ("", me):
        host = view.used_by.partition(" ")[0]
        return Deny(
            f"the token has served {host} already; make one for each host with `drover token create`"
        )
    if node in view.nodes and view.used_by != me:
        return Deny(
            f"there is a node {node} already: give this host another name (--name), or drain the old one and "
            f"delete it (`drover k delete node {node}`)"
        )
    return Approve() if view.used_by == me else Claim(me)


def _of_a_node(view: View) -> str:
    """Why a node does not get a certificate to serve with; empty: it does."""
    wish = view.wish
    node = wish.user.removeprefix(names.NODE_USER_PREFIX)
    if node == wish.user:
        return "only nodes have such certificates"
    named = wish.user if wish.signer == SERVING else node
    organizations = (names.NODES_GROUP,) if wish.signer == SERVING else ()
    if wish.common_name != named or wish.organizations != organizations:
        return f"{wish.user} asks for a certificate of {wish.common_name}"
    foreign = [name for name in wish.dns if name != node]
    if foreign:
        return f"{foreign[0]} is not the name of this node"
    if not wish.addresses:
        return "the certificate has to name an address of the node"
    others = sorted(set(wish.addresses) & view.taken)
    return f"{others[0]} is the address of another host" if others else ""
