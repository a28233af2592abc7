"""trace.dat files of a simulated recording: the head that describes it, and the CPUs' sub-buffers.

While the host runs, each CPU's sub-buffers go to a file of their own, as trace-cmd's recorders do; the trace.dat is put
together from them at the end. Memory does not grow with the length of the recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from lockscope.formats.trace_dat import layout, writer
from lockscope.outfiles import opened
from lockscope.simulate.trace.events import Event
from lockscope.simulate.trace.ring import PAGE, Ring

_PIECE = 256 * 10 * PAGE  # bytes read at once; whole chunks of ten pages

_HEADER_PAGE = (
    b"\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
    b"\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
    b"\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
    b"\tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;\n"
)
_HEADER_EVENT = (
    b"# compressed entry header\n"
    b"\ttype_len    :    5 bits\n\ttime_delta  :   27 bits\n\tarray       :   32 bits\n\n"
    b"\tpadding     : type == 29\n\ttime_extend : type == 30\n\ttime_stamp : type == 31\n"
    b"\tdata max type_len  == 28\n"
)
CLOCKS = ("local", "global", "counter", "uptime", "perf", "mono", "mono_raw", "boot", "tai", "x86-tsc")


@dataclass(slots=True)
class Recording:
    """Where a recording goes while the host runs. ``symbols``: name by address, ``comms``: by pid."""

    events: dict[str, Event]
    cpus: int
    clock: str
    release: str
    host: str = "simulated"
    buffer_kib: int | None = None
    symbols: dict[int, str] = field(default_factory=dict)
    comms: dict[int, str] = field(default_factory=dict)
    rings: list[Ring] = field(default_factory=list)
    _files: list[BinaryIO] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Recording:
        capacity = None if self.buffer_kib is None else max(2, self.buffer_kib * 1024 // PAGE)
        for _ in range(self.cpus):
            spool: BinaryIO = self._stack.enter_context(TemporaryFile())
            self._files.append(spool)
            self.rings.append(Ring(spool, capacity))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def written(self) -> int:
        """Events that reached the files."""
        return sum(ring.events for ring in self.rings)

    @property
    def lost(self) -> int:
        """Events that were overwritten before the recorder came by."""
        return sum(ring.lost for ring in self.rings)

    def _pages(self, cpu: int) -> Iterator[bytes]:
        spool = self._files[cpu]
        spool.seek(0)
        while piece := spool.read(_PIECE):
            yield piece

    def save(self, path: Path, version: int = 7, codec: str = "zstd") -> None:
        """Write the trace.dat: ``version`` 6 (never packed) or 7 with ``codec`` "none", "zlib" or "zstd"."""
        for ring in self.rings:
            ring.flush()
        content = self._content()
        with opened(path) as file:
            if version == 6:
                writer.write_v6(file, content)
            else:
                writer.write_v7(file, content, codec)

    def _content(self) -> writer.Content:
        c = writer.Content({}, page_size=PAGE)

        def texts(found: list[Event]) -> bytes:
            bodies = [event.format_text().encode() for event in found]
            return c.number(len(bodies), 4) + b"".join(c.number(len(b), 8) + b for b in bodies)

        systems: dict[str, list[Event]] = {}
        for event in self.events.values():
            systems.setdefault(event.system, []).append(event)
        kallsyms = "".join(f"{at:016x} T {name}\n" for at, name in sorted(self.symbols.items())).encode()
        comms = "".join(f"{pid} {comm}\n" for pid, comm in sorted(self.comms.items())).encode()
        c.sections = {
            layout.HEADER_INFO: writer.header_info(c, _HEADER_PAGE, _HEADER_EVENT),
            layout.FTRACE_EVENTS: c.number(0, 4),
            layout.EVENT_FORMATS: c.number(len(systems), 4)
            + b"".join(name.encode() + b"\0" + texts(found) for name, found in systems.items()),
            layout.KALLSYMS: c.number(len(kallsyms), 4) + kallsyms,
            layout.PRINTK: c.number(0, 4),
            layout.CMDLINES: c.number(len(comms), 8) + comms,
        }
        # As tracefs prints it: all of them, the chosen one in brackets.
        clocks = " ".join(f"[{name}]" if name == self.clock else name for name in CLOCKS).encode() + b"\n\0"
        uname = f"Linux {self.host} {self.release} x86_64".encode() + b"\0"
        c.options = [
            (layout.TRACECLOCK, clocks),
            (layout.UNAME, uname),
            (layout.CPUCOUNT, c.number(self.cpus, 4)),
            *((layout.CPUSTAT, self._stats(cpu)) for cpu in range(self.cpus)),
        ]
        pages = [writer.CpuPages(cpu, self._pages(cpu)) for cpu in range(self.cpus)]
        c.buffers = [writer.BufferPages("", pages, self.clock, PAGE)]
        return c

    def _stats(self, cpu: int) -> bytes:
        ring = self.rings[cpu]
        return (
            f"CPU: {cpu}\nentries: 0\noverrun: {ring.lost}\ncommit overrun: 0\nbytes: 0\n"
            f"oldest event ts: 0.000000\nnow ts: {ring.last / 1e9:.6f}\ndropped events: 0\nread events: {ring.events}\n"
        ).encode() + b"\0"
