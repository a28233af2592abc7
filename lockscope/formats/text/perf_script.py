"""The text of ``perf script``: for who has no perf.data. Lines become records, as with ftrace's text."""

from __future__ import annotations

from functools import cache
from typing import ClassVar

from lockscope.formats.perf.symbols import symbols_of
from lockscope.formats.text import lines, perf_lines
from lockscope.formats.text.body import Grammar
from lockscope.formats.text.ftrace import FtraceText
from lockscope.formats.text.reading import Reading
from lockscope.tables.events import TraceInfo, Wanted
from lockscope.tables.symbols import Symbols


class PerfScript(FtraceText):
    """A reader of perf script's text with time and event on each line, in its usual selections of fields.

    Callchains are the field ``callchain``, as in a perf.data; the symbols printed in them are ``info.symbols`` where
    no file beside the text has the kernel's. Raises as ``FtraceText`` does.
    """

    name: ClassVar[str] = "perf script text"

    def __init__(self, path: str) -> None:
        super().__init__(path)
        beside = self.info.symbols
        chains = any(b"\n" in row[lines.BODY] for row in self.facts.rows)

        def symbols() -> Symbols:
            listed = beside()
            return symbols_of(self._path) if chains and not len(listed.names) else listed

        self.info.symbols = cache(symbols)

    @classmethod
    def sniff(cls, head: bytes) -> bool:
        """Whether one line of it has perf script's form."""
        return perf_lines.facts(head) is not None

    @staticmethod
    def _facts(head: bytes) -> lines.Facts | None:
        return perf_lines.facts(head)

    def _grammar(self) -> Grammar:
        chains = any(b"\n" in row[lines.BODY] for row in self.facts.rows)
        return perf_lines.PerfGrammar(self.facts.kernel, chains=chains, placed=perf_lines.placed(self.facts.rows))

    def _reading(self, wanted: Wanted | None) -> Reading:
        return perf_lines.PerfReading(self.facts, self._catalogue, self.info, wanted)

    def _describe(self, codec: str | None) -> TraceInfo:
        f = self.facts
        info = TraceInfo(self._path, f"{self.name} ({codec})" if codec else self.name, f.kernel)
        info.options |= {"text": "perf", "flags_unknown": True}
        info.ns_exact = f.digits > 6
        if not info.ns_exact:
            info.notes.append("times are in microseconds: perf script --ns prints them whole")
        if not f.rows[0][lines.CPU]:
            info.notes.append("no CPU on the lines (perf script -F +cpu): all events count as CPU 0's")
        if any(b"\n" in row[lines.BODY] for row in f.rows):
            info.notes.append("perf script prints user addresses as places in their files")
        info.notes.append("perf script does not print irq context: all is task's")
        info.notes.append("perf script leaves out the events of interrupts that end a guest's turn: perf.data has them")
        return info
