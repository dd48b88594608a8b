"""``drover timing``: every time of fencing, who owns it, and the sums. It asks nobody: pure arithmetic."""

from __future__ import annotations

import click

from drover.cli.session import examples, say


@click.command(
    epilog=examples("timing", "timing --timeout 20s", "timing --timeout 18s --device 5s")
)
@click.option(
    "--timeout", default="6s", show_default=True, help="NodeGroup spec.fencing.watchdog.timeout."
)
@click.option(
    "--device", default="", help="Effective timeout of a watchdog device; none: a deadline."
)
@click.option(
    "--io", "io_text", default="2s", show_default=True, help="Writes of a dead host land within."
)
def command(timeout: str, device: str, io_text: str) -> int:
    """Show the times of fencing for a timeout, who owns each, and the sums.

    Exit code 1 when the times break an inequality.
    """
    from drover.api.fencing import RATE_ERROR, Timing, parse_duration_s

    try:
        kick_s = parse_duration_s(device) if device else 0.0
        timing = Timing(parse_duration_s(timeout), kick_s, io_s=parse_duration_s(io_text))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    rows = (
        (
            "timeout",
            timing.timeout_s,
            "NodeGroup",
            "from the last acknowledged renewal to the VMs' end",
        ),
        ("T", timing.kick_s, "device", "a fed watchdog fires after it; 0: it is told a deadline"),
        ("x", timing.slack_s, "2 T", "what a pause between check and feeding can add"),
        ("A", timing.age_s, "agent", "timeout - x: oldest acknowledged renewal on which VMs live"),
        ("R", timing.renew_s, "agent", "between two renewals"),
        ("B", timing.ask_s, "agent", "1.25 R: older than this it asks its peers, and vouches"),
        ("P", timing.pause_s, "agent", "between two hold rounds"),
        ("H", timing.hold_s, "agent", "life that a hold round gives, from its beginning"),
        ("suspect", timing.suspect_s, "controller", "2 R + 0.5 s without a renewal"),
        (
            "K",
            timing.kill_s + timing.io_s,
            "controller",
            f"kill {timing.kill_s:g} s + writes under way {timing.io_s:g} s",
        ),
    )
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
    problems = timing.problems()
    for problem in problems:
        say(f"refused: {problem}")
    return 1 if problems else 0
