from __future__ import annotations

from pathlib import Path

import pytest

from lockscope.formats.open import open_trace
from lockscope.pipeline import AnalyzeOptions, analyze
from lockscope.tables.events import LOSS, UNKNOWN, Stream
from tests.builders.events import Event, events
from tests.builders.text import EVENT, TRACEFS_HEADER, open_text


def test_tracefs_lines(tmp_path: Path) -> None:
    trace = open_text(
        tmp_path,
        TRACEFS_HEADER
        + " memslot_modific-142     [001] .....   227.973378: lock_release: 000000008ae5d788 trace_types_lock\n"
        + "           <...>-12345678 [003] d..2.  9227.973399: sys_exit: NR 1 = -4\n"
        + "     my - [1] x:-9       [000] DNh31  9228.000007: sys_exit: NR 2 = 0\n",
    )
    assert events(trace) == [
        Event(
            "lock:lock_release",
            227_973_378_000,
            1,
            "",
            142,
            0,
            0,
            {"lockdep_addr": 0x8AE5D788, "name": "trace_types_lock"},
        ),
        Event("raw_syscalls:sys_exit", 9_227_973_399_000, 3, "", 12345678, 0x01, 2, {"id": 1, "ret": -4}),
        Event("raw_syscalls:sys_exit", 9_228_000_007_000, 0, "", 9, 0x81 | 0x24 | 0x08, 0x13, {"id": 2, "ret": 0}),
    ]
    assert trace.info.comms == {142: "memslot_modific", 9: "my - [1] x:"}


def test_header_facts(tmp_path: Path) -> None:
    trace = open_text(
        tmp_path,
        TRACEFS_HEADER.replace("6/6", "6/106") + "  bash-7       [001] .....     1.000001: lock_release: 1 x\n",
    )
    assert trace.info.format == "tracefs text"
    assert trace.info.cpus == 4
    assert not trace.info.ns_exact
    assert trace.info.options["text"] == "tracefs"
    assert "flags_unknown" not in trace.info.options
    assert [(loss.kind, loss.cpu, loss.count) for loss in trace.info.losses] == [("overrun", None, 100)]
    events(trace)
    assert trace.info.comms == {7: "bash"}
    assert trace.info.streams == [Stream(1)]


def test_pseudo_formats_come_first(tmp_path: Path) -> None:
    trace = open_text(tmp_path, "  bash-7       [001] .....     1.000001: lock_release: 1 x\n")
    assert [(f.index, f.raw_id, f.system, f.name, f.fields) for f in trace.formats] == [
        (LOSS, -1, "", "loss", ()),
        (UNKNOWN, -1, "", "unknown", ()),
    ]
    events(trace)
    assert [(f.index, f.full_name) for f in trace.formats[2:]] == [(2, "lock:lock_release")]


@pytest.mark.parametrize(
    ("line", "flags", "preempt"),
    [
        ("  bash-7     [001] d..2   1.000001: lock_release: 1 x", 0x01, 2),  # four characters, before v5.15
        ("  bash-7     [001] .n.1.  1.000001: lock_release: 1 x", 0x04, 1),
        ("  bash-7     [001] bp...  1.000001: lock_release: 1 x", 0xA0, 0),
        ("  bash-7     [001] XLsf2  1.000001: lock_release: 1 x", 0x02 | 0x22 | 0x10, 0x2F),
        ("  bash-7     [001] dlHa.  1.000001: lock_release: 1 x", 0x01 | 0x02 | 0x18, 0x0A),
        ("  bash-7     [001] DBZ..  1.000001: lock_release: 1 x", 0x81 | 0x26 | 0x48, 0),
        ("  bash-7     [001] .bz..  1.000001: lock_release: 1 x", 0x06 | 0x40, 0),
        ("  bash-7     (    123) [001] d..1.  1.000001: lock_release: 1 x", 0x01, 1),  # record-tgid
        ("  bash-7     (-------) [001] d..1.  1.000001: lock_release: 1 x", 0x01, 1),
        ("  bash-7     (-------) [001]  1.000001: lock_release: 1 x", 0, 0),
    ],
)
def test_flags_without_header(tmp_path: Path, line: str, flags: int, preempt: int) -> None:
    (event,) = events(open_text(tmp_path, line + "\n"))
    assert (event.name, event.pid, event.cpu, event.ts_ns) == ("lock:lock_release", 7, 1, 1_000_001_000)
    assert (event.flags, event.preempt) == (flags, preempt)


