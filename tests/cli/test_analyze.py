from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lockscope.errors import FormatError, RuleError
from lockscope.results.findings import Report, Severity
from tests.builders import reports
from tests.builders.reports import Options
from tests.cli.conftest import Lockscope


def of(report: Report) -> reports.Answer:
    return lambda paths, options: report


def unreadable(*names: str) -> reports.Answer:
    def answer(paths: list[str], options: Options) -> Report:
        for path in paths:
            if path in names:
                raise FormatError(path, "offset 0x0", "none of the formats known", "trace-cmd convert")
        return replace(reports.clean(), traces=[reports.trace(paths[0])])

    return answer


@pytest.mark.parametrize(
    ("report", "arguments", "status"),
    [
        (reports.clean(), [], 0),
        (reports.violated(), [], 1),
        (reports.violated(), ["--fail-on", "never"], 0),
        (reports.violated(), ["--strict"], 1),
        (reports.violated(), ["--fail-on", "never", "--strict"], 2),
        (replace(reports.violated(), findings=[reports.notice()]), [], 0),
        (replace(reports.violated(), findings=[reports.notice()]), ["--fail-on", "info"], 1),
        (replace(reports.clean(), findings=[reports.circular(severity=Severity.WARNING)]), [], 1),
        (replace(reports.clean(), findings=[reports.circular(severity=Severity.WARNING)]), ["--fail-on", "error"], 0),
        (replace(reports.clean(), findings=[reports.circular(severity=Severity.INFO)]), [], 0),
        (reports.undecided(), [], 2),
        (reports.undecided(), ["--fail-on", "never"], 2),
        (replace(reports.clean(), traces=[reports.trace(lost_events=None)]), [], 0),
        (replace(reports.clean(), traces=[reports.trace(lost_events=None)]), ["--strict"], 2),
        (reports.clean(), ["--strict"], 0),
        (Report([reports.trace()], [reports.ran("LS901", "event-loss")], []), [], 0),
    ],
)
def test_the_exit_status_follows_from_the_report(
    lockscope: Lockscope, report: Report, arguments: list[str], status: int
) -> None:
    done = lockscope("analyze", "t.dat", *arguments, answer=of(report))
    assert done.status == status
    assert ": kernel " in done.out


def test_one_undecided_trace_of_two_is_no_verdict(lockscope: Lockscope) -> None:
    answers = {"a": reports.clean(), "b": reports.undecided()}
    done = lockscope("analyze", "a", "b", answer=lambda paths, options: answers[paths[0]])
    assert done.status == 2
    assert done.err == "lockscope: traces/bug.dat: no verdict: no selected check had the events it needs\n"


def test_strict_says_why(lockscope: Lockscope) -> None:
    lossy = replace(reports.clean(), traces=[reports.trace("lossy.dat", lost_events=3)])
    assert lockscope("analyze", "t", "--strict", answer=of(lossy)).err == (
        "lockscope: lossy.dat: no verdict: events were lost (--strict)\n"
    )


def test_an_unreadable_trace_does_not_hide_the_others(lockscope: Lockscope) -> None:
    done = lockscope("analyze", "good", "bad", "fine", "--format", "json", answer=unreadable("bad"))
    assert done.status == 2
    assert [t["path"] for t in json.loads(done.out)["traces"]] == ["good", "fine"]
    assert done.err.splitlines() == [
        "lockscope: bad: offset 0x0: none of the formats known (hint: trace-cmd convert)",
        "lockscope: no verdict on 1 of 3 traces: unreadable",
    ]


def test_findings_beat_an_unreadable_trace(lockscope: Lockscope) -> None:
    def answer(paths: list[str], options: Options) -> Report:
        return reports.violated() if paths == ["good"] else unreadable("bad")(paths, options)

    done = lockscope("analyze", "bad", "good", answer=answer)
    assert done.status == 1
    assert done.err == "lockscope: bad: offset 0x0: none of the formats known (hint: trace-cmd convert)\n"


def test_nothing_readable_is_one_line_a_trace_and_no_report(lockscope: Lockscope) -> None:
    done = lockscope("analyze", "bad", answer=unreadable("bad"))
    assert (done.status, done.out) == (2, "")
    assert done.err == "lockscope: bad: offset 0x0: none of the formats known (hint: trace-cmd convert)\n"


def test_a_missing_file_is_named(lockscope: Lockscope, tmp_path: Path) -> None:
    def answer(paths: list[str], options: Options) -> Report:
        Path(paths[0]).read_bytes()
        return reports.clean()

    done = lockscope("analyze", str(tmp_path / "none.dat"), answer=answer)
    assert done.status == 2
    assert done.err == f"lockscope: {tmp_path}/none.dat: cannot read the trace: No such file or directory\n"


def test_a_broken_rulebook_is_said_once(lockscope: Lockscope) -> None:
    def answer(paths: list[str], options: Options) -> Report:
        raise RuleError("my.toml", 7, "outer: wanted a lock's name")

    done = lockscope("analyze", "a", "b", "--rules", "my.toml", answer=answer)
    assert (done.status, done.err) == (2, "lockscope: my.toml:7: outer: wanted a lock's name\n")


