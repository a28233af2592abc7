"""Arguments of commands: lists with commas, codes of checks, expressions, files to write."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Protocol

import typer

from lockscope.errors import UsageError, unknown

ASSUMPTIONS = ("selftest-softirq", "recursive-read-locks")  # contract, section 2


class Named(Protocol):
    """A check, as far as its choice goes."""

    @property
    def name(self) -> str:
        """Its name, as in the contract's section 4."""
        ...


def listed(values: Iterable[str] | None) -> tuple[str, ...]:
    """``["a,b", "c"]`` -> ``("a", "b", "c")``, each once."""
    words = (w.strip() for value in values or () for w in value.split(","))
    return tuple(dict.fromkeys(w for w in words if w))


def chosen_codes(option: str, values: Iterable[str] | None, checks: Mapping[str, Named]) -> tuple[str, ...]:
    """The codes that words choose: a code, the beginning of codes (LS1, LS1xx), a check's name, or ``all``."""
    chosen: dict[str, None] = {}
    for word in listed(values):
        begin = "LS" if word.lower() == "all" else word.upper().rstrip("X*")
        found = [c for c in checks if begin.startswith("LS") and c.startswith(begin)]
        found += [c for c, known in checks.items() if known.name == word.lower()]
        if not found:
            raise unknown(option, word, checks, "check", (known.name for known in checks.values()))
        chosen.update(dict.fromkeys(found))
    return tuple(chosen)


def expression(option: str, value: str | None) -> str | None:
    """A regular expression that compiles, or ``UsageError`` with the place of the mistake."""
    if value is not None:
        try:
            re.compile(value)
        except re.error as error:
            at = "" if error.pos is None else f" at position {error.pos}"
            msg = f"{option} {value!r}: not a regular expression: {error.msg}{at}"
            raise UsageError(msg) from error
    return value


def assumptions(values: Iterable[str] | None) -> tuple[str, ...]:
    """Assumptions that exist."""
    words = listed(values)
    for word in words:
        one_of("--assume", word, ASSUMPTIONS)
    return words


def one_of(option: str, word: str, known: tuple[str, ...]) -> None:
    """``UsageError`` naming what there is, unless the word is known."""
    if word not in known:
        raise unknown(option, word, known)


Traces = Annotated[list[str], typer.Argument(metavar="TRACE...", help="A trace; - is standard input.")]
Merge = Annotated[bool, typer.Option("--merge", help="The traces are one recording, of one host and time.")]


def one_recording(traces: list[str], merge: bool) -> list[str]:
    """The files of one recording. Raises ``UsageError`` for several of which nobody says that they are one."""
    if len(traces) > 1 and not merge:
        msg = f"{len(traces)} traces: one at a time, or --merge if they are one recording"
        raise UsageError(msg)
    return traces


def output_file(path: str, inputs: Iterable[str]) -> None:
    """Refuse a file that cannot be written, or that is one of the inputs, before any work is done."""
    place = Path(path)
    if place.is_dir():
        msg = f"-o {path}: is a directory; wanted a file"
        raise UsageError(msg)
    if not place.parent.is_dir():
        msg = f"-o {path}: there is no directory {place.parent}"
        raise UsageError(msg)
    if any(place.exists() and os.path.exists(i) and os.path.samefile(place, i) for i in inputs):
        msg = f"-o {path}: would overwrite the input"
        raise UsageError(msg)
    if not os.access(place if place.exists() else place.parent, os.W_OK):
        msg = f"-o {path}: no permission to write"
        raise UsageError(msg)
