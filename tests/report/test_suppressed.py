from __future__ import annotations

import datetime
import io
from dataclasses import replace

import pytest

from lockscope.report.data import as_dict
from lockscope.report.findings import text
from lockscope.report.known.suppressed import without_suppressed
from lockscope.report.redaction.findings import redact
from lockscope.results.findings import Report, Suppressed, Suppression, Verdict
from tests.builders import reports

DAY = datetime.date(2026, 6, 1)
FINGERPRINT = reports.circular().fingerprint


def taken_out(report: Report, **which: object) -> tuple[Report, list[str]]:
    return without_suppressed(report, [Suppression("known", "k.toml:3", **which)], DAY)


@pytest.mark.parametrize(
    ("which", "fits"),
    [
        ({"fingerprint": FINGERPRINT}, True),
        ({"fingerprint": "0" * 16}, False),
        ({"code": "LS101"}, True),
        ({"code": "LS102"}, False),
        ({"classes": ("&kvm->slots_lock", "*")}, True),
        ({"classes": ("&kvm->s*", "&kvm->loc?")}, True),
        ({"classes": ("*",)}, False),
        ({"classes": ("&kvm->lock", "&kvm->slots_lock")}, False),
        ({"code": "LS101", "classes": ("*", "*")}, True),
        ({"code": "LS101", "fingerprint": "0" * 16}, False),
        ({"code": "LS101", "until": DAY}, True),
        ({"code": "LS101", "until": DAY - datetime.timedelta(1)}, False),
    ],
)
def test_all_that_an_entry_gives_must_fit(which: dict[str, object], fits: bool) -> None:
    rest, notes = taken_out(reports.windowed(), **which)
    assert len(rest.findings) == (0 if fits else 1)
    assert rest.suppressed == ((Suppressed(0, "LS101", FINGERPRINT, "known", 1),) if fits else ())
    assert [w.findings for w in rest.windows] == ([0, 0] if fits else [1, 0])
    assert (notes == []) == fits


def test_brackets_in_names_are_themselves() -> None:
    report = replace(reports.clean(), findings=[reports.circular(classes=("&q->fifo[i].lock", "&b"))])
    assert taken_out(report, classes=("&q->fifo[i].*", "&b"))[0].findings == []


def test_what_is_unused_or_expired_is_said() -> None:
    entries = [
        Suppression("old", "k.toml:1", code="LS101", until=datetime.date(2026, 5, 31)),
        Suppression("never", "k.toml:5", code="LS105"),
        Suppression("it is", "k.toml:9", code="LS101"),
        Suppression("second", "k.toml:12", fingerprint=FINGERPRINT),
    ]
    rest, notes = without_suppressed(reports.violated(), entries, DAY)
    assert [f.code for f in rest.findings] == ["LS901"]
    assert [s.reason for s in rest.suppressed] == ["it is"]
    assert notes == [
        "k.toml:1: expired on 2026-05-31, suppresses nothing any more (old)",
        "k.toml:5: suppresses nothing here (never)",
        "k.toml:12: suppresses nothing here (second)",
    ]


def test_findings_of_one_fingerprint_are_one_entry_a_trace() -> None:
    both = [reports.circular(window="a"), reports.circular(window="b"), reports.circular(trace=1)]
    rest, _ = taken_out(Report([reports.trace("one"), reports.trace("two")], [], both), code="LS101")
    assert [(s.trace, s.count) for s in rest.suppressed] == [(0, 2), (1, 1)]


def test_the_outputs_say_how_many_and_why() -> None:
    rest, _ = taken_out(reports.violated(), code="LS101")
    assert rest.verdict is Verdict.VIOLATION
    assert as_dict(rest)["suppressed"] == [
        {"trace": 0, "code": "LS101", "fingerprint": FINGERPRINT, "reason": "known", "count": 1}
    ]
    stream = io.StringIO()
    text.write(rest, stream)
    assert f"  suppressed:  1 LS101 {FINGERPRINT}: known\n" in stream.getvalue()
    assert "violation: only what is known or suppressed; " in stream.getvalue()


def test_reasons_are_redacted() -> None:
    rest, _ = without_suppressed(reports.violated(), [Suppression("only on vmhost7", "k.toml:1", code="LS101")], DAY)
    assert "vmhost7" not in redact(rest).suppressed[0].reason
