"""The application that the commands of this folder register with, and the options before the command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

import lockscope
from lockscope.cli._shell import settings
from lockscope.registry import module, modules


def build(arguments: Sequence[str] = ()) -> typer.Typer:
    """The application with the command that is asked for, or with every command: to make them takes a while."""
    app = typer.Typer(
        name="lockscope",
        help="Find kernel locking bugs, KVM's first of all, in a recorded trace.",
        epilog="Exit status: 0 nothing found, 1 findings, 2 no verdict.",
        add_completion=False,
        rich_markup_mode=None,  # without it, help and usage errors load rich
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    app.callback(invoke_without_command=True)(_root)
    asked = next((a for a in arguments if not a.startswith("-")), "")
    command = module("lockscope.cli", asked) if asked else None
    for found in modules("lockscope.cli") if command is None else (command,):
        register = getattr(found, "register", None)
        if register is not None:
            register(app)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lockscope {lockscope.__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the traceback of an error (also LOCKSCOPE_DEBUG=1).")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    del version
    settings.verbose = settings.verbose or verbose
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
