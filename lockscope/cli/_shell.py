"""What a command shares with the shell around it: streams, colours, progress, and one line for an error."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

from lockscope.harmless import printable

FOUND, NO_VERDICT, INTERRUPTED = 1, 2, 130


@dataclass(slots=True)
class Settings:
    """The options before the command."""

    verbose: bool = False


settings = Settings()


def say(text: str) -> None:
    """A note or an error: one line on standard error, whatever the text holds."""
    line = printable(" ".join(text.split("\n")))
    print(f"lockscope: {line}", file=sys.stderr, flush=True)


def wants_color(asked: str = "auto") -> bool:
    """Whether to colour standard output. What was asked for ("always", "never") comes first, then the environment:
    ``NO_COLOR`` (no-color.org: set and not empty), ``FORCE_COLOR`` (force-color.org). Else a terminal that has colours.
    """
    if asked != "auto":
        return asked == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def columns() -> int | None:
    """The width of the terminal that standard output is; None where it is none: a file has no width."""
    return max(shutil.get_terminal_size().columns, 40) if sys.stdout.isatty() else None


def show(lines: Iterable[str]) -> None:
    """Print lines, folded at blanks where a terminal is narrower."""
    from lockscope.report.lines import fit

    width = columns()
    for line in lines:
        for part in fit(line, width):
            print(part)


def silence_stdout() -> None:
    """Nobody reads standard output any more (``| head``): what is still buffered, and what follows, goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


class Progress:
    """A line on standard error that is rewritten, at most ten times a second; nothing where that is no terminal."""

    def __init__(self, name: str) -> None:
        self._name = os.path.basename(name)
        self._on = sys.stderr.isatty()
        self._next = 0.0
        self._drawn = False

    def __call__(self, done: int, total: int | None) -> None:
        """``done`` of ``total``; None where nobody knows how much there is."""
        now = time.monotonic()
        if not self._on or now < self._next:
            return
        self._next = now + 0.1
        self._drawn = True
        part = f"{min(done / total, 1):4.0%}" if total else f"{done:,}"
        sys.stderr.write(f"\r\x1b[K{printable(self._name)}: {part}")
        sys.stderr.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
