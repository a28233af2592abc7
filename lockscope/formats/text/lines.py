"""The forms of ftrace text lines, up to where the event's own text begins, and what the head of a text tells.

Forms: kernel/trace/trace_output.c, trace_print_context() and trace_print_lat_context(), and kernel/trace/trace.c (v4.14
to v6.14); trace-cmd's tracecmd/trace-read.c, trace_show_data() (3.1 to 3.3), with libtraceevent's
data_latency_format().
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

LINE_LIMIT = 1 << 16
# Groups of a line's form. Lines that a stack trace continues on belong to the body.
BUFFER, TASK, CPU, FLAGS, WHOLE, FRACTION, BODY, OTHER = range(8)
_BUFFER = rb"^(?:(?:(\S[^\n:]{0,63}): ++)? *+"
_TASK = rb"(.{0,31}?-\d{1,10}) ++"
_FLAGS = rb"([^\s\d-]\S{3,7}|-0x[0-9a-f]{1,8})"  # "-0x1": trace-cmd 3.2 and later with -R
_REST = rb": *+(?:\(\+-?\d++\) *+)?([^\n]*+(?:\n ?=> [^\n]*+)*+)|(.++))$"  # "(+12)": trace-cmd report --ts-diff
BRACKET = re.compile(
    _BUFFER + _TASK + rb"(?:\( *+[\d-]++\) ++)?\[(\d{1,5})\](?:(?: ++|(?=-))" + _FLAGS + rb")? *+"
    rb"(\d{1,19})(?:\.(\d{1,9}))?" + _REST,
    re.MULTILINE,
)
LATENCY = re.compile(
    _BUFFER + _TASK + rb"(\d{1,5})" + _FLAGS + rb" ++(\d{1,19})(?:us[^\n]|\.(\d{1,9}))?" + _REST, re.MULTILINE
)
LOSS_ANYWHERE = re.compile(rb"(?:WARNING: )?Lost (\d{1,18}) events\.?\s*")  # bpftrace, of whatever CPU
LOSS_TOTAL = re.compile(rb"(?:WARNING: )?Total lost event count: (\d{1,18})\s*")  # its last line, since 0.24
LOSS = re.compile(rb"(?:(\S[^\n:]{0,63}): ++)? *+CPU:(\d{1,5}) \[(?:LOST )?(?:(\d{1,18}) )?EVENTS(?: DROPPED)?\]\s*")
NO_EVENT = re.compile(
    rb"#.*|\s*(?:\S+: +)?(?:cpus=\d+|CPU \d+ is empty|CPU:\d+ \[SUBBUFFER START\].*|version = .*|uname:? .*"
    rb"|trace-cmd: .*|Attach(?:ing|ed) \d+ probes?(?:\.\.\.)?"  # bpftrace
    rb"|TRACE:|capturing trace\.\.\..*"  # Android's atrace, frameworks/native/cmds/atrace
    rb"|Dumping ftrace (?:instance \S+ )?buffer:|\(ftrace buffer empty\))?\s*",
    re.DOTALL,
)
# The kernel's own dump on an oops, kernel/trace/trace.c, ftrace_dump_one() (v6.12): a title, a rule, the events in the
# latency format, a rule. In its log each line has a time in front, and perhaps who printed it (CONFIG_PRINTK_CALLER).
DUMP = re.compile(rb"Dumping ftrace (?:instance (\S{1,64}) )?buffer:\s*")
RULE = re.compile(rb"-{8,}\s*")
LOGGED = re.compile(
    rb"^(?:(?:\w{3} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[\d:.,+-]{8,32}Z?) \S{1,64} kernel: )?+"  # journalctl
    rb"(?:\w{1,8} *: *\w{1,8} *: |<\d{1,3}>)?+"  # dmesg -x, dmesg -r
    rb"(?:\[ *\d{1,10}\.\d{6}\]|\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\])(?:\[ *[TC]\d{1,10}\])? ",
    re.MULTILINE,
)
TIMED = re.compile(rb"\d\.\d{3,9}: |\dus[ !+#*@$]*:")
FRAME = re.compile(rb" ?=> ")

# Bits of common_flags, include/linux/trace_events.h: IRQS_OFF 1, NEED_RESCHED_LAZY 2 (v6.13; IRQS_NOSUPPORT before),
# NEED_RESCHED 4, HARDIRQ 8, SOFTIRQ 0x10, PREEMPT_RESCHED 0x20, NMI 0x40, BH_OFF 0x80 (v5.18).
_IRQS = {"d": 0x01, "D": 0x81, "b": 0x80, "X": 0x02}
_RESCHED = {"N": 0x24, "n": 0x04, "p": 0x20, "B": 0x26, "L": 0x22, "b": 0x06, "l": 0x02}
_HARD = {"h": 0x08, "s": 0x10, "H": 0x18, "z": 0x40, "Z": 0x48}
TRACE_CMD_HIDES = 0xE0  # libtraceevent prints neither BH_OFF nor NMI nor PREEMPT_RESCHED
_FOUR = ("irqs-off", "need-resched", "hardirq", "preempt-depth")
_FIVE = (*_FOUR, "migrate-disable")
_CPUS = re.compile(rb"^ *(?:\S+: +)?cpus=(\d{1,5})$", re.MULTILINE)
_ROLE = re.compile(rb"^#[^\n]*=> ([\w/#-]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the first lines of a text say. ``overwritten``: events that the ring buffer no longer had."""

    form: re.Pattern[bytes]
    tracefs: bool
    tracer: str | None = None
    kernel: str | None = None
    cpus: int = 0
    overwritten: int = 0
    roles: tuple[str, ...] = ()  # of the flag characters, from the column header
    bh_shown: bool = False  # the header says that the first of them tells whether BH is off (6.1 and later)
    rows: list[tuple[bytes, ...]] = field(default_factory=list)  # the event lines of the head, by the form's groups
    logged: bool = False  # lines have in front what the kernel's log adds

    @property
    def relative(self) -> bool:
        """Whether times count from the start of the trace, in microseconds."""
        return self.form is LATENCY and self.tracefs

    @property
    def digits(self) -> int:
        """Digits behind the point of the seconds; 0: a bare number."""
        return len(self.rows[0][FRACTION]) if self.rows else 6