def test_flag_columns_of_the_header(tmp_path: Path) -> None:
    names = (
        "irqs-off",
        "need-resched",
        "need-resched-lazy",
        "hardirq/softirq",
        "preempt-depth",
        "preempt-lazy-depth",
        "migrate-disable",
    )
    header = "# tracer: nop\n#\n" + "".join(f"#  | _-----=> {name}\n" for name in names)
    (event,) = events(open_text(tmp_path, header + "  bash-7     [001] dNLh321  1.000001: lock_release: 1 x\n"))
    assert (event.flags, event.preempt) == (0x01 | 0x24 | 0x02 | 0x08, 0x13)


def test_irq_info_off(tmp_path: Path) -> None:
    trace = open_text(tmp_path, "# tracer: nop\n  bash-7     [001]    1.000001: lock_release: 1 x\n")
    assert trace.info.options["flags_unknown"] is True
    assert any("no irq context" in note for note in trace.info.notes)
    assert events(trace)[0].flags == 0


def test_latency_format(tmp_path: Path) -> None:
    text = """\
# tracer: nop
#
# nop latency trace v1.1.5 on 6.1.0-26-amd64
# --------------------------------------------------------------------
# latency: 0 us, #2/2, CPU#1 | (M:preempt VP:0, KP:0, SP:0 HP:0 #P:2)
#    -----------------
#                    _------=> CPU#
#                   / _-----=> irqs-off/BH-disabled
#                  | / _----=> need-resched
#                  || / _---=> hardirq/softirq
#                  ||| / _--=> preempt-depth
#                  |||| / _-=> migrate-disable
#                  ||||| /     delay
#  cmd     pid     |||||| time  |   caller
#     \\   /        ||||||  \\    |    /
memslot_-142       1..... 496258us+: lock_release: 000000008ae5d788 trace_types_lock
fast pag-142      13d.h2. 1496280us : lock_release: 000000007b2f8635 sb_writers
"""
    trace = open_text(tmp_path, text)
    first, second = events(trace)
    assert trace.info.format == "tracefs text, latency format"
    assert trace.info.kernel == "6.1.0-26-amd64"
    assert trace.info.cpus == 14
    assert (first.ts_ns, first.cpu, first.flags, first.pid) == (496_258_000, 1, 0, 142)
    assert (second.ts_ns, second.cpu, second.flags, second.preempt) == (1_496_280_000, 13, 0x09, 2)
    assert trace.info.comms == {142: "fast pag"}


def test_kernel_that_the_recorder_names(tmp_path: Path) -> None:
    """``lockscope record --text`` and the script of ``lockscope probes``: tracefs' pipe has no header of its own."""
    text = """# tracer: nop
#
# lockscope: kernel 6.1.0-56-amd64 x86_64
#
              sh-2302    [001] .....   576.833489: sys_exit: NR 1 = 2
"""
    trace = open_text(tmp_path, text)
    assert (trace.info.kernel, [e.name for e in events(trace)]) == ("6.1.0-56-amd64", ["raw_syscalls:sys_exit"])


def test_trace_cmd_report(tmp_path: Path) -> None:
    trace = open_text(
        tmp_path,
        """\
cpus=2
CPU 0 is empty
 dirty_log_perf_-70    [001]     9.126713: lock_release:         0xffffffff820f9e30 trace_types_lock
          <idle>-0     [000]     9.127078: sys_exit:             NR 1 = 1
""",
    )
    assert trace.info.format == "trace-cmd report text"
    assert trace.info.options["text"] == "trace-cmd"
    assert not trace.info.hashed_pointers
    assert events(trace) == [
        Event(
            "lock:lock_release",
            9_126_713_000,
            1,
            "",
            70,
            0,
            0,
            {"lockdep_addr": 0xFFFFFFFF820F9E30, "name": "trace_types_lock"},
        ),
        Event("raw_syscalls:sys_exit", 9_127_078_000, 0, "", 0, 0, 0, {"id": 1, "ret": 1}),
    ]
    assert trace.info.losses == []


