"""The tables of rights in docs/security.md, asked of the engine's own authorizers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.security.page import table

from drover.api import names, scheme

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

    from drover.api.wire import Object

pytestmark = pytest.mark.engine

NAMESPACE = "default"
READ = ("get", "list", "watch")
VERBS = (*READ, "create", "update", "patch", "delete", "deletecollection")
WORDS = {"read": READ, "write": VERBS, "-": ()}
WHO = {
    "viewer": ("victor", ()),
    "editor": ("edith", ()),
    "admin": ("adam", ()),
    "node": (names.NODE_USER_PREFIX + "node-a", (names.NODES_GROUP,)),
    "controllers": (names.CONTROLLERS_USER, (names.CONTROLLERS_USER,)),
}
ROLES = {"viewer": "view", "editor": "edit", "admin": "admin"}
REVIEW = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
CLUSTER_WIDE = {kind.plural for kind in scheme.ALL if not kind.namespaced} | {"users"}
GROUPS = {kind.plural: kind.group for kind in scheme.ALL}


async def may(cluster: Cluster, who: str, verb: str, resource: str) -> bool:
    user, groups = WHO[who]
    plural, _, subresource = resource.partition("/")
    attributes = {"verb": verb, "group": GROUPS.get(plural, ""), "resource": plural}
    attributes |= {"subresource": subresource}
    attributes |= {} if plural in CLUSTER_WIDE else {"namespace": NAMESPACE}
    spec = {"user": user, "groups": [*groups, "system:authenticated"]}
    body: Object = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {**spec, "resourceAttributes": attributes},
    }
    answer = await cluster.admin.post(REVIEW, body)
    return bool(answer["status"]["allowed"])


@pytest.fixture
async def people(cluster: Cluster) -> Cluster:
    """Kubernetes' own roles are bound; ours are aggregated to them a moment after they are made."""
    group = "rbac.authorization.k8s.io"
    for who, role in ROLES.items():
        binding = {
            "metadata": {"name": cluster.name(f"rights-{role}"), "namespace": NAMESPACE},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": group, "kind": "User", "name": WHO[who][0]}],
        }
        await cluster.admin.create(scheme.ROLEBINDING, binding)
    async with asyncio.timeout(30):
        while True:
            if await may(cluster, "admin", "create", scheme.VM.plural):
                return cluster
            await asyncio.sleep(0.1)


async def test_rights_on_our_kinds(people: Cluster) -> None:
    wrong = []
    for resource, *cells in table("kind"):
        for who, cell in zip(WHO, cells, strict=True):
            wanted = {verb for word in cell.split(", ") for verb in WORDS.get(word, (word,))}
            assert wanted <= set(VERBS), f"{resource}: {cell}"
            asked = VERBS if "/" not in resource else ("get", "update", "patch")
            answers = await asyncio.gather(*(may(people, who, verb, resource) for verb in asked))
            found = {verb for verb, yes in zip(asked, answers, strict=True) if yes}
            if found != wanted:
                wrong.append(f"{who} on {resource}: {sorted(found)}, the page says {cell}")
    assert not wrong


async def test_no_kind_is_left_out() -> None:
    ours = {
        k.plural
        for k in scheme.ALL
        if k.group in (scheme.VIRTUALIZATION, scheme.DROVER, scheme.DECKHOUSE)
    }
    assert ours <= {row[0] for row in table("kind")}


async def test_rights_on_others(people: Cluster) -> None:
    wrong = []
    for request, *cells in table("request"):
        verb, resource = request.split()[:2]
        for who, cell in zip(WHO, cells, strict=True):
            if await may(people, who, verb, resource) != (cell != "no"):
                wrong.append(f"{who} {request}: the page says {cell}")
    assert not wrong