def _text(form: bytes, head: bytes) -> str | None:
    found = re.search(form, head, re.MULTILINE)
    return found[1].decode("utf-8", "replace") if found else None


def _roles(head: bytes) -> tuple[str, ...]:
    known = {"hardirq/softirq": "hardirq", "irqs-off/BH-disabled": "irqs-off"}
    names = [found.decode() for found in _ROLE.findall(head)]
    return tuple(known.get(name, name) for name in names if name != "CPU#")


def facts(head: bytes) -> Facts | None:
    """What a text beginning so is; None if no line of it is ftrace text, nor a header that says it is."""
    if len(head) >= LINE_LIMIT:
        head = head[: head.rfind(b"\n") + 1] or head
    head = head.replace(b"\r\n", b"\n")
    bare = LOGGED.sub(b"", head)
    logged = bare != head and any(not row[OTHER] for row in LATENCY.findall(bare))
    head = bare if logged else head
    tracer = _text(rb"^# tracer: (\S+)", head)
    rows = {form: [row for row in form.findall(head) if not row[OTHER]] for form in (BRACKET, LATENCY)}
    form = max(rows, key=lambda form: len(rows[form]))
    trace_cmd = _CPUS.search(head) is not None
    if not rows[form] and not head.startswith(b"# tracer: ") and not _CPUS.match(head):
        return None
    if not rows[form] and re.search(rb"^# \S+ latency trace v", head, re.MULTILINE):
        form = LATENCY
    padded = any(re.match(rb"\w{1,19}:  +\S", row[BODY]) for row in rows[form])  # names are padded to 20 columns
    entries = re.search(rb"^# entries-in-buffer/entries-written: (\d{1,18})/(\d{1,18})", head, re.MULTILINE)
    cpus = _text(rb"#P:(\d{1,5})\b", head) or _text(_CPUS.pattern, head)
    return Facts(
        form,
        not (trace_cmd or padded),
        tracer,
        _text(rb"^# (?:\S+ latency trace v\S+ on|lockscope: kernel) (\S+)", head),  # the latter: lockscope/recording
        int(cpus or 0),
        max(int(entries[2]) - int(entries[1]), 0) if entries else 0,
        _roles(head),
        b"irqs-off/BH-disabled" in head,
        rows[form],
        logged,
    )


def flag_reader(roles: tuple[str, ...], *, tracefs: bool) -> Callable[[bytes], int]:
    """A reader of the flag characters ("d..2.") that gives ``common_flags`` | preempt count << 8.

    Letters: trace_print_lat_fmt(), kernel/trace/trace_output.c, v4.14 to v6.14. Without a header, four characters are
    those of kernels before v5.15, more begin with those of later ones.
    """
    resched = _RESCHED if tracefs else {"N": 0x04}

    def depth(digits: str) -> int:
        return int(digits, 16) if re.fullmatch(r"[0-9a-f]+", digits) else 0

    def read(text: bytes) -> int:
        if text.startswith(b"-0x"):
            return int(text[1:], 16) & 0xFF
        letters = text.decode("latin-1")
        flags = count = 0
        used = roles or (_FIVE if len(letters) > 4 else _FOUR)
        for i, (role, letter) in enumerate(zip(used, letters, strict=False)):
            if role == "irqs-off":
                flags |= _IRQS.get(letter, 0)
            elif role == "need-resched":
                flags |= resched.get(letter, 0)
            elif role == "need-resched-lazy":  # PREEMPT_RT's own column, before v6.13
                flags |= 0x02 if letter in "lL" else 0
            elif role == "hardirq":
                flags |= _HARD.get(letter, 0)
            elif role == "preempt-depth":
                count |= depth(letters[i:] if i + 1 == len(used) else letter)
            elif role == "migrate-disable":
                count |= depth(letter) << 4
        return flags | (count & 0xFF) << 8

    return read
