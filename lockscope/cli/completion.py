"""``lockscope completion``: what a shell needs to complete commands, options and their words."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from lockscope.cli._arguments import one_of

if TYPE_CHECKING:
    from lockscope.cli._commands import Command

SHELLS = ("bash", "zsh", "fish")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("completion")(completion)


def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help=f"{', '.join(SHELLS)}.")],
) -> None:
    """Print what completes lockscope's commands and options in a shell.

    bash: source <(lockscope completion bash); zsh: the same, after compinit; fish: lockscope completion fish | source.
    """
    one_of("SHELL", shell, SHELLS)
    from lockscope.cli._commands import commands

    every = commands()
    lines = _fish(every) if shell == "fish" else _bash(every, zsh=shell == "zsh")
    for line in lines:
        typer.echo(line)


def _words(command: Command) -> list[str]:
    """What may stand where no option's value is wanted."""
    words = [name for option in command.options for name in option.names] + ["--help"]
    if command.name == "plot":
        from lockscope.cli.plot import FIGURES

        words += FIGURES
    if command.name == "completion":
        words += SHELLS
    if command.name == "explain":
        from lockscope.checks.check import all_checks

        words += all_checks()
    if command.name == "simulate":
        from lockscope.simulate.scenario import scenarios

        words += scenarios()
    return words


def _bash(every: list[Command], *, zsh: bool) -> Iterator[str]:
    if zsh:
        yield "autoload -U +X bashcompinit && bashcompinit"
    yield "_lockscope() {"
    yield '  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" words'
    yield "  COMPREPLY=()"
    yield '  if [ "$COMP_CWORD" -eq 1 ]; then'
    yield f"    words={shlex.quote(' '.join(c.name for c in every) + ' --help --version --verbose')}"
    yield '    COMPREPLY=($(compgen -W "$words" -- "$cur")); return'
    yield "  fi"
    yield '  case "${COMP_WORDS[1]} $prev" in'
    for command in every:
        for option in command.options:
            if option.choices:
                pattern = "|".join(f"{shlex.quote(f'{command.name} {name}')}" for name in option.names)
                yield f"    {pattern}) words={shlex.quote(' '.join(option.choices))}"
                yield '      COMPREPLY=($(compgen -W "$words" -- "$cur")); return ;;'
    yield "  esac"
    yield '  case "${COMP_WORDS[1]}" in'
    for command in every:
        yield f"    {command.name}) words={shlex.quote(' '.join(_words(command)))} ;;"
    yield "  esac"
    yield '  [ -n "$words" ] && COMPREPLY=($(compgen -W "$words" -- "$cur"))'
    yield "}"
    yield "complete -o bashdefault -o default -F _lockscope lockscope"


def _fish(every: list[Command]) -> Iterator[str]:
    for command in every:
        about = shlex.quote(command.paragraphs[0] if command.paragraphs else "")
        yield f"complete -c lockscope -n __fish_use_subcommand -a {command.name} -d {about}"
        inside = f"complete -c lockscope -n '__fish_seen_subcommand_from {command.name}'"
        for option in command.options:
            names = " ".join(f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in option.names)
            takes = (
                f" -x -a {shlex.quote(' '.join(option.choices))}" if option.choices else " -r" if option.takes else ""
            )
            yield f"{inside} {names}{takes} -d {shlex.quote(option.help)}"
        extra = [word for word in _words(command) if not word.startswith("-")]
        if extra:
            yield f"{inside} -a {shlex.quote(' '.join(extra))}"
