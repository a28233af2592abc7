"""The commands and their options as plain values: what completion and the man page are made from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import typer

from lockscope.cli._app import build


@dataclass(frozen=True, slots=True)
class Option:
    """An option's spellings, what it takes ("" for a flag), its help, and the words it may take where it lists them."""

    names: tuple[str, ...]
    takes: str
    help: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its positional arguments as (placeholder, help), its options, its help as paragraphs."""

    name: str
    arguments: tuple[tuple[str, str], ...]
    options: tuple[Option, ...]
    paragraphs: tuple[str, ...]


def commands() -> list[Command]:
    """Every command, by name."""
    group = typer.main.get_command(build())
    found = getattr(group, "commands", {})
    return [_command(name, command) for name, command in sorted(found.items())]


def _command(name: str, command: object) -> Command:
    parameters = getattr(command, "params", ())
    arguments = [p for p in parameters if p.param_type_name == "argument"]
    options = [p for p in parameters if p.param_type_name == "option" and not getattr(p, "hidden", False)]
    text = getattr(command, "help", None) or ""
    return Command(
        name,
        tuple((p.metavar or p.name.upper(), getattr(p, "help", None) or "") for p in arguments),
        tuple(_option(p) for p in options),
        tuple(" ".join(part.split()) for part in text.split("\n\n") if part.strip()),
    )


def _option(parameter: object) -> Option:
    flag = bool(getattr(parameter, "is_flag", False))
    names: Sequence[str] = getattr(parameter, "opts", ())
    off: Sequence[str] = getattr(parameter, "secondary_opts", ())
    help_ = getattr(parameter, "help", None) or ""
    takes = "" if flag else getattr(parameter, "metavar", None) or "VALUE"
    choices = _listed(help_.rpartition(":")[2]) if "--format" in names or "--color" in names else []
    return Option((*names, *off), takes, help_, tuple(choices))


def _listed(text: str) -> list[str]:
    """``"dot, json or lockdep (as /proc/lockdep)."`` -> dot, json, lockdep."""
    plain = re.sub(r"\([^)]*\)|One of ", "", text).rstrip(". ")
    return [word.strip() for word in re.split(r", | or ", plain) if word.strip()]
