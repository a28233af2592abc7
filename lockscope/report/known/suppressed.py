"""Findings that the user does not want to be told again are counted, each with the reason, and no longer listed."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from lockscope.patterns import match_in_order
from lockscope.report.known.baseline import unlisted
from lockscope.results.findings import Finding, Report, Suppressed, Suppression


def without_suppressed(
    report: Report, entries: Sequence[Suppression], today: datetime.date
) -> tuple[Report, list[str]]:
    """The report with what an entry takes out counted in ``suppressed``; and what is to be said of the entries.

    The first entry that fits counts; one that is never the first is said to be unused. An expired one takes out
    nothing.
    """
    expired = [e for e in entries if e.until is not None and e.until < today]
    active = [e for e in entries if e not in expired]
    taken: dict[int, Suppression] = {}
    for place, finding in enumerate(report.findings):
        by = next((e for e in active if _fits(e, finding)), None)
        if by is not None:
            taken[place] = by
    used = set(taken.values())
    notes = [f"{e.origin}: expired on {e.until}, suppresses nothing any more ({e.reason})" for e in expired]
    notes += [f"{e.origin}: suppresses nothing here ({e.reason})" for e in active if e not in used]
    gone = [report.findings[place] for place in taken]
    rest = unlisted(report, lambda finding: any(_fits(e, finding) for e in active))
    told = Counter((f.trace, f.code, f.fingerprint, by.reason) for f, by in zip(gone, taken.values(), strict=True))
    new = tuple(Suppressed(*key, count=number) for key, number in told.items())
    return replace(rest, suppressed=(*report.suppressed, *new)), notes


def _fits(entry: Suppression, finding: Finding) -> bool:
    return fits(entry, finding.fingerprint, finding.code, finding.classes)


def fits(entry: Suppression, fingerprint: str, code: str, classes: tuple[str, ...]) -> bool:
    """Whether an entry is about such a finding."""
    return (
        entry.fingerprint in (None, fingerprint)
        and entry.code in (None, code)
        and (entry.classes is None or match_in_order(entry.classes, classes))
    )
