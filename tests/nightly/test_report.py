"""The night's report: what its first lines name, its page and its figures."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import numpy as np
import pytest

from lockscope.errors import UsageError
from lockscope.nightly import tables
from lockscope.nightly.figures import coverage, findings, holds, hosts, slower
from lockscope.nightly.figures._base import drawn, figures
from lockscope.nightly.history import History
from lockscope.nightly.lifecycle import State
from lockscope.nightly.night import Night, night_of
from lockscope.nightly.page import as_html
from lockscope.nightly.summary import as_markdown, as_text
from lockscope.nightly.written import Report
from lockscope.results.findings import Suppression
from tests.builders.chromium import chromium
from tests.builders.nights import LOCK, SLOTS, check, classes, edge, finding, trace_row

TODAY = datetime.date(2026, 1, 31)
NIGHTS = [f"2026-01-{day:02}" for day in range(1, 13)]
HOSTS = [f"kvm{n}" for n in range(10)]
LOCKS = [LOCK, SLOTS, *(f"&p{n}->lock" for n in range(10))]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """Twelve nights of ten hosts. In the last: kvm->lock's tail twice as long on three of them, an edge that closes a
    ring across hosts, a broken file; a finding is known, one flaps, one is fixed.
    """
    made = History(tmp_path_factory.mktemp("nights") / "h")
    rng = np.random.default_rng(3)
    for number, night in enumerate(NIGHTS):
        last = number == len(NIGHTS) - 1
        for place, host in enumerate(HOSTS):
            made.keep(tables.pack(_record(rng, number, night, place, host, last)))
        if last:
            row = trace_row(night, "kvm9", "broken", error="kvm9/x.dat: offset 0x40: wanted 4096 bytes", events=0)
            made.keep(tables.pack(tables.record({"traces": [row]})))
        made.commit()
    return made


def _record(rng: np.random.Generator, number: int, night: str, place: int, host: str, last: bool) -> tables.Record:
    times = {}
    for level, name in enumerate(LOCKS):
        spread = rng.lognormal(9 + level / 4 + rng.normal(0, 0.04), 0.6, 600)
        if last and name == LOCK and place in (2, 5, 8):
            spread = np.where(spread > np.quantile(spread, 0.9), 2 * spread, spread)
        times[name] = spread
    found = []
    if place == 1:
        found.append(finding(night, host, "1" * 16, SLOTS, LOCK))
    if place == 2 and number not in (4, 7):
        found.append(finding(night, host, "2" * 16, LOCK, code="LS103"))
    if place == 3 and number < 10:
        found.append(finding(night, host, "3" * 16, LOCK, code="LS104"))
    edges = [edge("&vcpu->mutex", "&ioapic->lock", night=night, host=host)]
    if last and place == 7:
        edges.append(edge("&ioapic->lock", "&vcpu->mutex", night=night, host=host))
    codes = ("LS101", "LS102", "LS103", "LS104")
    lost = [{"night": night, "digest": f"{host}-{night}", "host": host, "cpu": 1, "kind": "overrun", "count": 7,
             "buffer": "", "remedy": "a larger buffer"}]  # fmt: skip
    return tables.record({
        "traces": [trace_row(night, host, f"{host}-{night}", lost_events=7 if place == 4 else 0)],
        "findings": found,
        "checks": [*(check(night, host, c) for c in codes), check(night, host, "LS201", "skipped")],
        "classes": classes(night, host, times),
        "edges": edges,
        "losses": lost if place == 4 else [],
    })  # fmt: skip


@pytest.fixture(scope="module")
def night(history: History) -> Night:
    return night_of(history, NIGHTS[-1], (), TODAY)


def test_the_first_lines_name_what_was_planted(night: Night) -> None:
    first, ring, slow, broken, blank = as_text(night).splitlines()[:5]
    assert first == "lockscope nightly 2026-01-12: 1 new finding; 1 lock slower than before; 1 file without a verdict"
    assert ring.startswith("! NEW LS101 error: possible circular locking dependency detected across traces: ")
    assert "&ioapic->lock -> &vcpu->mutex" in ring
    assert "kvm0 (2026-01-01) and kvm7 (2026-01-12)" in ring
    assert re.match(r"! SLOWER &kvm->lock: 99th percentile hold (1\.9|2\.\d)x \(.* -> .*\) on 3 of 10 hosts: ", slow)
    assert slow.endswith("kvm2, kvm5, kvm8")
    assert broken == "! NO VERDICT kvm9/x.dat: offset 0x40: wanted 4096 bytes"
    assert blank == ""


def test_the_nights_before_were_quiet(history: History) -> None:
    for name in NIGHTS[1:-1]:
        text = as_text(night_of(history, name, (), TODAY))
        assert text.startswith(f"lockscope nightly {name}: nothing new\n"), text


def test_states_hosts_and_coverage(night: Night) -> None:
    states = {life.row["fingerprint"][0]: life.state for life in night.lives if not life.cross}
    assert states == {"1": State.KNOWN, "2": State.FLAPPING, "3": State.FIXED}
    assert {h.name for h in night.hosts[:3]} == {"kvm2", "kvm5", "kvm8"}
    text = as_text(night)
    assert "not judged on any trace: LS201" in text
    assert "events lost in 1 trace (7) on kvm4" in text
    assert "fixed: LS104 &kvm->lock: seen in 10 of 12 nights that could show it, last 2026-01-10" in text


def test_suppressed_is_not_told(history: History) -> None:
    entry = Suppression("on purpose", "known.toml:1", fingerprint="1" * 16)
    told = night_of(history, NIGHTS[-1], (entry,), TODAY)
    assert [s.reason for s in told.suppressed] == ["on purpose"]
    assert "1" * 16 not in {life.row["fingerprint"] for life in told.lives}


def test_markdown_shows_names_as_they_are(night: Night) -> None:
    text = as_markdown(night)
    assert text.startswith("## lockscope nightly 2026-01-12: 1 new finding;")
    assert "- **SLOWER &amp;kvm-\\>lock: 99th percentile hold" in text


def test_the_page_is_whole_and_harmless(night: Night, tmp_path: Path) -> None:
    report = Report.at(str(tmp_path / "report"))
    report.write(night)
    page = report.page.read_text()
    assert 'id="f-' in page
    assert "SLOWER" not in page.split("</h1>")[0]
    assert "across traces: &amp;ioapic-&gt;lock -&gt; &amp;vcpu-&gt;mutex" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert len(page) < 5 << 20
    assert sorted(p.stem for p in report.figures.glob("*.png")) == sorted(figures())
    assert report.text.read_text() == as_text(night)


@pytest.mark.all
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("width", [1280, 420])
def test_the_page_in_a_browser(night: Night, tmp_path: Path, width: int) -> None:
    report = Report.at(str(tmp_path / "report"))
    report.write(night)
    with chromium() as browser:
        browser.set_window_size(width, 900)
        browser.get(report.page.as_uri())
        assert browser.get_log("browser") == []
        assert browser.title == "2026-01-12: 1 new finding; 1 lock slower than before; 1 file without a verdict"
        links = [a.get_attribute("href") for a in browser.find_elements("css selector", "a[href^='#']")]
        assert len(links) > 3
        assert all(browser.find_elements("id", link.partition("#")[2]) for link in links)
        pictures = browser.find_elements("css selector", "img, svg")
        assert len(pictures) >= len(figures())
        assert all(p.rect["width"] > 100 for p in pictures if p.is_displayed())
        shown = browser.execute_script("return document.documentElement.scrollWidth")
        assert shown <= browser.execute_script("return window.innerWidth")
        card = browser.find_element("css selector", "details")
        before = card.get_attribute("open")
        card.find_element("tag name", "summary").click()
        assert card.get_attribute("open") != before
        browser.save_screenshot(str(tmp_path / "page.png"))


def test_text_of_a_trace_is_text_on_the_page(history: History, tmp_path: Path) -> None:
    made = History(tmp_path / "h")
    row = finding("n1", "<b>h</b>", "9" * 16, "<script>alert(1)</script>", title="<i>t</i>", story="<u>s</u>")
    made.keep(tables.pack(tables.record({"traces": [trace_row("n1", "<b>h</b>", "d")], "findings": [row]})))
    made.commit()
    page = as_html(night_of(made, "n1", (), TODAY), [])
    for text in ("<script>alert", "<b>h</b>", "<i>t</i>", "<u>s</u>"):
        assert text not in page


def test_figures_of_this_night(night: Night) -> None:
    slow = slower.data(night)
    assert slow is not None
    (line,) = slow.lines
    assert line.changed.nonzero()[0].tolist() == [2, 5, 8]
    assert line.ratios[line.changed, -1].min() > 1.5 > line.ratios[~line.changed, -1].max()
    rows = findings.data(night)
    assert rows is not None
    assert rows.states == ["NEW", "known", "flapping", "fixed"]
    assert rows.marks[2] == "####.##.####"
    bars = hosts.data(night)
    assert bars is not None
    assert dict(zip(bars.hosts, bars.numbers, strict=True))["kvm2"] == (0, 1, 1, 0)
    assert bars.quiet == 5
    judged = coverage.data(night)
    assert judged is not None
    assert dict(zip(judged.codes, judged.numbers, strict=True))["LS201"] == (0, 0, 10)
    bands = holds.data(night)
    assert bands is not None
    assert bands.names == [SLOTS, LOCK]
    assert (bands.low <= bands.middle).all()


@pytest.fixture
def empty(tmp_path: Path) -> Night:
    return night_of(History(tmp_path / "h"), "n1", (), TODAY)


def test_a_night_without_anything(empty: Night) -> None:
    assert list(drawn(empty)) == []
    assert as_text(empty).startswith("lockscope nightly n1: nothing new\n")
    assert "<h1>Night n1</h1>" in as_html(empty, [])
    assert empty.slower == empty.faster == empty.hosts == []


def test_a_report_of_ours_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text("precious")
    with pytest.raises(UsageError, match=r"index.html: exists \(--force overwrites it\)"):
        Report.at(str(tmp_path))
    Report.at(str(tmp_path), force=True)
    page.write_text('<!DOCTYPE html><meta name="generator" content="lockscope nightly">')
    (tmp_path / "summary.md").write_text("last night's")
    assert Report.at(str(tmp_path)).page == page
