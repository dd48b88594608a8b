"""The manifests: every object an installation needs before its first VM, in apply order.

They are YAML beside this module, and the single source of the API: schemas, defaults, rules and
rights. The server refuses objects of our own kinds (the class ``generic``) until their
CustomResourceDefinitions are established; so these are handed out apart, and whoever applies them
waits in between.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from drover.api import scheme
from drover.base.checks import require

if TYPE_CHECKING:
    from drover.api.wire import Object

ROOT = Path(__file__).parent / "manifests"
WEBHOOKS = Path(__file__).parent / "webhooks.yaml"

# libyaml's loader is ten times as fast, and as safe.
_LOADER: type[yaml.SafeLoader] | type[yaml.CSafeLoader] = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)

# What a later kind needs comes before it.
_BUILT_IN_ORDER = (
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "FlowSchema",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)


def built_in() -> list[Object]:
    """Objects of kinds that every API server knows: namespace, CRDs, rights, policies."""
    order = {kind: place for place, kind in enumerate(_BUILT_IN_ORDER)}
    found = [doc for doc in _documents() if not _is_ours(doc)]
    for doc in found:
        require(doc["kind"] in order, f"manifest of kind {doc['kind']} has no place in the order")
    return sorted(found, key=lambda doc: order[doc["kind"]])


def custom() -> list[Object]:
    """Objects of our own kinds; to be applied once the CRDs are established."""
    return [doc for doc in _documents() if _is_ours(doc)]


def load() -> list[Object]:
    """All of them in apply order."""
    return built_in() + custom()


def webhooks() -> Object:
    """The ValidatingWebhookConfiguration, without where its webhooks are reached: that differs by installation."""
    found: Object = yaml.load(WEBHOOKS.read_text(encoding="utf-8"), Loader=_LOADER)
    return found


def crds() -> list[Object]:
    return [doc for doc in built_in() if doc["kind"] == "CustomResourceDefinition"]


def _is_ours(doc: Object) -> bool:
    group = str(doc["apiVersion"]).partition("/")[0]
    return group in (scheme.VIRTUALIZATION, scheme.DROVER, scheme.DECKHOUSE)


def _documents() -> list[Object]:
    """In file order, so that two runs apply the same sequence."""
    return [
        doc
        for path in sorted(ROOT.rglob("*.yaml"))
        for doc in yaml.load_all(path.read_text(encoding="utf-8"), Loader=_LOADER)
        if doc is not None
    ]
