"""Files of each format that lie about themselves: a number here and there, of whatever the format has.

What builds whole files (``trace_dat``, ``perf_data``) asks a ``Liar`` for each number it writes: sizes, offsets,
counts, kinds, options, sections, attributes, lengths of packed frames, times, fields of events. Text is made of lines
whose every part may be another. A case is made from its number alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lockscope.core import perf_records as walk
from lockscope.formats.trace_dat import layout, writer
from tests.builders import perf_data, trace_dat
from tests.builders.perf_data import ROUND, USUAL, Event, PerfFile, Sample
from tests.builders.trace_dat import ACQUIRE, MIXED, SWITCH, Kernel, Page, TraceFile

ODD = (
    0,
    1,
    2,
    3,
    7,
    8,
    9,
    63,
    64,
    65,
    127,
    128,
    255,
    256,
    4095,
    4096,
    0x7FFF,
    0xFFFF,
    1 << 16,
    1 << 20,
    (1 << 26) + 1,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    (1 << 59) - 1,
    (1 << 62),
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)
WORDS = (
    b"",
    b"\0",
    b"a",
    b"&kvm->lock",
    b"x" * 300,
    b"\xff\xfe",
    b"../../up",
    b"=1+1",
    b"\x1b[2J",
    b"a\nb",
    b"%s%n",
    "\u202e".encode(),
    b"<script>",
    b"`$()",
    b"(fault)",
    b"(null)",
)


class Liar:
    """Decides which numbers are lies, and which ones they are."""

    def __init__(self, case: int) -> None:
        self.rng = random.Random(case)
        self.rate = self.rng.choice((0, 0.0005, 0.002, 0.01, 0.05))

    def number(self, value: int, width: int) -> int:
        """The number, or a lie that has room in as many bytes."""
        if self.rng.random() >= self.rate:
            return value
        odd = self.rng.choice((self.rng.choice(ODD), value + self.rng.choice((-8, -4, -1, 1, 4, 8)), value * 2, ~value))
        return odd & (1 << 8 * width) - 1

    def word(self, word: bytes) -> bytes:
        """The word, or a lie."""
        return self.rng.choice(WORDS) if self.rng.random() < 3 * self.rate else word


@dataclass(frozen=True)
class LyingKernel(Kernel):
    """Writes records as a kernel would, but for the lies."""

    liar: Liar = field(default_factory=lambda: Liar(0))

    def page(self, time: int, size: int = 4096, **more: int | None) -> Page:
        return LyingPage(time, self.big, self.long_size, size, **more, liar=self.liar)

    def pack(self, layout_text: str, *values: object) -> bytes:
        widths = {"Q": 8, "q": 8, "I": 4, "i": 4, "H": 2, "h": 2, "B": 1, "b": 1, "P": self.long_size}
        plain = "".join(c * int(n or 1) if c != "s" else f"{n}s" for n, c in _parts(layout_text))
        told = []
        for (_, code), value in zip(_parts(plain), values, strict=True):
            if isinstance(value, int):
                lie = self.liar.number(value, widths[code])
                signed = code in "qihb" and lie >> (8 * widths[code] - 1) == 1
                told.append(lie - (1 << 8 * widths[code]) if signed and lie != value else lie)
            else:
                told.append(value)
        return super().pack(plain, *told)


def _parts(text: str) -> list[tuple[str, str]]:
    found, number = [], ""
    for c in text:
        if c.isdigit():
            number += c
        else:
            found.append((number, c))
            number = ""
    return found


@dataclass
class LyingPage(Page):
    """A sub-buffer whose words, times and counts may be others."""

    liar: Liar = field(default_factory=lambda: Liar(0))

    def _word(self, *values: int) -> None:
        super()._word(*(self.liar.number(v & 0xFFFFFFFF, 4) for v in values))

    def build(self) -> bytes:
        self.time = self.liar.number(self.time, 8)
        if self.liar.number(0, 2):
            self.commit = self.liar.number(len(self.body), 4) & 0x3FFFFFFF
        self.body = self.body[: self.size - 8 - 2 * self.long_size]
        return super().build()


def _lying(liar: Liar) -> pytest.MonkeyPatch:
    """The writer's numbers and packed frames are the liar's too, until ``undo``."""
    patch, number, pack = pytest.MonkeyPatch(), writer.Content.number, writer.pack

    def packed(codec: str, plain: bytes) -> bytes:
        good = pack(codec, plain)
        if liar.rng.random() >= 5 * liar.rate:
            return good
        cut = liar.rng.randrange(len(good) + 1)
        return liar.rng.choice((good[:cut], good + b"\0" * 9, good[:cut] + b"\xff" + good[cut + 1 :], pack(codec, b"")))

    patch.setattr(writer.Content, "number", lambda self, value, width: number(self, liar.number(value, width), width))
    patch.setattr(writer, "pack", packed)
    return patch


def _systems(k: LyingKernel) -> dict[str, list[bytes]]:
    """Formats whose fields may lie anywhere, be of any size and type, and have any name."""
    liar, found = k.liar, {}
    types = (
        "u8",
        "s64",
        "char",
        "unsigned long",
        "void *",
        "__data_loc char[]",
        "__rel_loc u32[]",
        "bool",
        "pid_t",
        "struct x",
    )
    for system, texts in trace_dat.formats(k.long_size).items():
        made = []
        for text in texts:
            lines = text.decode().split("\n")
            for i, line in enumerate(lines):
                parts = line.split(":")
                if "\tfield" in line and liar.rng.random() < 4 * liar.rate:
                    what = liar.rng.randrange(3)
                    if what == 0:
                        lines[i] = line.replace(parts[2], f"{liar.rng.choice(ODD)};\tsize")
                    elif what == 1:
                        kind, offset, size = (liar.rng.choice(many) for many in (types, ODD, ODD))
                        lines[i] = f"\tfield:{kind} f{i};\toffset:{offset};\tsize:{size};"
                    else:
                        lines[i] = line * 3
                elif line.startswith("ID:"):
                    lines[i] = f"ID: {liar.number(int(line[4:]), 2)}"
                elif line.startswith("name:"):
                    lines[i] = f"name: {liar.word(line[6:].encode()).decode(errors='replace')}"
            made.append("\n".join(lines).encode())
        found[liar.word(system.encode()).decode(errors="replace")] = made
    return found


def trace_file(case: int) -> bytes:
    """A trace.dat, version 6 or 7."""
    liar = Liar(case)
    rng = liar.rng
    k = LyingKernel(rng.random() < 0.3, rng.choice((8, 8, 4)), liar)
    cpus = {}
    for cpu in rng.sample(range(6), rng.randrange(1, 3)):
        pages = []
        for p in range(rng.randrange(1, 4)):
            page = k.page(10_000 * p + cpu, missed=rng.choice((None, 5, -1, 0)))
            for i in range(rng.randrange(2, 25)):
                name = liar.word(b"&lock_%d" % (i % 5))[:200]
                page.event(3, k.acquire(cpu + i % 3, name, i % 4), long_form=rng.random() < 0.1)
                if i % 3 == 0:
                    page.event(1, k.switch(i, liar.word(b"comm")[:15], i, -1))
                if i % 4 == 0:
                    page.event(1, k.mixed(i, i, -1, i, i << 50, (i, i), range(i % 3), b"tail" * (i % 2)))
            if rng.random() < 0.3:
                page.extend(1 << 30).stamp(10_000 * p + 9_000)
            pages.append(page)
        cpus[cpu] = pages
    options = [(layout.UNAME, liar.word(b"Linux h 6.12.1 x86_64") + b"\0"), (layout.TRACEID, k.pack("Q", 9)),
               (layout.CPUSTAT, liar.word(b"CPU: 0\noverrun: 3\n") + b"\0"), (layout.OFFSET, liar.word(b"0") + b"\0"),
               (layout.GUEST, b"g\0" + k.pack("QIII", 1, 1, 0, 77)), (layout.TSC2NSEC, k.pack("IIQ", 5, 3, 0)),
               (layout.TIME_SHIFT, k.pack("QIII3Q", 1, 0, 1, 1, 5, 6, 1))]  # fmt: skip
    chosen = rng.sample(options, rng.randrange(len(options) + 1))
    version, codec = rng.choice(((7, "none"), (7, "zstd"), (7, "zlib"), (6, "none")))
    symbols = b"".join(b"%x T s%d\n" % (0xFFFFFFFF81000000 + 16 * i, i) for i in range(9)) + liar.word(b"")
    patch = _lying(liar)
    try:
        c = writer.Content({}, big=k.big)
        bodies = trace_dat.sections(k, systems=_systems(k), kallsyms=symbols, comms=liar.word(b"3 comm 3\n"))
        file = TraceFile(cpus, k, version, codec, options=chosen, bodies=bodies)
        if rng.random() < 0.3:
            file.instances.append(file.buffer("kvm", {1: [k.page(77).event(1, k.acquire(1, b"i", 1))]}, "local", 4096))
        del c
        return file.build()
    finally:
        patch.undo()


def perf_file(case: int, folder: Path) -> bytes:
    """A perf.data: file or pipe, packed or not."""
    liar = Liar(case)
    rng = liar.rng
    k = LyingKernel(rng.random() < 0.3, rng.choice((8, 8, 4)), liar)
    shape = USUAL
    for bit in (walk.IDENTIFIER, walk.CALLCHAIN, walk.ADDR, walk.STREAM_ID):
        shape |= bit if rng.random() < 0.4 else 0
    read = rng.random() < 0.3
    acquire = Event(ACQUIRE, shape | (walk.READ if read else 0), ids=(6, 7), read_format=rng.choice((0, 4, 12, 31)))
    switch, mixed = Event(SWITCH, shape, ids=(8,)), Event(MIXED, shape, ids=(9, 10))
    cycles = Event(0, shape & ~walk.RAW, type=0, ids=(11,), name=liar.word(b"cycles").decode(errors="replace"))
    records: list[Sample | bytes] = []
    for ts in range(100, 100 + 10 * rng.randrange(1, 60), 10):
        chain = [0xFFFF_FFFF_FFFF_FF80, *range(ts % 7)]
        sample = Sample(acquire, ts, ts % 3, ts, k.acquire(ts, liar.word(b"lock")[:200], ts % 50), chain)
        if read:
            sample.values = k.pack("5Q", 2, 1, 6, 1, 7)
        records.append(sample)
        if ts % 30 == 0:
            records += [
                Sample(switch, ts, 1, ts, k.switch(ts, b"c", ts, -1), chain),
                Sample(cycles, ts, 2, 9, chain=chain),
            ]
        if ts % 50 == 0:
            records += [perf_data.lost(k, acquire, 3, ts, 1), perf_data.comm(k, ts, liar.word(b"task")[:15]), ROUND]
    file = PerfFile([acquire, switch, mixed, cycles], records, k, _systems(k))
    kind = rng.randrange(3)
    patch = _lying(liar)
    try:
        if kind:
            plain = file.data()
            file.records = [perf_data.packed(k, plain, sizes=(len(plain) // 3, 7)), ROUND]
        return Path(file.write(folder, "made.data", pipe=kind == 2)).read_bytes()
    finally:
        patch.undo()


_VALUES = (
    "0",
    "1",
    "-1",
    "5",
    "0xffff888100000100",
    "18446744073709551615",
    "-9223372036854775808",
    "1" * 30,
    "(fault)",
    "",
    "&kvm->lock",
    '"quoted"',
    "S",
    "R+",
    "[000]",
    "{",
    "ffffffff81000000",
    "\x1b[31m",
    "\u202e",
    "=1+1",
    "a=b",
    "nan",
)
_EVENTS = (
    "lock_acquire",
    "lock_release",
    "lock_acquired",
    "lock_contended",
    "contention_begin",
    "contention_end",
    "sched_switch",
    "sched_wakeup",
    "kvm_entry",
    "kvm_exit",
    "kvm_tdp_mmu_spte_changed",
    "fast_page_fault",
    "sys_enter",
    "sys_exit",
    "mutex_lock_entry",
    "mutex_lock",
    "lockdep_acquire",
    "print",
    "probe",
    "../../up",
    "x" * 300,
)
_BODIES = (
    "{0} {1}",
    "lock={0} name={1} flags={2}",
    "{0} read try {1}",
    "comm={1} pid={0} prio={2} target_cpu={3}",
    "prev_comm={1} prev_pid={0} prev_prio=120 prev_state={2} ==> next_comm={1} next_pid={3} next_prio=120",
    "(f+0x0/0x10) lock={0} subclass={2} trylock={3} read=0 check=1 nest=0x0 ip={0} key={0} wait_outer=0 "
    "wait_inner=4 "
    "lock_type=0 name={1}",
    "vcpu {0} reason {1} rip {2}",
    "as id {0} gfn {1} level {2} old_spte {3} new_spte {0}",
    "NR {0} ({1}, {2}, {3})",
    "ARRAY[{0}, {1}]",
    "{{0}}",
)


def _body(rng: random.Random) -> str:
    return rng.choice(_BODIES).format(*(rng.choice(_VALUES) for _ in range(4)))


def _comm(rng: random.Random) -> str:
    return rng.choice(("qemu", "CPU 0/KVM", "<idle>", "<...>", "a-b-1", "", "x" * 40, "[000]", "\x1b[2J", "a: b"))


def ftrace_text(case: int) -> bytes:
    """Lines as tracefs and trace-cmd report print them."""
    rng = random.Random(case)
    lines = [rng.choice(("# tracer: nop", "# tracer: irqsoff", "cpus=4", "version = 7", "#", ""))]
    now = 100.0
    for _ in range(rng.randrange(1, 80)):
        now += rng.choice((0, 1e-6, 1e-3, 1, -1))
        what = rng.random()
        cpu = rng.choice(("000", "001", "3", "999999999999", "-1", "ab"))
        if what < 0.05:
            lines.append(
                rng.choice(
                    (f"CPU:{cpu} [LOST {rng.choice(_VALUES)} EVENTS]", f"CPU {cpu} buffer started", " => f+0x1", "")
                )
            )
            continue
        time = (
            rng.choice((f"{now:.6f}", f"{now:.9f}", "1" * 25, "nan", "0.0", f"{now:.6f}"))
            if what < 0.1
            else f"{now:.6f}"
        )
        flags = rng.choice(("d..1.", "....", "dNh2.", "", "?????", "D.h3z"))
        lines.append(f"{_comm(rng):>16}-{rng.choice(('1', '100', '0', '9' * 12))} [{cpu}] {flags} {time}: "
                     f"{rng.choice(_EVENTS)}: {_body(rng)}")  # fmt: skip
    return rng.choice(("\n", "\n", "\r\n")).join(lines).encode("utf-8", "surrogateescape") + rng.choice(
        (b"\n", b"", b"\0")
    )


def perf_script(case: int) -> bytes:
    """Lines as perf script prints them, with callchains."""
    rng = random.Random(case)
    lines, now = [], 100.0
    for _ in range(rng.randrange(1, 60)):
        now += rng.choice((0, 1e-6, 1e-3, -1))
        pid = rng.choice(("100", "100/101", "0", "-1", "9" * 12))
        cpu = rng.choice(("[000]", "[003]", "[99999]", ""))
        event = f"{rng.choice(('lock', 'sched', 'kvm', 'probe', ''))}:{rng.choice(_EVENTS)}"
        lines.append(f"{_comm(rng):>16} {pid} {cpu} {now:.6f}: {rng.choice(('', '1 '))}{event}: {_body(rng)}")
        if rng.random() < 0.2:
            addresses = ("ffffffff818a8113", "7f6aee01fad7", "zzz", "1" * 30)
            lines += [f"\t{rng.choice(addresses)} f+0x1 ([kernel.kallsyms])" for _ in range(rng.randrange(4))] + [""]
    return "\n".join(lines).encode("utf-8", "surrogateescape") + b"\n"


def makers(folder: Path) -> dict[str, Callable[[int], bytes]]:
    """What makes a case of each format."""
    return {
        "trace.dat": trace_file,
        "perf.data": lambda case: perf_file(case, folder),
        "ftrace text": ftrace_text,
        "perf script": perf_script,
    }
