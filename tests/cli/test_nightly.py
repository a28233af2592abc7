"""``lockscope nightly`` from the command line to its exit status."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from lockscope.cli._run import run
from lockscope.nightly.history import History
from tests.builders.nights import BY_FOLDER, LOCK, SLOTS, one_way


@dataclass
class Nights:
    """Runs the command on ``traces`` under a directory of its own; the history and the report lie beside it."""

    home: Path
    capsys: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    def run(self, night: str, *more: str) -> int:
        where = [str(self.home / "traces"), "--history", str(self.home / "history"), "--workers", "1"]
        status = run(["nightly", *where, "--night", night, "--host", BY_FOLDER, *more])
        said = self.capsys.readouterr()
        self.out, self.err = said.out, said.err
        return status

    def trace(self, host: str, *names: str, name: str = "t", at: int = 1_000_000) -> Path:
        return one_way(self.home / "traces" / host / f"{name}.dat", *names, at=at)


@pytest.fixture
def nights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Nights:
    return Nights(tmp_path, capsys)


def test_an_order_that_closes_a_ring_across_hosts(nights: Nights) -> None:
    nights.trace("alpha", "&p->lock", "&q->lock", LOCK)
    nights.trace("beta", LOCK, "&r->lock")
    assert nights.run("2026-01-01") == 0
    assert nights.out.startswith("lockscope nightly 2026-01-01: nothing new\n")
    # No trace has both: each host takes the two in its own order.
    nights.trace("beta", "&kvm->arch.apic_map_lock", "&kvm->irqfds.resampler_lock", name="u")
    nights.trace("alpha", "&kvm->irqfds.resampler_lock", "&kvm->arch.apic_map_lock", name="u")
    assert nights.run("2026-01-02", "--select", "LS101") == 1
    first, second = nights.out.splitlines()[:2]
    assert first == "lockscope nightly 2026-01-02: 1 new finding"
    assert second.startswith("! NEW LS101 error: possible circular locking dependency detected across traces: ")
    assert "&kvm->arch.apic_map_lock -> &kvm->irqfds.resampler_lock -> &kvm->arch.apic_map_lock" in second
    assert "alpha (2026-01-02) and beta (2026-01-02)" in second


def test_the_second_night_does_what_is_new(nights: Nights) -> None:
    trace = nights.trace("alpha", SLOTS, LOCK)
    assert nights.run("2026-01-01", "--select", "LS102") == 1
    assert "1 new" in nights.out
    # The same content elsewhere, and the file touched: nothing new.
    (trace.parent / "copy.dat").write_bytes(trace.read_bytes())
    trace.touch()
    assert nights.run("2026-01-02", "--select", "LS102") == 0
    assert "nothing to do: the history knows all 2 files" in nights.err
    nights.trace("alpha", SLOTS, LOCK, name="v", at=7_000_000)
    assert nights.run("2026-01-03", "--select", "LS102") == 0
    assert "1 known" in nights.out
    assert History(nights.home / "history").table("traces").num_rows == 2


def test_the_night_has_one_answer_however_often_it_is_asked(nights: Nights) -> None:
    nights.trace("alpha", SLOTS, LOCK)
    assert [nights.run("2026-01-01", "--select", "LS102") for _ in range(2)] == [1, 1]


def test_one_broken_file_is_a_row(nights: Nights) -> None:
    nights.trace("alpha", LOCK, SLOTS)
    (nights.home / "traces" / "alpha" / "broken.dat").write_bytes(b"\x17\x08\x44tracing6\0")
    assert nights.run("2026-01-01") == 0
    assert "! NO VERDICT " in nights.out
    assert "broken.dat" in nights.err
    assert "1 trace of 1 host" in nights.out


def test_no_verdict_at_all(nights: Nights) -> None:
    broken = nights.home / "traces" / "alpha" / "broken.dat"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"")
    assert nights.run("2026-01-01") == 2
    assert "no verdict: none of 1 new files could be judged" in nights.err


def test_suppressed_findings_are_counted(nights: Nights) -> None:
    nights.trace("alpha", SLOTS, LOCK)
    entries = nights.home / "known.toml"
    entries.write_text('[[suppress]]\ncode = "LS102"\nreason = "on purpose"\n')
    assert nights.run("2026-01-01", "--select", "LS102", "--suppressions", str(entries)) == 0
    assert "1 finding suppressed: on purpose" in nights.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--night", "../x"), "--night '../x': wanted letters, digits"),
        (("--host", "(?P<hosts>.*)"), "wanted a group (?P<host>...)"),
        (("--fail-on", "sometimes"), "--fail-on sometimes: unknown value"),
        (("--select", "LS999"), "--select LS999: unknown check"),
    ],
)
def test_mistakes_are_one_line(nights: Nights, arguments: tuple[str, ...], said: str) -> None:
    nights.trace("alpha", LOCK)
    assert nights.run("2026-01-01", *arguments) == 2
    assert said in nights.err
    assert nights.err.count("\n") == 1


def test_report_files(nights: Nights) -> None:
    nights.trace("alpha", SLOTS, LOCK)
    nights.run("2026-01-01", "--select", "LS102", "-o", str(nights.home / "report"))
    text = (nights.home / "report" / "summary.txt").read_text()
    assert text == nights.out
    markdown = (nights.home / "report" / "summary.md").read_text()
    assert markdown.startswith("## lockscope nightly 2026-01-01: 1 new finding\n")
    assert "&amp;kvm-\\>slots\\_lock" in markdown
