"""Arguments of commands: lists with commas, codes of checks, expressions, files to write."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from lockscope.cli._quantities import number
from lockscope.errors import UsageError, unknown
from lockscope.outfiles import refuse_existing, write_text
from lockscope.units import moment

_ADDRESS = re.compile(r"[0-9a-f]{16}")
ASSUMPTIONS = ("selftest-softirq", "recursive-read-locks")  # README, "In CI"


class Named(Protocol):
    """A check, as far as its choice goes."""

    @property
    def name(self) -> str:
        """Its name, as ``lockscope explain`` lists it."""
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


def one_recording(traces: list[str], merge: bool) -> list[str]:
    """The files of one recording. Raises ``UsageError`` for several of which nobody says that they are one."""
    if len(traces) > 1 and not merge:
        msg = f"{len(traces)} traces: wanted one, or --merge if they are one recording"
        raise UsageError(msg)
    return traces


def output_file(output: str | None, inputs: Iterable[str], *, force: bool, beside: str = "") -> None:
    """Refuse a file that cannot be written, is one of the inputs or exists, before any work is done.

    None and ``-`` are standard output. ``beside``: the ending of a directory that is written beside it.
    """
    if output is None or output == "-":
        return
    place = Path(output)
    if place.is_dir():
        msg = f"-o {output}: is a directory; wanted a file"
        raise UsageError(msg)
    if not place.parent.is_dir():
        msg = f"-o {output}: there is no directory {place.parent}"
        raise UsageError(msg)
    if any(place.exists() and os.path.exists(i) and os.path.samefile(place, i) for i in inputs):
        msg = f"-o {output}: would overwrite the input"
        raise UsageError(msg)
    refuse_existing(place, force=force, name=f"-o {output}")
    folder = place.with_suffix(beside) if beside else None
    if folder is not None and not force and folder.exists():
        msg = f"-o {output}: {folder} exists (--force overwrites it)"
        raise UsageError(msg)
    if not os.access(place if place.exists() else place.parent, os.W_OK):
        msg = f"-o {output}: no permission to write"
        raise UsageError(msg)


def deliver(text: str, output: str | None) -> None:
    """Write a text to a file that ``output_file`` let pass, or to standard output."""
    if output is None or output == "-":
        sys.stdout.write(text)
    else:
        write_text(output, text)


def windows(start: str | None, end: str | None) -> tuple[str | None, str | None]:
    """Both ends of the judged windows, or neither. Raises ``UsageError``."""
    if (start is None) != (end is None):
        msg = "--window-start and --window-end go together: one of them is missing"
        raise UsageError(msg)
    return expression("--window-start", start), expression("--window-end", end)


def is_time(option: str, text: str | None) -> str | None:
    """The text of a time, or None for none. Raises ``UsageError`` for what is no time."""
    if text is not None:
        try:
            moment(text)
        except ValueError as error:
            msg = f"{option}: {error}"
            raise UsageError(msg) from None
    return text


def times(paths: list[str], from_: str | None, to: str | None) -> tuple[int | None, int | None]:
    """``--from`` and ``--to`` in ns. Raises ``UsageError`` for what is no time."""
    is_time("--from", from_)
    is_time("--to", to)

    def at(text: str | None) -> int | None:
        if text is None:
            return None
        origin, ns = moment(text)
        if not origin:
            return ns
        from lockscope.trace.trace import load  # from either end of the trace, which is read for that

        return load(*paths).at(text)

    return at(from_), at(to)


def addressed(option: str, values: Iterable[str] | None) -> tuple[str, ...]:
    """Patterns of lock classes, and addresses, with ``0x`` or as lockdep prints them: sixteen digits.

    Raises ``UsageError`` for a broken address.
    """
    words = [f"0x{word}" if _ADDRESS.fullmatch(word) else word for word in listed(values)]
    for word in words:
        if word.startswith("0x"):
            number(option, word, lambda text: int(text, 16))
    return tuple(words)


def whole_numbers(option: str, values: Iterable[str] | None) -> tuple[int, ...]:
    """Numbers from words with commas. Raises ``UsageError``."""
    return tuple(number(option, word, int) for word in listed(values))