def test_traces_are_judged_one_by_one_unless_merged(lockscope: Lockscope) -> None:
    asked: list[list[str]] = []

    def answer(paths: list[str], options: Options) -> Report:
        asked.append(paths)
        return reports.violated()

    done = lockscope("analyze", "a", "b", "--format", "json", answer=answer)
    assert asked == [["a"], ["b"]]
    document = json.loads(done.out)
    assert [f["trace"] for f in document["findings"]] == [0, 1, 0, 1]
    assert [c["trace"] for c in document["checks"]] == [0] * 6 + [1] * 6
    asked.clear()
    lockscope("analyze", "a", "b", "--merge", answer=answer)
    assert asked == [["a", "b"]]


def test_options_reach_the_pipeline_as_plain_values(lockscope: Lockscope) -> None:
    seen: list[Options] = []

    def answer(paths: list[str], options: Options) -> Report:
        seen.append(options)
        return reports.clean()

    lockscope(
        "analyze", "-", "--rules", "kvm-4.14", "--select", "LS1xx,srcu-unprotected-access", "--ignore", "ls102",
        "--window-start", "begin (?P<name>\\S+)", "--window-end", "end", "--assume", "selftest-softirq",
        "--assume", "recursive-read-locks", "--events", "lock:*,kvm:*", "--exclude-events", "lockscope:*",
        answer=answer,
    )  # fmt: skip
    lockscope("analyze", "t", answer=answer)
    assert seen == [
        Options(
            rules="kvm-4.14",
            select=("LS101", "LS102", "LS201"),
            ignore=("LS102",),
            window_start="begin (?P<name>\\S+)",
            window_end="end",
            assume=("selftest-softirq", "recursive-read-locks"),
            events=("lock:*", "kvm:*"),
            exclude_events=("lockscope:*",),
        ),
        Options(),
    ]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--select", "LS9O1"],
         "--select LS9O1: unknown check (did you mean LS901?); choose from LS101, LS102, LS201, LS901"),
        (["--ignore", "documented-ordre"],
         "--ignore documented-ordre: unknown check (did you mean documented-order?)"),
        (["--select", "LS101", "--ignore", "LS1"], "--select and --ignore leave no check"),
        (["--ignore", "all"], "--select and --ignore leave no check"),
        (["--window-start", "a"], "--window-start and --window-end go together: one of them is missing"),
        (["--window-start", "a(", "--window-end", "b"],
         "--window-start 'a(': not a regular expression: missing ), unterminated subpattern at position 1"),
        (["--assume", "selftest"], "--assume selftest: unknown value (did you mean selftest-softirq?); choose from"),
        (["--fail-on", "warn"],
         "--fail-on warn: unknown value (did you mean warning?); choose from error, warning, info, never"),
        (["--format", "docx"], "--format docx: unknown value; choose from "),
        (["--baseline", "/nonexistent/b.json"],
         "/nonexistent/b.json: cannot read the baseline: No such file or directory"),
        (["-o", "/nonexistent/r.json"], "-o /nonexistent/r.json: there is no directory /nonexistent"),
        (["-o", "/"], "-o /: is a directory; wanted a file"),
        (["--nope"], "No such option: --nope"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_before_any_work(lockscope: Lockscope, arguments: list[str], complaint: str) -> None:
    def answer(paths: list[str], options: Options) -> Report:
        raise AssertionError(paths)

    done = lockscope("analyze", "t", *arguments, answer=answer)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"lockscope: {complaint}")
    assert done.err.count("\n") == 1


def test_the_report_goes_to_a_file_and_over_an_older_one_by_force_alone(lockscope: Lockscope, tmp_path: Path) -> None:
    place = tmp_path / "r.json"
    place.write_text("an older and longer report" * 1000)
    done = lockscope("analyze", "t", "--format", "json", "-o", str(place), answer=of(reports.violated()))
    assert (done.status, done.err) == (2, f"lockscope: -o {place}: exists (--force overwrites it)\n")
    assert place.read_text().startswith("an older")
    done = lockscope("analyze", "t", "--format", "json", "-o", str(place), "--force", answer=of(reports.violated()))
    assert (done.status, done.out, done.err) == (1, "", "")
    assert json.loads(place.read_text())["verdict"] == "violation"


def test_the_report_never_overwrites_a_trace(lockscope: Lockscope, tmp_path: Path) -> None:
    place = tmp_path / "t.dat"
    place.write_bytes(b"precious")
    done = lockscope("analyze", str(place), "-o", f"{tmp_path}/./t.dat")
    assert (done.status, done.err) == (2, f"lockscope: -o {tmp_path}/./t.dat: would overwrite the input\n")
    assert place.read_bytes() == b"precious"


def test_what_the_baseline_lists_does_not_fail(lockscope: Lockscope, tmp_path: Path) -> None:
    old = str(tmp_path / "old.json")
    lockscope("analyze", "t", "--format", "json", "-o", old, answer=of(reports.violated()))
    done = lockscope("analyze", "t", "--baseline", old, "--format", "json", answer=of(reports.violated()))
    document = json.loads(done.out)
    assert done.status == 0
    assert (document["findings"], document["known"]) == ([], 2)


def test_redact_reaches_every_output(lockscope: Lockscope) -> None:
    for name in ("text", "json", "jsonl"):
        done = lockscope("analyze", "t", "--redact", "--format", name, answer=of(reports.violated()))
        assert "CPU 0/KVM" not in done.out
        assert "task1" in done.out
        assert done.status == 1


def test_one_check_in_no_window_is_still_a_report(lockscope: Lockscope) -> None:
    done = lockscope("analyze", "t", "--format", "json", answer=of(reports.windowed()))
    assert [w["name"] for w in json.loads(done.out)["windows"]] == ["ABBA_mutex", "AA_rsem"]
