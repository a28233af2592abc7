"""perf script's text: its usual selections of fields, callchains, other samples than tracepoints', losses."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockscope.errors import FormatError
from lockscope.formats.open import open_trace
from lockscope.formats.text.ftrace import FtraceText
from lockscope.formats.text.perf_script import PerfScript
from lockscope.trace.locks import LockQuery, lock_figures
from tests.builders.read import Row, events

ACQUIRE = "lock:lock_acquire: 0xffff8881003e38b8 read &ctx->mutex"


def _read(folder: Path, text: str) -> tuple[PerfScript, list[Row]]:
    path = folder / "script.txt"
    path.write_text(text)
    reader = open_trace(str(path))
    assert isinstance(reader, PerfScript)
    return reader, events(reader)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"  perf-exec   151 [001]   247.151558:    {ACQUIRE}", (247_151_558_000, 1, 151, "perf-exec")),
        (f"qemu system 7-8   151/152   [001]   247.151558001: {ACQUIRE}", (247_151_558_001, 1, 152, "qemu system 7-8")),
        (f"swapper     0 [127] S 7.000001:       1 {ACQUIRE}", (7_000_001_000, 127, 0, "swapper")),
        (f"  151 [002] 7.000001: {ACQUIRE}", (7_000_001_000, 2, 151, None)),
        (f"comm  151 7.000001: {ACQUIRE}", (7_000_001_000, 0, 151, "comm")),
    ],
)
def test_the_usual_selections_of_fields(line: str, expected: tuple[int, int, int, str | None], tmp_path: Path) -> None:
    reader, rows = _read(tmp_path, line + "\n")
    assert [(r["ts_ns"], r["cpu"], r["pid"]) for r in rows] == [expected[:3]]
    assert reader.info.comms.get(expected[2]) == expected[3]
    assert rows[0] | {"event": "lock_acquire", "flags_": 2, "name": "&ctx->mutex",
                      "lockdep_addr": 0xFFFF8881003E38B8} == rows[0]  # fmt: skip
    assert reader.formats[rows and 2].full_name == "lock:lock_acquire"
    assert reader.info.options["flags_unknown"] is True
    assert reader.info.losses == []


def test_callchains_are_a_column(tmp_path: Path) -> None:
    reader, rows = _read(tmp_path, """\
a    1 [000]     1.000001: lock:contention_begin: 0xffff8881003f8848 (flags=SPIN|MUTEX)
\tffffffff818a8113 mutex_lock+0x633 ([kernel.kallsyms])
\tffffffff812fbb9e
\t    7f6aee01fad7 [unknown] ([unknown])

a    1 [000]     1.000002: lock:contention_end: 0xffff8881003f8848 (ret=0)

a    1 [000]     1.000003: cycles:P:
\tffffffff81000001 f+0x1 ([kernel.kallsyms])
\t          400000 main+0x0 (/bin/a)

""")  # fmt: skip
    assert [r["callchain"] for r in rows] == [
        [0xFFFFFFFF818A8113, 0xFFFFFFFF812FBB9E, 0x7F6AEE01FAD7], [], [0xFFFFFFFF81000001, 0x400000],
    ]  # fmt: skip
    assert [(r["event"], r.get("flags_"), r.get("ret"), r.get("ip")) for r in rows] == [
        ("contention_begin", 33, None, None),
        ("contention_end", None, 0, None),
        ("cycles", None, None, 0xFFFFFFFF81000001),
    ]  # fmt: skip
    assert [f.system for f in reader.formats[2:]] == ["lock", "lock", "perf"]
    assert (reader.info.losses, reader.info.notes[0]) == (
        [],
        "times are in microseconds: perf script --ns prints them whole",
    )


def test_chains_over_the_edge_of_a_chunk(tmp_path: Path) -> None:
    one = "a    1 [000]  {}.000000001: sched:sched_wakeup: comm=x pid=2 prio=120 target_cpu=001\n"
    chain = "".join(f"\tffffffff81{i:06x} f+0x1 ([kernel.kallsyms])\n" for i in range(50)) + "\n"
    _, rows = _read(tmp_path, "".join(one.format(i) + chain for i in range(600)))
    assert len(rows) == 600
    assert {tuple(r["callchain"]) for r in rows} == {tuple(0xFFFFFFFF81000000 + i for i in range(50))}
    assert rows[-1] | {"comm_": "x", "pid_": 2} == rows[-1]


def test_losses_and_lines_of_nothing(tmp_path: Path) -> None:
    reader, rows = _read(tmp_path, f"""\
