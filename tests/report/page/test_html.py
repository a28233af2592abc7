"""The HTML page: one file, nothing from outside, verdict first, each finding a card, and bounded in size."""

from __future__ import annotations

import io
import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lockscope.pipeline import AnalyzeOptions, analyze
from lockscope.report.findings import html
from lockscope.report.output import reporter
from lockscope.report.page import _card, _scene
from lockscope.report.page._sections import sections
from lockscope.report.redaction.findings import redact
from lockscope.results.findings import GraphClass, GraphEdge, LockGraph, Report
from lockscope.results.page_data import PageData, SpteChange, SpteLife
from tests.builders import reports

SAMPLES = Path(__file__).parents[3] / "sample_traces"
VOID = {"meta", "link", "br", "input", "line", "rect", "circle", "path", "hr"}


class Checker(HTMLParser):
    """Reads a page: tags must close in order; keeps ids, links and what would be loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [values["href"] or ""] if tag == "a" and "href" in values else []
        self.loads += [str(v) for k, v in attrs if k == "src" or (k == "href" and tag != "a")]
        self.open += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open.pop() == tag


def page(report: Report, beside: str = "") -> tuple[str, Checker, dict[str, str]]:
    stream = io.StringIO()
    files = html.write_beside(report, stream, beside)
    checker = Checker()
    checker.feed(stream.getvalue())
    assert checker.open == []
    return stream.getvalue(), checker, files


@pytest.fixture(scope="module")
def ring() -> Report:
    return analyze([str(SAMPLES / "bug_slots_lock_then_kvm_lock.dat")], AnalyzeOptions(page_data=True))


@pytest.fixture(scope="module")
def unflushed() -> Report:
    return analyze([str(SAMPLES / "bug_clear_log_without_flush.dat")], AnalyzeOptions(page_data=True))


def test_it_is_an_output() -> None:
    assert reporter("html") is html
    assert [s.TITLE for s in sections()] == [
        "Verdict", "Findings", "Lock order", "Busiest and slowest locks", "Contention over time",
        "Life of SPTEs", "Required TLB flushes", "Coverage",
    ]  # fmt: skip


def test_nothing_comes_from_outside_and_links_lead_somewhere(ring: Report) -> None:
    text, checker, files = page(ring, "a.data")
    assert checker.loads == ["data:,"]
    assert "default-src 'none'" in text
    assert len(checker.ids) == len(set(checker.ids))
    inside = [link for link in checker.links if link.startswith("#")]
    assert set(inside) <= {f"#{i}" for i in checker.ids}
    outside = {link for link in checker.links if not link.startswith("#")}
    assert outside == {f"a.data/{name}" for name in files} == {"a.data/lock_classes_0.csv", "a.data/order_edges_0.csv"}
    assert text.isascii() is False
    assert len(text) < 400_000


def test_the_verdict_comes_first_and_what_it_rests_on_last(ring: Report) -> None:
    text, _, _ = page(ring)
    order = [text.index(mark) for mark in ('class="verdict violation"', 'class="card error"', "LS103 leaf-lock")]
    assert order == sorted(order)
    assert re.search(r"<p>2 errors; \d+ checks clean, \d+ in part</p>", text)
    assert "28,895 in 240 ms" in text


def test_a_card_says_all_of_a_finding(ring: Report) -> None:
    text, checker, _ = page(ring)
    ls102 = next(f for f in ring.findings if f.code == "LS102")
    assert _card.anchor(ls102) in checker.ids
    card = text[text.index(f'id="{_card.anchor(ls102)}"') :].partition("</details>")[0]
    assert "Documentation/virt/kvm/locking.rst (6.12), 1. Acquisition Orders" in card
    assert "<b>To do:</b> Take the locks in the documented order" in card
    assert "error, certain: both locks are of one VM" in card
    assert "memslot_modific/70" in card
    assert "trace-cmd report -t" in card
    assert "lockscope explain LS102" in card
    assert "<svg" in card


def test_the_suppression_line_can_be_pasted(ring: Report, tmp_path: Path) -> None:
    from lockscope.rules.suppressions import load_suppressions

    for finding in ring.findings:
        if not finding.code.startswith("LS9"):
            entry = tomllib.loads(_card.suppression(finding))["suppress"][0]
            assert entry["fingerprint"] == finding.fingerprint
    place = tmp_path / "known.toml"
    place.write_text("\n".join(_card.suppression(f) for f in ring.findings))
    assert [s.fingerprint for s in load_suppressions(str(place))] == [f.fingerprint for f in ring.findings]


def test_the_sides_of_a_ring_cross(ring: Report) -> None:
    ls101 = next(f for f in ring.findings if f.code == "LS101")
    scene = ring.page_data[0].scenes[ls101.fingerprint, None]
    assert (len(scene.tasks), scene.apart) == (2, True)
    assert [(c.wants, c.holds, c.name) for c in scene.crossings] == [(2, 3, "&kvm->lock"), (4, 1, "&kvm->slots_lock")]
    sides = [[b.name for b in scene.bars if b.lane == lane] for lane in (0, 1)]
    assert sides == [["&kvm->slots_lock", "&kvm->lock"], ["&kvm->lock", "&kvm->slots_lock"]]
    for bar in scene.bars:
        marks = [m for m in scene.marks if m.lane == bar.lane]
        assert any(bar.asked_ns <= m.ts_ns <= bar.end_ns for m in marks)
    assert _scene.picture(scene, ls101).count('class="hot" stroke-dasharray="6 4"') == 2


def test_a_flow_has_a_row_a_task_and_the_locks_around_it(unflushed: Report) -> None:
    finding = next(f for f in unflushed.findings if f.code == "LS301")
    scene = unflushed.page_data[0].scenes[finding.fingerprint, None]
    assert [pid for pid, _ in scene.tasks] == [71, 73]
    assert {"&kvm->slots_lock", "&(kvm)->mmu_lock"} <= {b.name for b in scene.bars if b.lane == 0}
    assert [(m.number, m.lane) for m in scene.marks] == [(1, 0), (2, 0), (3, 0), (4, 1)]
    assert scene.crossings == ()


def test_a_missing_flush_has_rows_of_its_own(unflushed: Report) -> None:
    text, _, _ = page(unflushed)
    assert text.count('class="was"') == text.count('class="now"') == text.count('class="stale"') == 1
    assert "no flush: TLBs may hold what was writable" in text
    assert '<tr class="missing"><td></td><td colspan="5">missing: no flush of the VM&#x27;s TLBs</td></tr>' in text


def test_the_life_of_the_frames_that_a_finding_names(unflushed: Report) -> None:
    life = unflushed.page_data[0].sptes
    assert life is not None
    assert life.counts == {"write-protected": 4096, "made writable": 2048, "zapped": 280}
    assert (min(life.told), max(life.told), life.share) == (0xFCFF7FE, 0xFCFFFFD, 1)
    text, _, files = page(unflushed, "x")
    assert "frames in red are named by a finding" in text
    assert len(files["spte_changes_0.csv"].splitlines()) == len(life.changes) + 1
    flows = {(f.flow, f.outcome): f.sptes for f in unflushed.page_data[0].flushes}
    assert flows["dirty logging", "unpaid"] == flows["dirty logging", "ended"] == 2048


def test_text_of_a_trace_is_harmless() -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=y>\x1b[31m'
    finding = replace(
        reports.circular(),
        title=evil,
        message=evil,
        classes=(evil,),
        story=(evil,),
        window=evil,
        witnesses=tuple(
            replace(w, comm=evil, note=evil, location=evil, event=evil) for w in reports.circular().witnesses
        ),
    )
    text, checker, _ = page(Report([reports.trace(evil)], [], [finding]))
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "\x1b" not in text
    assert checker.loads == ["data:,"]


def test_without_exhibits_there_are_the_findings() -> None:
    text, _, files = page(Report([reports.trace()], [], [reports.circular()]))
    assert 'class="card' in text
    assert 'id="locks"' not in text
    assert files == {}


def test_nothing_found_is_said() -> None:
    text, _, _ = page(Report([reports.trace()], [], []))
    assert "Nothing was found" in text
    assert 'class="verdict unknown"' in text


def test_a_page_of_very_much_stays_under_five_megabytes() -> None:
    findings = [replace(reports.circular(), flow=str(i), story=("x" * 100,) * 100) for i in range(3_000)]
    names = [f"lock_{i}" for i in range(3_000)]
    graph = LockGraph(
        "t", None, True, tuple(GraphClass(n, n, 0, 0, False, "....", 1, 1, 1) for n in names),
        tuple(GraphEdge(i, (i * 7 + 1) % 3_000, {"EN": 1}, True, 0) for i in range(3_000)),
    )  # fmt: skip
    often = ("mapped", "write-protected", "made writable")
    changes = tuple(SpteChange(i, i % 16 if i % 2 else i * 3, often[i % 3], 1) for i in range(40_000))
    shown = PageData(graph=graph, sptes=SpteLife(changes, {"mapped": 40_000}, 1))
    report = Report([reports.trace()], [], findings, page_data=(shown,))
    text, checker, files = page(report, "big.data")
    assert len(text.encode()) < 5_000_000
    assert text.count("<rect") < 8_000
    assert set(files) == {"findings.json", "order_edges_0.csv", "spte_changes_0.csv"}
    assert "more findings without a card" in text
    assert len([i for i in checker.ids if i.startswith("f-")]) == 3_000 - (3_000 - _cards(text) - 2_000)


def _cards(text: str) -> int:
    return len(re.findall(r'<details class="card', text))


def test_redacted_pages_name_no_task(ring: Report) -> None:
    text, _, _ = page(redact(ring))
    assert "memslot_modific" not in text
    assert "ffffc9" not in text
    assert "task1/1" in text
    assert "&amp;kvm-&gt;slots_lock" in text


def test_json_does_not_change(ring: Report) -> None:
    from lockscope.report.data import as_dict

    plain = analyze([str(SAMPLES / "bug_slots_lock_then_kvm_lock.dat")])
    assert as_dict(ring) == as_dict(plain)


def test_times_are_cut_where_nothing_happens() -> None:
    assert _scene._grouped([0, 100, 200, 9_000_000, 9_000_100]) == [[0, 100, 200], [9_000_000, 9_000_100]]
    assert _scene._grouped([0, 400, 800, 1_000]) == [[0, 400, 800, 1_000]]
    axis = _scene._Axis([0, 100, 9_000_000, 9_000_100])
    assert len(axis.parts) == 2
    places = [axis.at(t) for t in (0, 100, 5_000, 9_000_000, 9_000_100)]
    assert places == sorted(places)


def test_a_notebook_shows_the_verdict(ring: Report) -> None:
    shown = ring._repr_html_()
    assert shown is not None
    checker = Checker()
    checker.feed(shown)
    assert checker.open == []
    assert "Violation" in shown
    assert "LS101" in shown
    assert "28,895 events" in shown
