"""The lines that ``perf script`` prints of tracepoints and other samples, and what their event's text says.

Forms: tools/perf/builtin-script.c, perf_sample__fprintf_start() and process_event() (v6.1 to v6.12): comm, pid and tid,
CPU, time and period are there as -F asks; ``system:event:``, the event's text as libtraceevent prints it; then the
callchain, a line an address, and an empty line.

What perf says of the records that are no samples (--show-task-events, --show-mmap-events and others) stands between
them: ``PERF_RECORD_COMM exec: cc1:151/151`` behind the same columns (tools/perf/util/event.c, perf_event__fprintf(),
v6.12). None of those is an event, and only PERF_RECORD_LOST is a loss.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

from lockscope.formats.text import lines
from lockscope.formats.text.body import Grammar, Parsed
from lockscope.formats.text.reading import Loss, Reading, Row
from lockscope.formats.text.shapes import KINDS, Kind, Shape, Value

_HEAD = (
    rb"[ \t]*+((?:\S[^\n]{0,31}? +)?-?\d{1,10}(?:/ *-?\d{1,10})?) ++"  # comm, pid/tid or tid
    rb"(?:\[(\d{1,5})\] ++)?()(?:[A-Za-z]{1,8} ++)?"  # CPU, misc
    rb"(\d{1,10})\.(\d{6}|\d{9}): ++"  # time
)
# perf prints a frame as "\t%16lx symbol". With blanks for the tab it looks like an event's: without callchains
# comms are aligned to the right, tasks may be called cc1, and with -F -comm a line begins with the task's number.
_FRAME = (
    rb"(?:\t(?=[ 0-9a-f]{16}(?: |$)) *+|(?=[ \t]+[0-9a-f]{1,16}(?: |$))(?!"
    + re.sub(rb"(?<!\\)\((?!\?)", rb"(?:", _HEAD)
    + rb")[ \t]++)[0-9a-f]{1,16}+(?: [^\n]*+)?"
    rb"(?:\n  [^\s:]+(?::\d+|\+\w+)$)?"  # -F +srcline: "  mutex.c:123" under it
)
FORM = re.compile(
    rb"^()" + _HEAD + rb"(?:\d{1,20} ++)?"  # period
    rb"((?!PERF_RECORD_)(?=[^\s:]+(?::[^\s:]+){0,2}:(?: |$))[^\n]*+(?:\n" + _FRAME + rb"$)*+)$"
    rb"|^([^\n]++)$",
    re.MULTILINE,
)
_LOST = re.compile(rb".*?(?:\[(\d{1,5})\].*?)?PERF_RECORD_LOST(?:_SAMPLES)? lost (\d{1,18})\s*")
_RECORD = re.compile(rb".*?\bPERF_RECORD_\w+(?: .*|: .*|\(.*)?\s*", re.DOTALL)
_COMM = re.compile(rb".*?PERF_RECORD_COMM(?: exec)?: (.*):-?\d{1,10}/(\d{1,10})\s*")
_EVENT = re.compile(rb"([^\s:]+):(?:([^\s:]+):)?(?: +|$)(.*)", re.DOTALL)
_TASK = re.compile(rb"(?:(.*?) +)?(?:-?\d+/ *)?(-?\d+)", re.DOTALL)
_MODIFIERS = re.compile(rb"[ukhGHpPDSWeb]{1,8}")  # of an event that is no tracepoint: "cycles:ppp"
_ADDRESS = re.compile(rb"^[ \t]+([0-9a-f]{1,16})(?: |$)", re.MULTILINE)
_PLACED = re.compile(rb" ++ffff[0-9a-f]{12}(?: [^\n]*+)?$")  # -F +ip (+sym, +dso): where the event's text ends
_FAILED = b"[FAILED TO PARSE] "  # libtraceevent could not read the print format: the fields follow, name=value


def facts(head: bytes) -> lines.Facts | None:
    """What a text beginning so is; None if no line of it is one that perf script prints."""
    if len(head) >= lines.LINE_LIMIT:
        head = head[: head.rfind(b"\n") + 1] or head
    rows = [row for row in FORM.findall(head.replace(b"\r\n", b"\n")) if not row[lines.OTHER]]
    release = re.search(rb"^# os release : (\S+)", head, re.MULTILINE)  # perf script --header
    kernel = release[1].decode("utf-8", "replace") if release else None
    return lines.Facts(FORM, False, None, kernel, rows=rows) if rows else None


def placed(rows: Sequence[Row]) -> bool:
    """Whether every line ends with an address of the kernel."""
    return all(_PLACED.search(row[lines.BODY].split(b"\n")[0]) for row in rows)


class _ChainShape(Shape):
    """A shape whose records end with the callchain that its grammar has at hand."""

    __slots__ = ("_grammar",)

    def __init__(self, grammar: PerfGrammar, system: str, name: str, columns: Sequence[tuple[str, Kind]]) -> None:
        super().__init__(system, name, [*columns, ("callchain", KINDS["longs"])])
        self._grammar = grammar

    def pack(self, values: Sequence[Value]) -> bytes:
        return super().pack([*values, self._grammar.chain])


class PerfGrammar(Grammar):
    """Reads what stands behind the time: ``system:event: text`` and, with ``chains``, the callchain.

    ``placed``: each text ends with the address of the event itself (-F +ip), which says nothing of a tracepoint.
    """

    def __init__(self, kernel: str | None, *, chains: bool, placed: bool = False) -> None:
        self._chains, self._placed, self.chain = chains, placed, b""
        super().__init__(kernel, tracefs=False)

    def _new_shape(self, name: str, columns: Sequence[tuple[str, Kind]]) -> Shape:
        if self._chains:
            return _ChainShape(self, self._system(name), name, columns)
        return super()._new_shape(name, columns)

    def parse(self, body: bytes) -> Parsed:
        """The shape of an event's text and its record."""
        line, _, frames = body.partition(b"\n")
        found = _EVENT.fullmatch(line)
        if found is None:
            return super().parse(line)
        first, second, text = found.groups()
        traced = second is not None and not _MODIFIERS.fullmatch(second)
        if not traced:
            # What is no tracepoint has its address, or its callchain, in place of a text.
            ip = re.match(rb"([0-9a-f]{1,16})(?: |$)", text)
            self._put_chain(frames)
            name = re.sub(r"\W", "_", first.decode("utf-8", "replace"))
            self._systems[name] = "perf"
            return self._make(name, [("ip", "x64", int(ip[1], 16) if ip else self._innermost())])
        name = second.decode("utf-8", "replace")
        if self._systems.get(name) != first.decode("utf-8", "replace"):
            self._systems[name] = first.decode("utf-8", "replace")
        self._put_chain(frames)
        if self._placed:
            text = _PLACED.sub(b"", text)
        return super().parse(second + b": " + text.removeprefix(_FAILED))

    def _put_chain(self, frames: bytes) -> None:
        addresses = [int(a, 16) for a in _ADDRESS.findall(frames)][:4096] if frames else []
        self.chain = struct.pack(f"<{len(addresses)}Q", *addresses)

    def _innermost(self) -> int:
        return int.from_bytes(self.chain[:8], "little")


