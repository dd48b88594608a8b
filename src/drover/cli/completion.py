"""``drover completion SHELL``: the script that makes a shell complete our commands and options.

The words come from the command tree itself: the script calls us again with ``$_DROVER_COMPLETE`` set, which installs
nothing and asks no API.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from drover.cli.session import examples

VARIABLE = "_DROVER_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command(
    epilog=examples(
        "completion bash > /etc/bash_completion.d/drover",
        'completion zsh > "${fpath[1]}/_drover"',
        "completion fish > ~/.config/fish/completions/drover.fish",
    )
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete `drover`, commands and options alike.

    For the running shell: `source <(drover completion bash)`.
    """
    found = get_completion_class(shell)
    assert found is not None
    # bash's own check of its version starts a process for nothing: the script says what it needs.
    maker = found(ctx.find_root().command, {}, "drover", VARIABLE)
    click.echo(maker.source_template % maker.source_vars())
