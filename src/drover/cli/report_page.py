"""The report as one page of HTML that needs nothing else: no script, no font, no picture from elsewhere. Pure.

Charts are SVG in the page: moves on a line of time, and how long each guest stood still. Every word of the cluster is
escaped: names are what users made them.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape as _e

from drover.answers.history import History, Loss, Move
from drover.base.clock import rfc3339
from drover.cli.fence_world import MOMENT_WORDS

MOST_DRAWN = 200  # moves in a chart; the table has all
_WIDTH, _ROW, _LEFT, _RIGHT = 960, 18, 220, 90
_TICKS = 6
_STYLE = """
:root { color-scheme: light dark; --ok: #2e8b57; --bad: #c0392b; --gone: #8a6d1d; --line: #8888; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 2rem; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td:first-child { white-space: nowrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.sums { display: flex; flex-wrap: wrap; gap: 1rem; padding: 0; list-style: none; }
.sums li { border: 1px solid var(--line); border-radius: .4rem; padding: .5rem 1rem; }
.sums b { display: block; font-size: 1.5rem; }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: currentColor; }
.Succeeded { fill: var(--ok); } .Failed { fill: var(--bad); } .Aborted { fill: var(--gone); }
.other { fill: #3b78c2; } .axis { stroke: var(--line); }
"""


def page(found: History) -> str:
    """The whole of it."""
    title = f"drover: {rfc3339(found.since_s)} to {rfc3339(found.until_s)}"
    body = [f"<h1>{_e(title)}</h1>", _sums(found)]
    body += ["<h2>Moves</h2>", *_moves(found)]
    body += ["<h2>Lost nodes</h2>", *_losses(found.losses)]
    body += ["<h2>Rebalancing plans</h2>", *_plans(found)]
    if found.missing:
        body.append(f"<p>Not readable: {_e(', '.join(found.missing))}.</p>")
    head = f'<meta charset="utf-8"><title>{_e(title)}</title><style>{_STYLE}</style>'
    view = '<meta name="viewport" content="width=device-width">'
    return f'<!doctype html><html lang="en"><head>{head}{view}</head><body>{"".join(body)}</body></html>\n'


def _sums(found: History) -> str:
    sums = found.sums
    ends = f"{sums['succeeded']:g} arrived, {sums['failed']:g} failed, {sums['aborted']:g} aborted"
    lost = f"{sums['vmsRestarted']:g} VMs started elsewhere, {sums['vmsNotRestarted']:g} did not"
    shown = [
        (f"{sums['moves']:g}", f"moves: {ends}"),
        (f"{sums['downtimeMs']:g} ms", f"guests stood still in moves; longest {sums['longestDowntimeMs']:g} ms"),
        (f"{sums['copiedBytes'] / 2**30:.2f} GiB", "memory copied"),
        (f"{sums['nodesLost']:g}", f"nodes lost; {lost}"),
        (f"{sums['outageS']:g} s", f"outage of VMs of lost nodes; longest {sums['longestOutageS']:g} s"),
        (f"{sums['plans']:g}", "rebalancing plans"),
    ]  # fmt: skip
    items = "".join(f"<li><b>{_e(number)}</b>{_e(words)}</li>" for number, words in shown)
    return f'<ul class="sums">{items}</ul>'


def _moves(found: History) -> list[str]:
    if not found.moves:
        return ["<p>No VM moved.</p>"]
    drawn = found.moves[-MOST_DRAWN:]
    more = len(found.moves) - len(drawn)
    note = (
        [f"<p>The charts show the last {MOST_DRAWN}; {more} more are in the table.</p>"]
        if more
        else []
    )
    rows = [
        (
            rfc3339(one.began_s), one.vm, f"{one.source} → {one.target or '?'}", one.origin, one.result, _took(one),
            "" if one.downtime_ms is None else f"{one.downtime_ms} ms", one.why,
        )
        for one in found.moves
    ]  # fmt: skip
    heads = ("Began", "VM", "Way", "Asked by", "Result", "Took", "Stood still", "Why")
    return [*note, _timeline(drawn, found.until_s), _downtimes(drawn), _table(heads, rows, (5, 6))]


def _took(one: Move) -> str:
    return "goes on" if one.ended_s is None else f"{one.ended_s - one.began_s:.0f} s"


def _timeline(moves: tuple[Move, ...], until_s: float) -> str:
    """A bar for each move on a common line of time."""
    first = min(one.began_s for one in moves)
    last = max(max(one.ended_s or until_s for one in moves), first + 1)
    scale = (_WIDTH - _LEFT - _RIGHT) / (last - first)
    parts = []
    for tick in range(_TICKS + 1):
        at_s = first + (last - first) * tick / _TICKS
        x = _LEFT + (at_s - first) * scale
        parts.append(
            f'<line class="axis" x1="{x:.1f}" y1="20" x2="{x:.1f}" y2="{24 + _ROW * len(moves)}"/>'
        )
        parts.append(f'<text x="{x:.1f}" y="14" text-anchor="middle">{rfc3339(at_s)[11:19]}</text>')
    for row, one in enumerate(moves):
        x, y = _LEFT + (one.began_s - first) * scale, 26 + _ROW * row
        width = max(2.0, ((one.ended_s or until_s) - one.began_s) * scale)
        words = f"{one.vm}: {one.source} to {one.target or '?'}, {one.result}, {_took(one)}"
        parts.append(f'<text x="0" y="{y + 11}">{_e(_short(one.vm))}</text>')
        place = f'x="{x:.1f}" y="{y}" width="{width:.1f}" height="12"'
        parts.append(f'<rect class="{_class(one)}" {place}><title>{_e(words)}</title></rect>')
    return _svg("Moves on the line of time (UTC)", 30 + _ROW * len(moves), parts)


def _downtimes(moves: tuple[Move, ...]) -> str:
    """How long each guest stood still."""
    told = [(one, one.downtime_ms) for one in moves if one.downtime_ms is not None]
    if not told:
        return ""
    most = max(max(ms for _, ms in told), 1)
    parts = []
    for row, (one, downtime_ms) in enumerate(told):
        y, width = 6 + _ROW * row, (_WIDTH - _LEFT - _RIGHT) * downtime_ms / most
        parts.append(f'<text x="0" y="{y + 11}">{_e(_short(one.vm))}</text>')
        parts.append(
            f'<rect class="Succeeded" x="{_LEFT}" y="{y}" width="{width:.1f}" height="12"/>'
        )
        parts.append(f'<text x="{_LEFT + width + 6:.1f}" y="{y + 11}">{downtime_ms} ms</text>')
    return _svg("How long each guest stood still", 10 + _ROW * len(told), parts)


def _svg(label: str, height: int, parts: Iterable[str]) -> str:
    inside = "".join(parts)
    head = f'<svg role="img" aria-label="{_e(label)}" viewBox="0 0 {_WIDTH} {height}">'
    return f"<h3>{_e(label)}</h3>{head}{inside}</svg>"


def _losses(losses: tuple[Loss, ...]) -> list[str]:
    if not losses:
        return ["<p>No node was lost.</p>"]
    made = []
    for loss in losses:
        evidence = f", by {loss.evidence}" if loss.evidence else ""
        made.append(f"<h3>{_e(loss.node)}: {_e(loss.phase)}{_e(evidence)}</h3>")
        rows = [
            (rfc3339(at_s), MOMENT_WORDS.get(moment, moment), f"{at_s - loss.began_s:.1f} s")
            for moment, at_s in loss.moments
        ]
        made.append(_table(("At", "What", "After"), rows, (2,)))
        restarts = [
            (
                one.vm,
                one.node or "-",
                "not started again" if one.outage_s is None else f"{one.outage_s:.1f} s",
            )
            for one in loss.vms
        ]
        made += [_table(("VM", "Started on", "Outage"), restarts, (2,))] if restarts else []
    return made


def _plans(found: History) -> list[str]:
    if not found.plans:
        return ["<p>There was no plan.</p>"]
    rows = [
        (
            rfc3339(one.began_s),
            one.name,
            one.phase,
            str(one.moves),
            str(one.done),
            str(one.failed),
            str(one.overloaded),
        )
        for one in found.plans
    ]
    heads = ("Made", "Plan", "Phase", "Moves", "Done", "Failed", "Nodes over a threshold")
    return [_table(heads, rows, (3, 4, 5, 6))]


def _table(heads: Iterable[str], rows: Iterable[tuple[str, ...]], numbers: tuple[int, ...]) -> str:
    top = "".join(f'<th scope="col">{_e(head)}</th>' for head in heads)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{' class=number' if column in numbers else ''}>{_e(cell)}</td>"
            for column, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _class(one: Move) -> str:
    return one.result if one.result in ("Succeeded", "Failed", "Aborted") else "other"


def _short(name: str) -> str:
    return name if len(name) <= 30 else f"{name[:29]}…"
