"""``drover man DIR``: manual pages made from the command tree, one for each command. What --help says, as troff."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from drover import __version__
from drover.cli.session import PROGRAM, examples, say

NAME = "drover"


@click.command(epilog=examples("man /usr/local/share/man/man1", "man /tmp/man"))
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.pass_context
def command(ctx: click.Context, directory: Path) -> None:
    """Write manual pages of all commands to DIR, which is made if it is not there.

    `man -l DIR/drover.1` reads the first one; in a man1 directory of $MANPATH `man drover-evict` finds it.
    """
    root = ctx.find_root().command
    try:
        directory.mkdir(parents=True, exist_ok=True)
        count = 0
        for path, one in tree(root):
            (directory / f"{_title(path)}.1").write_text(page(path, one))
            count += 1
    except OSError as error:
        raise click.ClickException(
            f"cannot write to {directory}: {error.strerror or error}"
        ) from error
    say(f"{count} pages are in {directory}; `man -l {directory / NAME}.1` reads the first one")


def tree(
    root: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that lead to it, parents first."""
    yield path, root
    if isinstance(root, click.Group):
        with click.Context(root) as ctx:
            for name, child in _shown(root, ctx):
                yield from tree(child, (*path, name))


def _shown(group: click.Group, ctx: click.Context) -> Iterator[tuple[str, click.Command]]:
    """The commands of a group that are not hidden."""
    for name in group.list_commands(ctx):
        child = group.get_command(ctx, name)
        if child is not None and not child.hidden:
            yield name, child


def _title(path: tuple[str, ...]) -> str:
    """The page's, such as drover-lab-kill."""
    return "-".join((NAME, *path))


def page(path: tuple[str, ...], one: click.Command) -> str:
    """The page of one command."""
    with click.Context(one, info_name=" ".join((NAME, *path))) as ctx:
        # Without a date: the same commands give the same text.
        lines = [f'.TH "{_title(path).upper()}" 1 "" "drover {__version__}" "drover manual"']
        brief = one.get_short_help_str(100).rstrip(".")
        lines += [".SH NAME", f"{_text(_title(path))} \\- {_text(brief)}"]
        usage = " ".join(one.collect_usage_pieces(ctx))
        lines += [".SH SYNOPSIS", f".B {_text(ctx.command_path)}", _text(usage)]
        lines += [".SH DESCRIPTION", *_prose(one.help or "")]
        records = [param.get_help_record(ctx) for param in one.get_params(ctx)]
        options = [record for record in records if record is not None]
        lines += [".SH OPTIONS"] if options else []
        for names, words in options:
            lines += [".TP", f".B {_text(names)}", _text(words) or "\\&"]
        if isinstance(one, click.Group):
            lines += [".SH COMMANDS", *_children(path, one, ctx)]
        lines += _examples(one.epilog or "")
        if path:
            lines += [".SH SEE ALSO", f".BR {_text(_title(path[:-1]))} (1)"]
    return "\n".join(lines) + "\n"


def _children(path: tuple[str, ...], group: click.Group, ctx: click.Context) -> list[str]:
    lines = []
    for name, child in _shown(group, ctx):
        page_name = _title((*path, name))
        lines += [".TP", f".BR {_text(page_name)} (1)", _text(child.get_short_help_str(100))]
    return lines


def _prose(text: str) -> list[str]:
    """Paragraphs."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines += [".PP", _text(" ".join(paragraph.replace("\b", "").split()))]
    return lines


def _examples(epilog: str) -> list[str]:
    """Its lines as they are, but called as an installed drover is."""
    lines = [line.strip() for line in epilog.replace("\b", "").splitlines()]
    shown = [line.replace(PROGRAM, NAME, 1) for line in lines if line.startswith(PROGRAM)]
    return [".SH EXAMPLES", ".nf", *map(_text, shown), ".fi"] if shown else []


def _text(words: str) -> str:
    """So that troff takes no part of it for its own: backslashes, hyphens, and a dot or quote that begins a line."""
    safe = words.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + safe if safe[:1] in (".", "'") else safe