class PerfReading(Reading):
    """A pass over perf script's text."""

    _record_row = -1  # of the last line that belongs to a record that is no sample

    def _task(self, task: bytes) -> int:
        found = _TASK.fullmatch(task)
        assert found is not None  # the form says so
        comm, tid = found[1], max(min(int(found[2]), 0x7FFFFFFF), -1)
        if comm:
            self._name(tid, comm)
        return tid

    def _stream(self, buffer: bytes, cpu: bytes) -> int:
        return super()._stream(buffer, cpu or b"0")

    def _continues(self, _: bytes, line: bytes) -> bool:
        return re.fullmatch(_FRAME, line) is not None

    def _loss(self, line: bytes, place: int) -> Loss | None:
        found = _LOST.fullmatch(line)
        return (place, b"", found[1] or b"0", int(found[2])) if found else None

    def _is_no_event(self, line: bytes) -> bool:
        named = _COMM.fullmatch(line)
        if named:
            self._name(min(int(named[2]), 0x7FFFFFFF), named[1])
        # PERF_RECORD_NAMESPACES and _TEXT_POKE go on in lines that begin with blanks.
        goes_on = line[:1] in (b" ", b"\t") and self._record_row == self._row - 1
        if goes_on or _RECORD.fullmatch(line):
            self._record_row = self._row
            return True
        return super()._is_no_event(line)


__all__ = ["FORM", "PerfGrammar", "PerfReading", "Row", "facts", "placed"]
