from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from lockscope.formats.text import names
from lockscope.formats.text.body import ret_numbers
from lockscope.formats.text.ftrace import FtraceText
from lockscope.tables.events import UNKNOWN
from tests.builders.events import Event, events

TRACEFS = "# tracer: nop\n            bash-7       [001] .....     1.000001: {}\n"
REPORT = "cpus=2\n            bash-7     [001]     1.000001: {}\n"


def _rows(part: str) -> list[tuple[str, str, dict[str, Any]]]:
    lines = (Path(__file__).parent / "data" / f"ftrace_{part}.txt").read_text().splitlines()[1:]
    texts, answers = lines[::2], [line.strip().partition(" ") for line in lines[1::2]]
    return [(text, name, ast.literal_eval(f)) for text, (name, _, f) in zip(texts, answers, strict=True)]


def read(tmp_path: Path, text: str) -> Event:
    path = tmp_path / "trace.txt"
    path.write_bytes(text.encode())
    (event,) = events(FtraceText(str(path)))
    return event


@pytest.mark.parametrize("frame", [TRACEFS, REPORT], ids=["tracefs", "report"])
@pytest.mark.parametrize(("text", "name", "fields"), _rows("both"))
def test_known_to_both(tmp_path: Path, frame: str, text: str, name: str, fields: dict[str, Any]) -> None:
    event = read(tmp_path, frame.format(text))
    assert (event.name, event.fields) == (name, fields)


@pytest.mark.parametrize(("text", "name", "fields"), _rows("tracefs"))
def test_tracefs_only(tmp_path: Path, text: str, name: str, fields: dict[str, Any]) -> None:
    event = read(tmp_path, TRACEFS.format(text))
    assert (event.name, event.fields) == (name, fields)


@pytest.mark.parametrize(("text", "name", "fields"), _rows("report"))
def test_trace_cmd_only(tmp_path: Path, text: str, name: str, fields: dict[str, Any]) -> None:
    event = read(tmp_path, REPORT.format(text))
    assert (event.name, event.fields) == (name, fields)


def test_one_event_in_two_forms_has_two_formats(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    raw = "lockdep_acquire: __probe_ip=ffffffff81181324 lock=0x1 name=a"
    path.write_text(
        REPORT.format("kvm_entry: vcpu 1 rip 0x1") + REPORT.format("kvm_entry: vcpu 1") + REPORT.format(raw)
    )
    trace = FtraceText(str(path))
    assert [event.name for event in events(trace)] == ["kvm:kvm_entry", "kvm:kvm_entry", "lockscope:lockdep_acquire"]
    assert [(f.full_name, [field.name for field in f.fields]) for f in trace.formats[2:]] == [
        ("kvm:kvm_entry", ["vcpu_id", "rip"]),
        ("kvm:kvm_entry", ["vcpu_id"]),
        ("lockscope:lockdep_acquire", ["__probe_ip", "lock", "name"]),
    ]


def test_printk_callers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text(TRACEFS.format("dotest: selftest begin") + TRACEFS.format("tracing_mark_write: x"))
    trace = FtraceText(str(path))
    assert [event.name for event in events(trace)] == ["ftrace:print", "ftrace:print"]
    assert trace.info.options["printk_functions"] == ["dotest"]


def test_raw_report_says_that_markers_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text(REPORT.format("bprint:  ip=0xffffffff81592c86 fmt=0xffffffff81e8e6c0 buf=ARRAY[]"))
    trace = FtraceText(str(path))
    assert events(trace)[0].fields == {"ip": 0xFFFFFFFF81592C86, "fmt": 0xFFFFFFFF81E8E6C0, "buf": ""}
    assert any("no text of trace_printk()" in note for note in trace.info.notes)


def test_text_of_no_event_form_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text(TRACEFS.format("1:120:S ==> [001] 2:120:R bash x"))
    trace = FtraceText(str(path))
    assert events(trace)[0].name == trace.formats[UNKNOWN].full_name


def test_too_many_formats_are_unknown_ones(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("".join(TRACEFS.format(f"kvm_{i}: a=1") for i in range(5000)))
    trace = FtraceText(str(path))
    found = events(trace)
    assert len(found) == 5000
    assert len(trace.formats) < 4100
    assert found[-1].name == ":unknown"


def test_text_is_cut_to_what_a_record_can_hold(tmp_path: Path) -> None:
    event = read(tmp_path, TRACEFS.format("tracing_mark_write: " + "x" * 65_400))
    assert event.fields["buf"].strip("x") == ""
    assert 65_300 < len(event.fields["buf"]) < 65_536


@pytest.mark.parametrize(
    ("kernel", "ret"),
    [("6.12.117", 5), ("6.1.0-56-amd64", 4), ("5.15.0", 3), ("5.10.198", 3), ("4.14.355", None)],
)
def test_fast_page_fault_ret_by_kernel(tmp_path: Path, kernel: str, ret: int | None) -> None:
    head = f"# tracer: nop\n# nop latency trace v1.1.5 on {kernel}\n"
    text = "fast_page_fault: vcpu 0 gva 1 error_code P|W sptep 0x2 old 0x3 new 4 spurious 0 fixed 1"
    event = read(tmp_path, f"{head}bash-7       1..... 496258us+: {text}\n")
    assert event.fields.get("ret") == ret
    assert event.fields.get("retry") == (1 if ret is None else None)


def test_ret_of_neither_fixed_nor_spurious(tmp_path: Path) -> None:
    text = "fast_page_fault: vcpu 0 gva 1 error_code P|W sptep 0x2 old 0x3 new 4 spurious {} fixed 0"
    assert read(tmp_path, TRACEFS.format(text.format(0))).fields["ret"] == 4
    assert read(tmp_path, TRACEFS.format(text.format(1))).fields["ret"] == 6
    assert ret_numbers(None) == ret_numbers("6.13-rc1") == (4, 5, 6)


@pytest.mark.parametrize(
    ("text", "reason", "isa"),
    [
        ("EXTERNAL_INTERRUPT", 1, 1),
        ("NOTIFY", 75, 1),
        ("EPT_MISCONFIG", 49, 1),
        ("DE excp", 0x40, 2),
        ("XF excp", 0x53, 2),
        ("xsetbv", 0x8D, 2),
        ("write_cr8", 0x18, 2),
        ("EXIT_EXCP_PF", 0x4E, 2),
        ("EXIT_IOIO", 0x7B, 2),
        ("EXIT_AVIC_INCOMPLETE_IPI", 0x401, 2),
        ("vmgexit_nmi_complete", 0x80000003, 2),
        ("0x7f", 0x7F, 0),
        ("NEVER_HEARD", names.UNKNOWN_REASON, 1),
    ],
)
def test_exit_reasons(text: str, reason: int, isa: int) -> None:
    assert (names.exit_reason(text.encode()), names.exit_isa(text.encode())) == (reason, isa)