# os release : 6.12.117
a    1 [003]     1.000001: {ACQUIRE}
a    1 [003]     1.000002: PERF_RECORD_LOST lost 12
a    1 [003]     1.000003: {ACQUIRE}
what is this
""")  # fmt: skip
    assert [(r["event"], r["cpu"], r.get("count")) for r in rows] == [
        ("lock_acquire", 3, None), ("loss", 3, 12), ("lock_acquire", 3, None),
    ]  # fmt: skip
    assert reader.info.kernel == "6.12.117"
    assert [(n.kind, n.count) for n in reader.info.losses] == [("unparsed", 1)]


@pytest.mark.parametrize("comm", ["cc1", "dd", "bc", "fade", "12", "a b", "0"])
@pytest.mark.parametrize("chain", ["", "\tffffffff81181324 lock_acquire+0x4 ([kernel.kallsyms])\n\n"])
def test_a_task_with_a_hex_word_for_a_name_is_no_frame(comm: str, chain: str, tmp_path: Path) -> None:
    aligned = comm if chain else f"{comm:>16}"  # perf aligns comms to the right where no callchain is printed
    text = "".join(f"{aligned}   151 [001]     1.00000{i}: {ACQUIRE}\n{chain}" for i in range(5))
    reader, rows = _read(tmp_path, text)
    assert [(r["event"], r["ts_ns"], r["pid"], r["name"]) for r in rows] == [
        ("lock_acquire", 1_000_000_000 + 1000 * i, 151, "&ctx->mutex") for i in range(5)
    ]
    assert (reader.info.comms, reader.info.losses) == ({151: comm}, [])


def test_lines_without_a_comm_are_no_frames(tmp_path: Path) -> None:
    reader, rows = _read(tmp_path, "".join(f"{151 + i:>7} [001]     1.00000{i}: {ACQUIRE}\n" for i in range(5)))
    assert [(r["pid"], r["ts_ns"]) for r in rows] == [(151 + i, 1_000_000_000 + 1000 * i) for i in range(5)]
    assert reader.info.losses == []


RECORDS = f"""\
       perf-exec     0 [000]     0.000000000: PERF_RECORD_COMM: perf-exec:151/151
       perf-exec     0 [000]     0.000000000: PERF_RECORD_MMAP -1/0: [0xffffffff81000000(0x1000)]: x x
       perf-exec   151 [001]     7.000000001: {ACQUIRE}
       perf-exec   151 [001]     7.000000002: PERF_RECORD_NAMESPACES 151/151 - nr_namespaces: 7
\t\t[0/net: 4/0xf0000075, 1/uts: 4/0xeffffffe, 2/ipc: 4/0xefffffff, 3/pid: 4/0xeffffffc,\x20
\t\t 4/user: 4/0xeffffffd, 5/mnt: 4/0xf0000000, 6/cgroup: 4/0xeffffffb]
             cc1   151 [001]     7.000000003: PERF_RECORD_COMM exec: cc1:151/151
             cc1   151 [001]     7.000000004: PERF_RECORD_FORK(152:152):(151:151)
             cc1   151 [001]     7.000000005: PERF_RECORD_SWITCH OUT
             cc1   151 [001]     7.000000006: PERF_RECORD_LOST lost 3
             cc1   151 [001]     7.000000007: {ACQUIRE}
             cc1   152 [001]     7.000000008: PERF_RECORD_COMM: cc1:151/152
             cc1   151 [001]     7.000000009: PERF_RECORD_EXIT(151:151):(1:1)
"""


@pytest.mark.parametrize("rows_at_once", [1, 1 << 16])
def test_records_that_are_no_samples_are_no_events_and_no_loss(
    rows_at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "script.txt"
    path.write_text(RECORDS)
    if rows_at_once == 1:  # a chunk a line, so that each record is met at a chunk's edge
        monkeypatch.setattr(
            "lockscope.formats.text.ftrace._chunks", lambda stream, *_: iter(stream.read().splitlines(keepends=True))
        )
    reader = open_trace(str(path))
    rows = events(reader)
    assert [(r["event"], r["ts_ns"], r.get("count")) for r in rows] == [
        ("lock_acquire", 7_000_000_001, None), ("loss", 7_000_000_007, 3), ("lock_acquire", 7_000_000_007, None),
    ]  # fmt: skip
    assert reader.info.losses == []
    assert reader.info.comms == {151: "cc1", 152: "cc1"}


CHAINED = """\
a    1 [000]     1.000001: lock:contention_begin: 0xffff8881003f8848 (flags=SPIN)
\tffffffff8101026c __traceiter_contention_begin+0x6c ([kernel.kallsyms])
\t               0 [unknown] ([unknown])
\tffffffff81020084 _raw_spin_lock+0x84 ([kernel.kallsyms])
  spinlock.c:154
