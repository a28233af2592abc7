"""The errors a user can meet. Each is one line that says what was wanted, where, and what to try.

The command line prints ``str(error)`` and leaves with status 2; nothing else of ours reaches a user as an exception.
"""

from __future__ import annotations


class LockscopeError(Exception):
    """Root of every error that is the input's or the user's, not ours."""


class UsageError(LockscopeError):
    """An argument that cannot be followed."""


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
