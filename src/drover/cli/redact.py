"""What a support bundle must not hold, taken out of it. Pure.

Two guards, since neither is enough alone. By *place*: fields that carry user data or credentials are emptied wherever
they stand, also inside annotations that are JSON texts of objects. By *value*: every line and every value of the user
data and Secrets that could be read is struck out wherever it occurs, in logs and serial output too; so are private keys
and bearer tokens by their look.

Not promised: a secret that is in no Secret and no user data, and looks like nothing in particular. Short values (below
six characters) are struck out by place alone: they would take half of every log with them.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

GONE = "[redacted]"
LEAST = 6  # characters of a value
MOST_VALUES = 20_000
_PLACES = re.compile(
    r"(?i)user[-_]?data|password|passwd|token|(secret|private|api)[-_]?key|credentials?|kubeconfig"
)
# Their names hold such a word, and what they hold is none: references and switches.
_HARMLESS = {
    "userDataRef", "automountServiceAccountToken", "seed_secret", "tokenExpirationSeconds", "userDataSecret",
}  # fmt: skip
_LOOKS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL),
    re.compile(r"(?i)(?<=bearer )[A-Za-z0-9._~+/=-]{16,}"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
    re.compile(r"(?i)(?<=passw)(or)?d\s*[:=]\s*\S+"),
)


class Redactor:
    """Knows what is secret. ``known`` are texts that hold secrets, ``open_words`` those that are none though they stand
    in them: names of objects."""

    def __init__(self, known: Iterable[str] = (), open_words: Iterable[str] = ()) -> None:
        public = {*open_words, "#cloud-config", "cloud-config"}
        values: set[str] = set()
        for text in known:
            values |= {value for value in _values(text) if len(value) >= LEAST}
        self._known = sorted(values - public, key=len, reverse=True)

    @property
    def overwhelmed(self) -> bool:
        """There are more values than logs can be searched for in any time."""
        return len(self._known) > MOST_VALUES

    def text(self, words: str) -> str:
        """Without secrets."""
        for known in self._known:
            words = words.replace(known, GONE)
        for look in _LOOKS:
            words = look.sub(GONE, words)
        return words

    def value(self, value: Any, at: str = "") -> Any:
        """A decoded JSON value without secrets; ``at`` is the key it stands under."""
        if _PLACES.search(at) and at not in _HARMLESS and not isinstance(value, bool | None):
            return GONE
        if isinstance(value, Mapping):
            return {key: self.value(inner, str(key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner) for inner in value]
        return self._string(value) if isinstance(value, str) else value

    def _string(self, words: str) -> str:
        """JSON in a string is looked into as well: annotations hold whole objects."""
        if words[:1] in ("{", "["):
            try:
                inner = json.loads(words)
            except ValueError:
                return self.text(words)
            return json.dumps(self.value(inner))
        return self.text(words)


def _values(text: str) -> Iterable[str]:
    """The whole, its lines, the values of it where it is YAML, and each as base64 has it."""
    found = {text.strip(), *(line.strip() for line in text.splitlines())}
    with contextlib.suppress(yaml.YAMLError, RecursionError, ValueError):
        found |= set(_scalars(yaml.safe_load(text)))
    found |= {base64.b64encode(one.encode()).decode() for one in (text, text.strip())}
    return {one for one in found if one}


def _scalars(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _scalars(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _scalars(inner)
    elif isinstance(value, str | int) and not isinstance(value, bool):
        yield from (line.strip() for line in str(value).splitlines())


def texts_of_secret(secret: Mapping[str, Any]) -> list[str]:
    """What a Secret holds, decoded."""
    found = []
    for value in (secret.get("data") or {}).values():
        try:
            found.append(base64.b64decode(str(value), validate=True).decode(errors="ignore"))
        except (binascii.Error, ValueError):
            found.append(str(value))
    return found
