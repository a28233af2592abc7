"""The man page, lockscope(1), from the texts of the commands themselves: ``python -m lockscope.cli._manual``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import lockscope
from lockscope.cli._commands import Command, Option, commands

_STATUS = (
    ("0", "nothing found at or above --fail-on, or the command did what it was asked"),
    ("1", "findings"),
    ("2", "no verdict: usage, unreadable input, no selected check had its events, or losses with --strict"),
    ("130", "interrupted"),
)
_ENVIRONMENT = (
    ("NO_COLOR", "no colours, whatever it is set to"),
    ("FORCE_COLOR", "colours also where standard output is no terminal"),
    ("LOCKSCOPE_DEBUG", "show the traceback of an error"),
    ("LOCKSCOPE_UNCOMPILED", "run the inner loops as Python"),
)


def manual() -> str:
    """The page in man(7) macros."""
    return "\n".join(_lines(commands())) + "\n"


def _lines(every: list[Command]) -> Iterator[str]:
    yield f'.TH LOCKSCOPE 1 "" "lockscope {lockscope.__version__}" "User Commands"'
    yield ".SH NAME"
    yield r"lockscope \- find kernel locking bugs, KVM's first of all, in a recorded trace"
    yield ".SH SYNOPSIS"
    for command in every:
        places = " ".join(_roff(place) for place, _ in command.arguments)
        yield rf".B lockscope {_roff(command.name)}"
        yield rf"[\fIoptions\fR] {places}".rstrip()
        yield ".br"
    yield ".SH COMMANDS"
    for command in every:
        yield from _command(command)
    yield ".SH EXIT STATUS"
    for status, meaning in _STATUS:
        yield from _entry(rf"\fB{status}\fR", meaning)
    yield ".SH ENVIRONMENT"
    for name, meaning in _ENVIRONMENT:
        yield from _entry(rf"\fB{name}\fR", meaning)
    yield ".SH SEE ALSO"
    yield r"\fBtrace-cmd\fR(1), \fBperf-lock\fR(1); \fBlockscope explain\fR lists the checks and tables"


def _command(command: Command) -> Iterator[str]:
    yield f'.SS "lockscope {_roff(command.name)}"'
    for number, paragraph in enumerate(command.paragraphs):
        if number:
            yield ".PP"
        yield _roff(paragraph)
    for place, meaning in command.arguments:
        yield from _entry(rf"\fI{_roff(place)}\fR", meaning)
    for option in command.options:
        yield from _entry(_names(option), option.help)


def _names(option: Option) -> str:
    names = ", ".join(rf"\fB{_roff(name)}\fR" for name in option.names)
    return names + (rf" \fI{_roff(option.takes)}\fR" if option.takes else "")


def _entry(tag: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield tag
    yield _roff(text or "-")


def _roff(text: str) -> str:
    """Text in which nothing is a macro or an escape."""
    shown = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    return r"\&" + shown if shown.startswith(".") else shown


if __name__ == "__main__":
    sys.stdout.write(manual())
