"""The JSON merge patch that turns one document into another. Pure.

A merge patch cannot say "this key is null", so neither document may hold one: an absent key says it better.
"""

from __future__ import annotations

from typing import Any

from drover.api.wire import Object


def holds(document: Object, patch: Object) -> bool:
    """Whether the patch would change nothing."""
    for key, value in patch.items():
        before: Any = document.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            if not holds(before, value):
                return False
        elif before != value:
            return False
    return True


def merge_patch(old: Object, new: Object) -> Object:
    """Empty when both are equal. Lists are replaced as a whole."""
    patch: Object = {key: None for key in old if key not in new}
    for key, value in new.items():
        before: Any = old.get(key)
        if value == before:
            continue
        nested = isinstance(value, dict) and isinstance(before, dict)
        patch[key] = merge_patch(before, value) if nested else value
    return patch