def test_trace_cmd_report_variants(tmp_path: Path) -> None:
    lines = {
        "dirty_lo-70      1d.h2.     9.126713: lock_release:  0x1 x": (9_126_713_000, 0x09, 2),  # -l
        " dirty_log_perf_-70    [001]     9.126713423: lock_release:  0x1 x": (9_126_713_423, 0, 0),  # -t
        " dirty_log_perf_-70    [001] dN.1.     9.126713: lock_release:  0x1 x": (9_126_713_000, 0x05, 1),  # 3.2 on
        " dirty_log_perf_-70    [001]-0x91     9.126713: lock_release:  0x1 x": (9_126_713_000, 0x91, 0),  # 3.2 on, -R
        " dirty_log_perf_-70    [001]     9.126713: (+12)   lock_release:  0x1 x": (9_126_713_000, 0, 0),  # --ts-diff
        " dirty_log_perf_-70    [001]125756141102: lock_release:  0x1 x": (125_756_141_102, 0, 0),  # a raw clock
    }
    for line, (ts_ns, flags, preempt) in lines.items():
        trace = open_text(tmp_path, f"cpus=2\n{line}\n")
        (event,) = events(trace)
        assert event == Event("lock:lock_release", ts_ns, 1, "", 70, flags, preempt, {"lockdep_addr": 1, "name": "x"})
        assert trace.info.ns_exact is ("423" in line)
        assert trace.info.options.get("raw_time", False) is ("141102" in line)
        assert ("flags_hidden" in trace.info.options) is (flags in (0x09, 0x05))


