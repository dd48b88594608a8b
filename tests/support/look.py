"""A look at an API: what ``kubectl get -o json`` would show, in some milliseconds instead of half a second.

    look(kubeconfig, "vm", "linux-vm", "-n", "default")    an object; None when there is none
    look(kubeconfig, "pods", "-l", "app=web")              a list

Kinds go by the names that kubectl knows, short ones included.
"""

from __future__ import annotations

import argparse
import functools
import http.client
import json
import urllib.parse
from pathlib import Path
from typing import Any

from drover.api import manifest_files, scheme
from drover.runtime import kubeconfig

LIMIT_S = 30.0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("look", exit_on_error=False)
    parser.add_argument("kind")
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("-n", dest="namespace", default="default")
    parser.add_argument("-A", dest="namespace", action="store_const", const="")
    parser.add_argument("-l", dest="labelSelector", default="")
    parser.add_argument("--field-selector", dest="fieldSelector", default="")
    return parser


@functools.cache
def kinds() -> dict[str, scheme.Kind]:
    """Those that drover knows, by every name of theirs."""
    by_plural = {kind.plural: kind for kind in scheme.ALL}
    found = {**by_plural, **{kind.kind.lower(): kind for kind in scheme.ALL}}
    for crd in manifest_files.crds():
        names = crd["spec"]["names"]
        for name in (names["singular"], *names.get("shortNames", ())):
            found[name] = by_plural[names["plural"]]
    return found


def look(config: Path, *what: str) -> Any:
    """AssertionError when the API does not answer, or refuses."""
    asked = _arguments().parse_args(what)
    kind = kinds()[asked.kind]
    selectors = {key: getattr(asked, key) for key in ("labelSelector", "fieldSelector")}
    query = urllib.parse.urlencode({key: value for key, value in selectors.items() if value})
    path = kind.path(asked.namespace if kind.namespaced else "", asked.name)
    code, body = _got(kubeconfig.load(config), f"{path}?{query}")
    if code == http.client.NOT_FOUND:
        return None
    assert code == http.client.OK, body
    return body


def _got(access: kubeconfig.Access, path: str) -> tuple[int, Any]:
    host = urllib.parse.urlsplit(access.server).netloc
    connection = http.client.HTTPSConnection(host, context=access.tls(), timeout=LIMIT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.load(answer)
    except (OSError, http.client.HTTPException) as error:
        raise AssertionError(f"the API does not answer: {error}") from error
    finally:
        connection.close()
