"""How an answer is put together from a rule and an object."""

from __future__ import annotations

from dataclasses import dataclass

from drover.answers.because import Because, Ref
from drover.answers.rules import Rule


@dataclass(frozen=True, slots=True)
class Names:
    """What way outs speak of."""

    vm: str = ""
    namespace: str = ""
    node: str = ""
    operation: str = ""

    def fill(self, text: str) -> str:
        return text.format(
            vm=self.vm, namespace=self.namespace, node=self.node, operation=self.operation
        )


def answer(rule: Rule, says: str, names: Names, *objects: Ref, way_out: str = "") -> Because:
    """``says``: the condition's message; the rule's own words where it is empty."""
    words = (says or rule.says).strip().rstrip(".")
    refs = tuple(dict.fromkeys(objects))
    return Because(rule.about, words, rule.rule, refs, way_out or names.fill(rule.way_out))