def test_buffers(tmp_path: Path) -> None:
    trace = open_text(
        tmp_path,
        """\
cpus=2
      memslot_modific-112   [001]    70.311376: lock_release:         0xffffffff820f9e30 trace_types_lock
kvm:  memslot_modific-112   [001]    70.370859: kvm_fpu:              load
kvm: CPU:0 [12 EVENTS DROPPED]
 memslot_modific-112   [000]    70.370885: kvm_fpu:              unload
     kworker/u8:1-41    [001]    70.370886: lock_release:         0xffffffff820f9e30 trace_types_lock
""",
    )
    found = [(event.name, event.buffer, event.cpu, event.ts_ns) for event in events(trace)]
    assert found == [
        ("lock:lock_release", "", 1, 70_311_376_000),
        ("kvm:kvm_fpu", "kvm", 1, 70_370_859_000),
        ("loss", "kvm", 0, 70_370_885_000),
        ("kvm:kvm_fpu", "kvm", 0, 70_370_885_000),
        ("lock:lock_release", "", 1, 70_370_886_000),
    ]
    assert trace.info.streams == [Stream(1), Stream(1, "kvm"), Stream(0, "kvm")]
    assert trace.info.comms[41] == "kworker/u8:1"


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("CPU:3 [LOST EVENTS]", -1),
        ("CPU:3 [LOST 749 EVENTS]", 749),
        ("CPU:3 [749 EVENTS DROPPED]", 749),
        ("CPU:3 [EVENTS DROPPED]", -1),
    ],
)
def test_losses_stand_before_the_next_event(tmp_path: Path, line: str, count: int) -> None:
    event = "  bash-7     [003] .....  %d.000001: lock_release: 1 x\n"
    text = f"{line}\n{event % 1}{event % 2}{line}\n{line}\n{event % 3}{line}\n"
    found = [
        (e.name, e.ts_ns // 1_000_000_000, e.cpu, e.fields.get("count")) for e in events(open_text(tmp_path, text))
    ]
    lock = "lock:lock_release"
    assert found == [
        ("loss", 1, 3, count),
        (lock, 1, 3, None),
        (lock, 2, 3, None),
        ("loss", 3, 3, count),
        ("loss", 3, 3, count),
        (lock, 3, 3, None),
        ("loss", 3, 3, count),
    ]
    kept = events(open_text(tmp_path, text), lambda fmt: False)
    assert [(e.name, e.ts_ns // 1_000_000_000) for e in kept] == [("loss", 1), ("loss", 3), ("loss", 3), ("loss", 3)]


def test_lines_that_are_no_event(tmp_path: Path) -> None:
    trace = open_text(
        tmp_path,
        TRACEFS_HEADER + EVENT % 1 + "\n##### CPU 1 buffer started ####\ngarbage\n" + EVENT % 2 + "more garbage\n",
    )
    assert len(events(trace)) == 2
    assert [(loss.kind, loss.count) for loss in trace.info.losses] == [("unparsed", 2)]
    assert "2 lines are no event's: line 16, 18" in trace.info.notes
    events(trace)
    assert len(trace.info.losses) == 1  # a second pass does not count them again


def test_text_over_several_lines(tmp_path: Path) -> None:
    text = (
        "cpus=2\n              ls-4734  [002] 106439.675571: bprint:        select_task_rq_fair: fig: cpu=0\n gid=4\n\n"
        "              ls-4734  [002] 106439.675591: sys_exit:             NR 1 = 1\n gid=5\n"
    )
    trace = open_text(tmp_path, text)
    first, second = events(trace)
    assert first.fields == {"ip": "select_task_rq_fair", "buf": "fig: cpu=0\n gid=4"}
    assert second.name == "raw_syscalls:sys_exit"
    assert [(loss.kind, loss.count) for loss in trace.info.losses] == [("unparsed", 1)]


def test_stacks(tmp_path: Path) -> None:
    report = """\
cpus=2
 memslot_modific-120   [000]    79.624480: kernel_stack:         <stack trace >
=> lock_acquire (ffffffff8118dc35)
=> getname_flags (ffffffff813e69ea)
=> ffffffff8100007b

 memslot_modific-120   [000]    79.624480: kernel_stack:         size=1 caller=ARRAY[28, 1c, 18, 81, ff, ff, ff, ff]
"""
    first, second = events(open_text(tmp_path, report))
    assert first.name == second.name == "ftrace:kernel_stack"
    assert first.fields == {"size": 3, "caller": [0xFFFFFFFF8118DC35, 0xFFFFFFFF813E69EA, 0xFFFFFFFF8100007B]}
    assert second.fields == {"size": 1, "caller": [0xFFFFFFFF81181C28]}
    stack = "  bash-7   [001] .....     1.000002: <stack trace>\n => lock_acquire\n => f [kvm]\n"
    tracefs = EVENT % 1 + stack + EVENT % 3
    kernel = events(open_text(tmp_path, tracefs))[1]
    assert (kernel.name, kernel.fields) == ("ftrace:kernel_stack", {"size": 2, "caller": "lock_acquire\nf [kvm]"})
    user = events(
        open_text(tmp_path, tracefs.replace("<stack", "<user stack").replace("lock_acquire", " <00007f2b770e7e70>"))
    )[1]
    assert (user.name, user.fields["caller"]) == ("ftrace:user_stack", "<00007f2b770e7e70>\nf [kvm]")


@pytest.mark.parametrize("rows", [1, 100, 1 << 20])
def test_batches_of_any_size_are_the_same_events(tmp_path: Path, rows: int) -> None:
    stack = "  bash-7   [001] .....     1.%06d: <stack trace>\n => a\n => b\n"
    loss = "CPU:1 [LOST 5 EVENTS]\n"
    text = TRACEFS_HEADER + "".join((EVENT if i % 3 else stack + loss) % i for i in range(2000))
    trace = open_text(tmp_path, text)
    found = events(trace, rows=rows)
    assert [e.ts_ns for e in found if e.name != "loss"] == [1_000_000_000 + i * 1000 for i in range(2000)]
    assert sum(e.fields["count"] for e in found if e.name == "loss") == 667 * 5
    assert all(e.fields == {"size": 2, "caller": "a\nb"} for e in found if e.name == "ftrace:kernel_stack")
    assert trace.info.losses == []


def test_only_wanted_formats_and_losses(tmp_path: Path) -> None:
    lost = "CPU:1 [LOST 5 EVENTS]\n  bash-7  [001] ..... 1.000002: sys_exit: NR 1 = 1\n"
    trace = open_text(tmp_path, TRACEFS_HEADER + EVENT % 1 + lost + EVENT % 3)
    assert [e.name for e in events(trace, lambda fmt: fmt.name == "sys_exit")] == ["loss", "raw_syscalls:sys_exit"]
    found = events(trace, lambda fmt: fmt.name == "lock_release")
    assert [(e.name, e.ts_ns) for e in found] == [
        ("lock:lock_release", 1_000_001_000),
        ("loss", 1_000_002_000),
        ("lock:lock_release", 1_000_003_000),
    ]
    assert [f.index for f in trace.formats] == list(range(len(trace.formats)))


def test_events_out_of_order_are_sorted(tmp_path: Path) -> None:
    other = "  bash-8       [000] .....     1.%06d: sys_exit: NR 1 = 1\n"
    trace = open_text(tmp_path, EVENT % 5 + other % 3 + other % 5 + EVENT % 6)
    found = events(trace)
    assert "times run backwards at 1 places: sorted where they are close" in trace.info.notes
    assert [(e.ts_ns % 1_000_000, e.cpu) for e in found] == [(3000, 0), (5000, 1), (5000, 0), (6000, 1)]


def test_line_ends_and_a_missing_last_one(tmp_path: Path) -> None:
    found = events(open_text(tmp_path, (EVENT % 1 + EVENT % 2).replace("\n", "\r\n").rstrip()))
    assert [e.fields for e in found] == [{"lockdep_addr": 1, "name": "x"}] * 2


def test_a_line_beyond_the_limit_is_left_out(tmp_path: Path) -> None:
    trace = open_text(tmp_path, EVENT % 1 + "  bash-7  [001] ..... 1.000002: x: " + "y" * 200_000 + "\n" + EVENT % 3)
    assert [e.ts_ns for e in events(trace, rows=1)] == [1_000_001_000, 1_000_003_000]
    assert [(loss.kind, loss.count) for loss in trace.info.losses] == [("unparsed", 1)]


def test_absurd_numbers(tmp_path: Path) -> None:
    text = "  bash-9999999999 [001] .....  9999999999.000001: sys_exit: NR 99999999999999999999 = -1\n" + EVENT % 1
    found = events(open_text(tmp_path, text))
    assert len(found) == 2
    assert {e.pid for e in found} == {7, 0x7FFFFFFF}
    assert max(e.ts_ns for e in found) == 9_223_372_035_000_001_000


def test_pointers_that_were_hashed(tmp_path: Path) -> None:
    line = "  bash-7     [001] .....     1.000001: lock_release: %s x\n"
    assert open_text(tmp_path, line % "000000008ae5d788").info.hashed_pointers
    assert not open_text(tmp_path, line % "ffff888100cd1420").info.hashed_pointers
    assert not open_text(tmp_path, line % "0xffff888100cd1420").info.hashed_pointers
    assert not open_text(tmp_path, line % "0000000000000000").info.hashed_pointers
    late = open_text(tmp_path, EVENT % 1 + "#" * 70_000 + "\n" + line % "000000008ae5d788")
    assert not late.info.hashed_pointers
    events(late)
    assert late.info.hashed_pointers


BPFTRACE = """Attaching 3 probes...
vcpu-7 [000] 1.000000001: sys_exit: NR 16 = 0
vcpu-7 [000] 1.000000002: srcu_read_lock: (0 <- 0) ssp=0xffffc90000003300 idx=0
other-8 [001] 1.000000003: sys_exit: NR 16 = 0
Lost 5 events
vcpu-7 [000] 1.000000004: srcu_read_unlock: (0) ssp=0xffffc90000003300 idx=0
vcpu-7 [000] 1.000000005: srcu_read_unlock: (0) ssp=0xffffc90000003300 idx=0
"""


def test_what_bpftrace_lost_may_be_missing_on_any_cpu(tmp_path: Path) -> None:
    path = tmp_path / "bpf.txt"
    path.write_text(BPFTRACE)
    reader = open_trace(str(path))
    lost = [(e.cpu, e.fields.get("count")) for e in events(reader) if e.name == "loss"]
    assert lost == [(0, 5), (1, 0)]
    assert not any("no event" in note for note in reader.info.notes)
    alarms = {f.code for f in analyze([str(path)], AnalyzeOptions(select=("LS203",))).findings if f.code < "LS9"}
    assert alarms == set()
    path.write_text(BPFTRACE.replace("Lost 5 events\n", ""))
    alarms = {f.code for f in analyze([str(path)], AnalyzeOptions(select=("LS203",))).findings if f.code < "LS9"}
    assert alarms == {"LS203"}
