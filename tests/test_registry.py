"""What the codes mean is public: their names and severities are fixed."""

from __future__ import annotations

import re

import pytest

from lockscope.checks.check import all_checks
from lockscope.results.findings import Severity

CODES = {
    "LS101": ("circular-lock-dependency", Severity.ERROR),
    "LS102": ("documented-order", Severity.ERROR),
    "LS103": ("leaf-lock", Severity.ERROR),
    "LS104": ("recursive-locking", Severity.ERROR),
    "LS105": ("unbalanced-unlock", Severity.ERROR),
    "LS106": ("held-on-exit", Severity.ERROR),
    "LS107": ("irq-inversion", Severity.ERROR),
    "LS108": ("inconsistent-irq-usage", Severity.ERROR),
    "LS109": ("invalid-wait-context", Severity.ERROR),
    "LS110": ("sleep-in-atomic", Severity.ERROR),
    "LS111": ("held-lock-reinitialised", Severity.ERROR),
    "LS112": ("hung-task", Severity.INFO),
    "LS201": ("srcu-unprotected-access", Severity.ERROR),
    "LS202": ("srcu-index-mismatch", Severity.ERROR),
    "LS203": ("srcu-unbalanced", Severity.ERROR),
    "LS204": ("lock-inside-srcu", Severity.ERROR),
    "LS205": ("synchronize-inside-srcu", Severity.ERROR),
    "LS206": ("srcu-held-on-exit", Severity.ERROR),
    "LS301": ("unflushed-write-protect", Severity.ERROR),
    "LS302": ("unflushed-zap", Severity.ERROR),
    "LS303": ("spte-without-mmu-lock", Severity.ERROR),
    "LS304": ("illegal-fast-page-fault", Severity.ERROR),
    "LS305": ("gfn-pfn-aba", Severity.ERROR),
    "LS306": ("lost-spte-bit", Severity.ERROR),
    "LS307": ("access-tracking", Severity.ERROR),
    "LS401": ("unprotected-field", Severity.WARNING),
    "LS901": ("event-loss", Severity.INFO),
    "LS902": ("clock", Severity.INFO),
    "LS903": ("coverage", Severity.INFO),
}


@pytest.mark.parametrize("code", all_checks())
def test_a_check_is_called_what_its_code_is_called(code: str) -> None:
    check = all_checks()[code]
    assert (check.code, (check.name, check.severity)) == (code, CODES[code])


def test_the_checks_that_the_first_rules_need_are_there() -> None:
    assert set(all_checks()) >= {*(f"LS10{n}" for n in range(1, 10)), "LS110", "LS111", "LS901", "LS902", "LS903"}


def test_names_are_words_and_no_two_are_equal() -> None:
    names = [c.name for c in all_checks().values()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in names)


def test_only_codes_that_speak_of_the_trace_are_notices() -> None:
    assert {c.code for c in all_checks().values() if c.notice} == {c for c in all_checks() if c >= "LS9"}
