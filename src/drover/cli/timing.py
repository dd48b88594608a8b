"""``drover timing``: the profiles of fencing, and of one of them every time, who owns it, and the sums.

It asks nobody: pure arithmetic.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from drover.cli.session import examples, say

if TYPE_CHECKING:
    from drover.api.fencing import Timing
    from drover.api.profiles import Profile

PROFILES = (
    "fast",
    "lab",
    "host",
    "tolerant",
)  # without the import, which `--help` need not wait for


@click.command(
    epilog=examples(
        "timing",
        "timing --profile fast",
        "timing --timeout 20s",
        "timing --profile host --device 8s",
    )
)
@click.option(
    "--profile", type=click.Choice(PROFILES), default="host", show_default=True,
    help="NodeGroup spec.fencing.profile.",
)  # fmt: skip
@click.option(
    "--timeout", default="", help="NodeGroup spec.fencing.watchdog.timeout, in the profile's place."
)
@click.option(
    "--device", default="", help="Effective timeout of a watchdog device; none: a deadline."
)
@click.option(
    "--io",
    "io_text",
    default="",
    help="Writes of a dead host land within; none: as the profile says.",
)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def command(profile: str, timeout: str, device: str, io_text: str, output: str) -> int:
    """Show the profiles of fencing, and of one of them each time, who owns it, and the sums.

    A profile is chosen by `drover fence on --profile NAME`, or in spec.fencing.profile of the NodeGroup. Exit code 1
    when the times break an inequality.
    """
    from drover.api import profiles
    from drover.api.fencing import Timing, parse_duration_s

    chosen = profiles.PROFILES[profile]
    try:
        kick_s = parse_duration_s(device) if device else 0.0
        timeout_s = parse_duration_s(timeout) if timeout else chosen.timeout_s
        io_s = parse_duration_s(io_text) if io_text else chosen.io_s
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    timing = Timing(timeout_s, kick_s, io_s=io_s)
    problems = timing.problems()
    all_ = list(profiles.PROFILES.values())
    if output == "json":
        told = {"profiles": [_as_json(one.name, one.timing(kick_s)) for one in all_]}
        name = profile if timing == chosen.timing(kick_s) else ""
        click.echo(json.dumps({**told, "chosen": _as_json(name, timing)}, indent=2))
        return 1 if problems else 0
    _tell_profiles(all_, kick_s)
    say()
    if timing.age_s > 0:
        _tell(timing, profile, timing == chosen.timing(kick_s))
    for problem in problems:
        say(f"refused: {problem}")
    return 1 if problems else 0


def _tell_profiles(all_: list[Profile], kick_s: float) -> None:
    say(
        f"{'PROFILE':<9} {'TIMEOUT':>7} {'A':>6} {'R':>5} {'F':>6} {'W':>6} {'RESTART':>8}  FOR",
        bold=True,
    )
    for one in all_:
        timing = one.timing(kick_s)
        sums = f"{timing.age_s:>6.2f} {timing.renew_s:>5.2f} {timing.fence_s:>6.2f} {timing.window_s:>6.2f}"
        within = f"<= {one.begins_s:g} s"
        meaning = one.meaning
        if timing.problems():
            sums, within, meaning = (
                f"{'-':>6} {'-':>5} {'-':>6} {'-':>6}",
                "refused",
                f"not with a device of {kick_s:g} s",
            )
        say(f"{one.name:<9} {timing.timeout_s:>7.2f} {sums} {within:>8}  {meaning}")


def _tell(timing: Timing, profile: str, plain: bool) -> None:
    from drover.api.fencing import RATE_ERROR

    say(f"Profile {profile}{'' if plain else ', with your changes'}:")

    rows = (
        ("timeout", timing.timeout_s, "NodeGroup", "from the last acknowledged renewal to the VMs' end"),
        ("T", timing.kick_s, "device", "a fed watchdog fires after it; 0: it is told a deadline"),
        ("x", timing.slack_s, "2 T", "what a pause between check and feeding can add"),
        ("A", timing.age_s, "agent", "timeout - x: oldest acknowledged renewal on which VMs live"),
        ("R", timing.renew_s, "agent", "between two renewals, and until one without answer is given up"),
        ("B", timing.ask_s, "agent", "1.25 R: older than this it asks its peers, and vouches"),
        ("P", timing.pause_s, "agent", "between two hold rounds"),
        ("H", timing.hold_s, "agent", "life that a hold round gives, from its beginning"),
        ("suspect", timing.suspect_s, "controller", "2 R + 0.5 s without a renewal"),
        ("K", timing.late_s, "controller", f"kill {timing.kill_s:g} s + writes under way {timing.io_s:g} s"),
    )  # fmt: skip
    say(f"{'NAME':<9} {'SECONDS':>8}  {'OWNER':<11} MEANING", bold=True)
    for name, seconds, owner, meaning in rows:
        say(f"{name:<9} {seconds:>8.2f}  {owner:<11} {meaning}")
    k = f"k = (1 + {RATE_ERROR:g}) / (1 - {RATE_ERROR:g})"
    say()
    say(f"{k}: clocks may differ so much")
    say(
        f"F = k (A + x) + K = {timing.fence_s:.2f} s   from the last sign of life to Fenced, seen by the controller"
    )
    say(f"W = k (H + x)     = {timing.window_s:.2f} s   how old each voucher for the node must be")


def _as_json(name: str, timing: Timing) -> dict[str, Any]:
    """In seconds, under the letters of docs/timing.md."""
    return {
        "profile": name or None,
        "timeout": timing.timeout_s,
        "T": timing.kick_s,
        "x": timing.slack_s,
        "A": timing.age_s,
        "R": timing.renew_s,
        "B": timing.ask_s,
        "P": timing.pause_s,
        "H": timing.hold_s,
        "suspect": timing.suspect_s,
        "K": timing.late_s,
        "F": round(timing.fence_s, 3),
        "W": round(timing.window_s, 3),
        "problems": timing.problems(),
    }
