"""Which findings not to tell: fingerprints among the words of ``--ignore``, and the file of ``--suppressions``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lockscope.cli._arguments import listed
from lockscope.errors import UsageError
from lockscope.results.findings import Suppression

_FINGERPRINT = re.compile(r"[0-9a-f]{16}")


def ignored(words: Iterable[str] | None) -> tuple[list[str], tuple[Suppression, ...]]:
    """The words that are codes or names of checks, and a suppression for each fingerprint."""
    given = listed(words)
    prints = [w for w in given if _FINGERPRINT.fullmatch(w)]
    reason = "ignored on the command line"
    return [w for w in given if w not in prints], tuple(Suppression(reason, f"--ignore {w}", w) for w in prints)


def suppressions_of(path: str | None) -> tuple[Suppression, ...]:
    """A file's entries; none without a file. ``UsageError`` for the code of no check, and see ``load_suppressions``."""
    if path is None:
        return ()
    from lockscope.checks.check import all_checks
    from lockscope.rules.suppressions import load_suppressions

    entries = load_suppressions(path)
    for entry in entries:
        if entry.code is not None and entry.code not in all_checks():
            msg = f"{entry.origin}: code: no check is called {entry.code}; 'lockscope explain' lists them"
            raise UsageError(msg)
    return entries
