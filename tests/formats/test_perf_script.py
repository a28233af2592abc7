"""perf script's text: its usual selections of fields, callchains, other samples than tracepoints', losses."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockscope.errors import FormatError
from lockscope.formats.ftrace_text import FtraceText
from lockscope.formats.open import open_trace
from lockscope.formats.perf_script import PerfScript
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
    assert rows[-1] | {"comm": "x", "pid_": 2} == rows[-1]


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
