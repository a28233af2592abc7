"""The errors a user can meet. Each is one line that says what was wanted, where, and what to try.

The command line prints ``str(error)`` and leaves with status 2; nothing else of ours reaches a user as an exception.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

_MOST, _LONGEST = 4096, 120  # names looked at, and characters of each: a trace may have any number


class LockscopeError(Exception):
    """Root of every error that is the input's or the user's, not ours."""

    def __reduce__(self) -> tuple[object, ...]:
        # Pickled by what it says, not by what it was made of: workers of `nightly` send it.
        return _as_it_was, (type(self), self.args), self.__dict__


def _as_it_was(kind: type[LockscopeError], args: tuple[object, ...]) -> LockscopeError:
    return kind.__new__(kind, *args)


class UsageError(LockscopeError):
    """An argument that cannot be followed."""


class MatchError(UsageError):
    """An option's value that nothing in the trace is: what was left or asked for by a mistyped name is no answer.

    One rule for all commands: the option, the value, what of which trace it was looked for among, and the nearest that
    there is.
    """

    def __init__(self, option: str, value: object, what: str, known: Iterable[str] = ()) -> None:
        self.option, self.value = option, str(value)
        super().__init__(f"{option} {self.value}: {what}{nearest(self.value, known)}")


def unknown(
    option: str, word: object, known: Iterable[str], what: str = "value", also: Iterable[str] = ()
) -> UsageError:
    """The error for a word that is none of those an option or argument takes; the one text there is for that.

    ``also``: words that are taken as well and not listed.
    """
    words = list(known)
    near = did_you_mean(str(word), [*words, *also])
    return UsageError(f"{option} {word}: unknown {what}{near}; choose from {', '.join(words)}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean X?)``, or nothing; also for what was written in small letters."""
    words = list(known)
    close = get_close_matches(word, words, n=1, cutoff=0.6) or get_close_matches(word.upper(), words, n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """``; the nearest is X`` of what there is, or nothing where there is none."""
    some = list(dict.fromkeys(name[:_LONGEST] for name in islice(known, _MOST) if name))
    close = get_close_matches(word[:_LONGEST], some, 1, 0.0)
    return f"; the nearest is {close[0]}" if close else ""


class FormatError(LockscopeError):
    """A file that is not what it should be.

    Attributes: ``path`` of the file, ``where`` in it ("offset 0x40", "line 7"), ``wanted`` there, ``hint`` what to try.
    """

    def __init__(self, path: object, where: str, wanted: str, hint: str = "") -> None:
        self.path, self.where, self.wanted, self.hint = str(path), where, wanted, hint
        place = f"{path}: {where}: " if where else f"{path}: "
        super().__init__(place + wanted + (f" (hint: {hint})" if hint else ""))


class RuleError(LockscopeError):
    """A rulebook with a mistake in it: file, line, and what the rule needs."""

    def __init__(self, path: object, line: int, wanted: str) -> None:
        self.path, self.line, self.wanted = str(path), line, wanted
        super().__init__(f"{path}:{line}: {wanted}")
