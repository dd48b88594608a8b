"""How a plan reads: as a table, and as one page of HTML that needs nothing else. Pure."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from drover.cli.rebalance_world import Shown

_GIB = 2**30
_MOST_NODES = 200  # on a page


def headline(plan: Shown) -> str:
    spec = plan.spec
    moves, least = int(spec["movesTotal"]), int(spec.get("lowerBound", 0))
    if not moves:
        return "No move is to be made."
    of = f"plan {spec['hash'][:12]}" + (f" ({plan.name}, {plan.phase})" if plan.name else "")
    optimal = (
        "the fewest possible, proved" if spec.get("proved") else f"at least {least} are needed"
    )
    gib, seconds = int(spec.get("bytesTotal", 0)) / _GIB, float(spec.get("secondsTotal", 0))
    words = "1 move" if moves == 1 else f"{moves} moves"
    return f"{of}: {words} ({optimal}), {gib:.1f} GiB, about {max(seconds, 1):.0f} s of moving"


def table(plan: Shown) -> list[str]:
    """The headline, a line for each move with its reasons below, and what no move can repair."""
    lines = [headline(plan)]
    moves = plan.spec.get("moves") or []
    if moves:
        width = max(2, *(len(move["virtualMachine"]) for move in moves))
        node = max(4, *(len(m[end]) for m in moves for end in ("source", "target")))
        lines += [
            "",
            f"{'#':>3}  {'VM':<{width}}  {'FROM':<{node}}  {'TO':<{node}}  {'CPU FROM':<14}CPU TO",
        ]
        for number, move in enumerate(moves, 1):
            source, target = (_change(one) for one in _loads(move))
            lines.append(
                f"{number:>3}  {move['virtualMachine']:<{width}}  {move['source']:<{node}}  "
                f"{move['target']:<{node}}  {source:<14}{target}"
            )
            lines.append(f"     {move.get('reason', '')}: {move.get('why', '')}")
            lines += [f"     not {r['node']}: {r.get('why', '')}" for r in move.get("rejected", [])]
        more = int(plan.spec["movesTotal"]) - len(moves)
        lines += [f"and {more} more, planned anew when these are made"] if more else []
    for one in plan.spec.get("impossible") or []:
        lines.append(f"cannot be repaired: {one['what']}")
        lines += [f"     blocked by: {one['blockedBy']}"] if one.get("blockedBy") else []
        lines += [f"     would help: {one['change']}"] if one.get("change") else []
    return lines


def _loads(move: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    loads = move.get("load") or [{}, {}]
    return loads[0], loads[1]


def _change(load: Mapping[str, Any]) -> str:
    before, after = ((load.get(when) or {}).get("cpu") for when in ("before", "after"))
    return "" if before is None or after is None else f"{before:.0f} -> {after:.0f} %"


def page(plan: Shown) -> str:
    """Bars of every node before and after, and the table."""
    rows = "\n".join(_node(plan, node) for node in list(plan.before)[:_MOST_NODES])
    left = len(plan.before) - _MOST_NODES
    more = f"<p>and {left} more nodes</p>" if left > 0 else ""
    told = html.escape("\n".join(table(plan)))
    return _PAGE.format(
        title=html.escape(headline(plan)), rows=rows, more=more, table=told, hash=plan.spec["hash"]
    )


def _node(plan: Shown, node: str) -> str:
    bars = "".join(
        _bar(when, resource, loads.get(node, {}).get(resource, 0.0), plan.ceilings.get(resource))
        for resource in ("cpu", "memory")
        for when, loads in (("before", plan.before), ("after", plan.after))
    )
    return f"<tr><th>{html.escape(node)}</th><td>{bars}</td></tr>"


def _bar(when: str, resource: str, percent: float, ceiling: float | None) -> str:
    over = ceiling is not None and percent > ceiling
    mark = "" if ceiling is None else f'<i style="left:{ceiling:g}%"></i>'
    width = min(max(percent, 0.0), 100.0)
    kind = f"{when}{' over' if over else ''}"
    return (
        f'<div class="bar"><b class="{kind}" style="width:{width:.1f}%"></b>{mark}'
        f"<span>{resource} {when} {percent:.1f} %</span></div>"
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 14px/1.4 sans-serif; margin: 2em; color: #222; }}
table {{ border-collapse: collapse; width: 100%; }} th {{ text-align: left; padding: .4em 1em .4em 0; }}
td {{ width: 100%; padding: .3em 0; }} pre {{ background: #f5f5f5; padding: 1em; overflow: auto; }}
.bar {{ position: relative; height: 1.3em; margin: 1px 0; background: #eee; }}
.bar b {{ position: absolute; height: 100%; background: #7aa6d8; }} .bar b.after {{ background: #5fae6b; }}
.bar b.over {{ background: #d86a5f; }} .bar i {{ position: absolute; height: 100%; border-left: 2px solid #222; }}
.bar span {{ position: relative; padding-left: .5em; font-size: 12px; }}
</style></head><body data-hash="{hash}">
<h1>{title}</h1>
<table>
{rows}
</table>{more}
<pre>{table}</pre>
</body></html>
"""
