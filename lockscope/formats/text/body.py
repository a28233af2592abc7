"""From the part of a line behind the time stamp to a record: "lock_release: 0xffff888100cd1420 sb_writers".

In turn: a pattern (``_text_patterns``), a probe's "(ip) name=value ...", a tracer's own entry (``_text_tracers``),
"name=value ..." (``_text_values``), and for what is none of these the whole text in one field, ``text``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lockscope.formats.text import systems, tracers
from lockscope.formats.text.patterns import LOCK_FUNCTION, PATTERNS, PROBES, RAW_DECIMAL
from lockscope.formats.text.shapes import KINDS, Kind, Shape, Value, add_ret_kinds
from lockscope.formats.text.values import IS_ARGUMENTS, Columns, address_or_symbol, arguments

Parsed = tuple[Shape, bytes]
NOTHING = Shape("", "unknown", ())  # no name and no known form
_NO_EVENT = (NOTHING, NOTHING.pack(()))

_PLACE = re.compile(r"\{(\w+):(\w+)\}")
# A name, perhaps with the module of a trace_printk's function, then a colon.
_NAMED = re.compile(rb"([^\s:(<#]+)(?: \[[^\]\s]+\])?:(?:\s+(.*))?", re.DOTALL)
_PROBE = re.compile(rb"\(([^()]{0,256}?)(?: <- ([^()]{0,256}?))?\)(?: +(.*))?", re.DOTALL)


class _Pattern:
    """A compiled pattern: its values, and where among the groups the first pointer is (0: nowhere)."""

    __slots__ = ("_reads", "columns", "match", "pointer")

    def __init__(self, template: str, kinds: Mapping[str, Kind]) -> None:
        self.columns: list[tuple[str, str]] = _PLACE.findall(template)
        source = _PLACE.sub(lambda found: f"({kinds[found[2]].pattern})", template.replace(" ", " {1,16}"))
        self.match = re.compile(source.encode(), re.DOTALL).fullmatch
        used = [kinds[kind] for _, kind in self.columns]
        self._reads = [(kind.read, b"" if kind.how == "data_loc" else 0) for kind in used]
        self.pointer = next((i for i, (_, kind) in enumerate(self.columns, 1) if kind == "ptr"), 0)

    def values(self, found: re.Match[bytes]) -> list[Value]:
        pairs = zip(found.groups(), self._reads, strict=True)
        return [absent if text is None else read(text) for text, (read, absent) in pairs]


def ret_numbers(kernel: str | None) -> tuple[int, int, int] | None:
    """RET_PF_INVALID, _FIXED, _SPURIOUS of a kernel (None: the newest known); None before v5.10, which had a bool.

    arch/x86/kvm/mmu/mmu_internal.h: v5.10, v5.19 (RET_PF_CONTINUE came first), v6.12 (RET_PF_WRITE_PROTECTED).
    """
    version = re.match(r"(\d{1,4})\.(\d{1,4})", kernel or "")
    at = (int(version[1]), int(version[2])) if version else (6, 12)
    if at < (5, 10):
        return None
    return (4, 5, 6) if at >= (6, 12) else (3, 4, 5) if at >= (5, 19) else (2, 3, 4)


def _kinds_of(arguments_line: str) -> dict[str, str]:
    return {field: kind for field, _, kind in (a.partition(":") for a in arguments_line.split())}


def _argument_pattern(arguments_line: str) -> str:
    pairs = _kinds_of(arguments_line).items()
    return " ".join(f'{f}="{{{f}:rest}}"' if kind == "str" else f"{f}={{{f}:{kind}}}" for f, kind in pairs)


class Grammar:
    """Reads event texts. ``kernel``: the release, if known. ``tracefs``: whether the kernel printed (not trace-cmd).

    ``hashed`` becomes true when a pointer was seen that ``%p`` has hashed; ``printk_names`` holds the names taken for
    functions that call trace_printk(), which tracefs prints where an event's name is.
    """

    def __init__(self, kernel: str | None, *, tracefs: bool, only_functions: bool = False, shapes: int = 4000) -> None:
        self._tracefs, self._only_functions, self._room = tracefs, only_functions, shapes
        ret = ret_numbers(kernel)
        self._kinds = dict(KINDS)
        add_ret_kinds(self._kinds, *(ret or (0, 1, 1)))
        self._systems = dict.fromkeys(tracers.NAMED, "ftrace") | {"sys_enter": "raw_syscalls"}
        self._fields: dict[str, dict[str, str]] = dict(tracers.RAW_KINDS)
        self._patterns: dict[bytes, list[tuple[_Pattern, Shape]]] = {}
        self._probes: dict[str, _Pattern] = {}
        self._shapes: dict[tuple[str, tuple[tuple[str, str], ...]], Shape] = {}
        self.hashed = False
        self.printk_names: set[str] = set()
        for full_names, template in PATTERNS:
            self._add_pattern(full_names, template if ret else template.replace("{ret:pf_ret}", "{retry:pf_ret}"))
        for name, line in PROBES.items():
            self._systems[name], self._fields[name] = "lockscope", _kinds_of(line)
            self._probes[name] = _Pattern(_argument_pattern(line), self._kinds)
        for name, decimal in RAW_DECIMAL.items():
            self._fields[name] |= decimal

    def _add_pattern(self, full_names: str, template: str) -> None:
        pattern = _Pattern(template, self._kinds)
        for full_name in full_names.split():
            self._systems[full_name.split(":")[1]] = full_name.split(":")[0]
            name = full_name.split(":")[1]
            self._patterns.setdefault(name.encode(), []).append((pattern, self._shape(name, pattern.columns)))
            fields = self._fields.setdefault(name, {})
            fields |= {field: kind for field, kind in pattern.columns if field not in fields}

    def parse(self, body: bytes) -> Parsed:
        """The shape of an event's text and its record. Never fails: text of no known form is kept as text."""
        named = _NAMED.fullmatch(body)
        if named is None:
            found = tracers.unnamed(body.rstrip(b" \r\n\0"), only_functions=self._only_functions)
            return self._make(*found) if found else _NO_EVENT
        rest = (named[2] or b"").rstrip(b" \r\n\0")
        for pattern, shape in self._patterns.get(named[1], ()):
            match = pattern.match(rest)
            if match:
                if pattern.pointer and not self.hashed:
                    self._note_pointer(match[pattern.pointer])
                return shape, shape.pack(pattern.values(match))
        return self._other(named[1].decode("utf-8", "replace"), rest)

    def _note_pointer(self, text: bytes) -> None:
        # A hashed pointer is 32 random bits printed as 16 digits (lib/vsprintf.c, ptr_to_hashval(), v6.12).
        self.hashed = len(text) == 16 and text.startswith(b"00000000") and text.strip(b"0") != b""

    def _system(self, name: str) -> str:
        known = self._systems.get(name)
        if known is None:
            known = "lockscope" if systems.is_lock_function(name) else systems.system_by_prefix(name)
        return known

    def _shape(self, name: str, columns: Sequence[tuple[str, str]]) -> Shape:
        key = (name, tuple(columns))
        shape = self._shapes.get(key)
        if shape is None:
            if len(self._shapes) >= self._room:
                return NOTHING
            shape = self._shapes[key] = self._new_shape(name, [(f, self._kinds[kind]) for f, kind in columns])
        return shape

    def _new_shape(self, name: str, columns: Sequence[tuple[str, Kind]]) -> Shape:
        return Shape(self._system(name), name, columns)

    def _make(self, name: str, columns: Columns) -> Parsed:
        shape = self._shape(name, [(field, kind) for field, kind, _ in columns])
        return _NO_EVENT if shape is NOTHING else (shape, shape.pack([value for _, _, value in columns]))

    def _other(self, name: str, rest: bytes) -> Parsed:
        columns = self._probe(name, rest) if rest.startswith(b"(") else None
        if columns is None and name in tracers.NAMED:
            columns = tracers.NAMED[name](rest)
        if columns is None and IS_ARGUMENTS.match(rest):
            columns = arguments(rest, self._fields.get(name, {}))
        if columns is None and name.startswith(("sys_enter_", "sys_exit_")):
            columns = tracers.syscall(name, rest)
        if columns is None and self._tracefs and not self._system(name):
            if name not in tracers.MARKERS and len(self.printk_names) < self._room:
                self.printk_names.add(name)
            return self._make("print", tracers.printed(name.encode(), rest))
        return self._make(name, [("text", "rest", rest)] if columns is None else columns)

    def _probe(self, name: str, rest: bytes) -> Columns | None:
        found = _PROBE.fullmatch(rest)
        if not found:
            return None
        first, second, text = found[1], found[2], found[3] or b""
        known = self._probes.get(name)
        match = known.match(text) if known else None
        if known and match:
            columns = [(f, kind, v) for (f, kind), v in zip(known.columns, known.values(match), strict=True)]
        else:
            fields = self._fields.get(name) or (_kinds_of(LOCK_FUNCTION) if systems.is_lock_function(name) else {})
            made = arguments(text, fields)
            if made is None:
                return None
            columns = made
        if second is None:
            return [address_or_symbol("__probe_ip", first), *columns]
        # trace-cmd prints "(func <- ret_ip)", the event's own format; tracefs, with symbols, "(ret_ip <- func)"
        # (kernel/trace/trace_kprobe.c, print_kretprobe_event(), and trace_probe.c, __set_print_fmt(), v6.12).
        function, returned = (second, first) if self._tracefs else (first, second)
        return [address_or_symbol("__probe_func", function), address_or_symbol("__probe_ret_ip", returned), *columns]