\tffffffffc0300050 kvm_vm_ioctl+0x50 ([kvm])
\tffffffff81040010 vfs_ioctl+0x10 (inlined)
\tffffffff81040020 __x64_sys_ioctl+0x20 (/usr/lib/debug/boot/vmlinux-6.1)
\tffffffffc0310009 kvm_intel_f+0x9 (/lib/modules/6.1/kernel/arch/x86/kvm/kvm-intel.ko.xz)
\t          401000 main+0x0 (/bin/a)

a    1 [000]     1.000003: lock:contention_end: 0xffff8881003f8848 (ret=0)

"""


def test_symbols_of_callchains_are_known(tmp_path: Path) -> None:
    reader, rows = _read(tmp_path, CHAINED)
    assert [r["event"] for r in rows] == ["contention_begin", "contention_end"]
    assert rows[0]["callchain"][3] == 0xFFFFFFFFC0300050
    assert reader.info.losses == []
    name = reader.info.symbols().name
    assert name(0xFFFFFFFFC0300050) == "kvm_vm_ioctl+0x50 [kvm]"
    assert name(0xFFFFFFFFC0300000) == "kvm_vm_ioctl+0x0 [kvm]"
    assert name(0xFFFFFFFF81040020) == "__x64_sys_ioctl+0x20"
    assert name(0xFFFFFFFFC0310009) == "kvm_intel_f+0x9 [kvm_intel]"
    # Beyond what a chain showed, nothing is known: it may be the next function already.
    assert [name(at) for at in (0xFFFFFFFFC0300051, 0xFFFFFFFF81040021, 0x401000, 1)] == [None] * 4


def test_callers_by_the_symbols_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "script.txt"
    path.write_text(CHAINED)
    figures = lock_figures([str(path)], LockQuery(by=("caller",), contention=True))
    assert [(row.names, row.acquired, row.wait.total_ns) for row in figures.rows] == [
        (("kvm_vm_ioctl+0x50 [kvm]",), 1, 2000),
    ]  # fmt: skip


def test_symbols_without_offsets_are_names_without_offsets(tmp_path: Path) -> None:
    reader, _ = _read(tmp_path, CHAINED.replace("+0x50", "").replace("+0x6c", "").replace("+0x84", "")
                      .replace("+0x20", "").replace("+0x10", "").replace("+0x9", "").replace("+0x0", ""))  # fmt: skip
    symbols = reader.info.symbols()
    assert symbols.name(0xFFFFFFFFC0300050) == "kvm_vm_ioctl [kvm]"
    assert symbols.exact(0xFFFFFFFFC0300050) is None


def test_a_file_beside_the_text_knows_better(tmp_path: Path) -> None:
    (tmp_path / "script.txt.kallsyms").write_text("ffffffffc0300040 t real_one\t[kvm]\n")
    reader, _ = _read(tmp_path, CHAINED)
    assert reader.info.symbols().name(0xFFFFFFFFC0300050) == "real_one+0x10 [kvm]"


def test_ftrace_text_is_none_of_it(tmp_path: Path) -> None:
    for line in (
        "            qemu-100     [000] .....     1.000001: lock_acquire: 0xffff888100000100 &kvm->lock",
        "       trace-cmd-100   [000]     1.000001: lock_acquire:         0xffff888100000100 &kvm->lock",
    ):
        assert not PerfScript.sniff(line.encode())
        assert FtraceText.sniff(line.encode())
    (tmp_path / "x").write_text(f"a 1 [000] 1.000001: {ACQUIRE}\n")
    assert not FtraceText.sniff((tmp_path / "x").read_bytes())
    (tmp_path / "x").write_text("lock:lock_acquire: without a time\n")
    with pytest.raises(FormatError, match="no trace that lockscope reads"):
        open_trace(str(tmp_path / "x"))
