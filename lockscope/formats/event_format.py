"""Parse an event's ``format`` file: name, id, fields with offset, size and sign, print format.

The syntax is that of ``events/SYSTEM/EVENT/format`` in tracefs (kernel/trace/trace_events.c, f_show(), v6.12).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

from lockscope.tables.events import EventFormat, Field, RecordLayout

# Lengths are bounded so that a hostile file cannot make a match slow.
_FIELD = re.compile(
    r"^\s{0,8}field:(?P<decl>[^;\n]{1,256});\s*offset:(?P<offset>\d{1,9});\s*size:(?P<size>\d{1,9});"
    r"(?:\s*signed:(?P<signed>-?\d{1,9});)?", re.MULTILINE,
)  # fmt: skip
_DYNAMIC = re.compile(r"^__(?P<kind>data_loc|rel_loc)\s+(?P<ctype>.*?)(?:\s*\[\])?\s+(?P<name>\w+)(?:\[\])?$")
_QUALIFIERS = re.compile(r"\b(const|unsigned|signed|volatile)\b")
_WIDTHS = {"char": 1, "u8": 1, "s8": 1, "bool": 1, "u16": 2, "s16": 2, "short": 2, "u32": 4, "s32": 4, "int": 4,
           "u64": 8, "s64": 8, "long long": 8, "": 4, "pid_t": 4, "__u8": 1, "__u16": 2, "__u32": 4, "__u64": 8,
           "uint8_t": 1, "uint16_t": 2, "uint32_t": 4, "uint64_t": 8}  # fmt: skip
_LONGS = ("long", "size_t", "ulong", "cpumask_t", "cpumask_t *")  # a cpumask is an array of longs
_LIMIT = 256  # no event of any kernel has so many fields; a hostile file may claim to


def _item_width(ctype: str, long_size: int) -> int:
    """Bytes of one element; 1 where the type is not known."""
    plain = " ".join(_QUALIFIERS.sub("", ctype).split())
    return long_size if plain in _LONGS or plain.endswith("*") else _WIDTHS.get(plain, 1)


def _is_char(ctype: str) -> bool:
    return ctype.removeprefix("const ").strip() == "char"


def _placed(decl: str) -> tuple[str, str, str | None]:
    """Type, name and what stands in brackets of ``unsigned long args[6]``; no name where it is no declaration.

    From the end, step by step: as a regular expression that looks for the type's end it takes the square of the length.
    """
    count = None
    if decl.endswith("]"):
        decl, _, count = decl[:-1].rpartition("[")
    at = len(decl)
    while at and (decl[at - 1].isalnum() or decl[at - 1] == "_"):
        at -= 1
    return decl[:at].rstrip(), decl[at:], count


def _field(decl: str, offset: int, size: int, signed: bool, long_size: int) -> Field | None:
    dynamic = _DYNAMIC.match(decl)
    if dynamic and size == 4:
        kind, ctype, name = dynamic.groups()
        item = _item_width(ctype, long_size)
        return Field(name, f"__{kind} {ctype}[]", offset, size, signed, kind, item, 0, _is_char(ctype))
    ctype, name, count = _placed(decl)
    if not name:
        return None
    if size == 0:  # older kernels write `char buf` without brackets
        return Field(name, f"{ctype}[]", offset, 0, signed, "tail", _item_width(ctype, long_size), 0, _is_char(ctype))
    if count is None and size in (1, 2, 4, 8):
        return Field(name, ctype, offset, size, signed, "int", size, 1)
    if count is not None and _is_char(ctype):
        return Field(name, f"{ctype}[{size}]", offset, size, signed, "string", 1, size, True)
    number = int(count) if count and count.isdigit() else 0
    item = size // number if number and size % number == 0 else _item_width(ctype, long_size)
    if count is None or item not in (1, 2, 4, 8) or size % item:  # a struct in place
        item = 1
    return Field(name, f"{ctype}[{size // item}]", offset, size, signed, "array", item, size // item)


@dataclass(frozen=True, slots=True)
class ParsedFormat:
    """A format file's content. ``common`` are the fields all records share."""

    name: str
    raw_id: int
    common: tuple[Field, ...]
    fields: tuple[Field, ...]
    print_fmt: str

    def as_event(self, index: int, system: str) -> EventFormat:
        """With its place in a catalogue."""
        return EventFormat(index, self.raw_id, system, self.name, self.fields, self.print_fmt)

    def layout(self, *, big: bool, long_size: int) -> RecordLayout:
        """Where the common fields lie."""
        at = {f.name: f.offset for f in self.common}
        return RecordLayout(big, long_size, at.get("common_type", 0), at.get("common_flags", 2),
                            at.get("common_preempt_count", 3), at.get("common_pid", 4))  # fmt: skip


def parse_format(text: str, long_size: int = 8) -> ParsedFormat | None:
    """The event that a format text describes; None where it has no usable name or id."""
    name = re.search(r"^name:\s*(\S{1,256})", text, re.MULTILINE)
    number = re.search(r"^ID:\s*(\d{1,9})\b", text, re.MULTILINE)
    if not name or not number or int(number[1]) > 0xFFFF:
        return None
    head, _, print_fmt = text.partition("print fmt:")
    common: list[Field] = []
    own: list[Field] = []
    for found in islice(_FIELD.finditer(head), _LIMIT):
        signed = found["signed"] not in (None, "0")
        size, offset = int(found["size"]), int(found["offset"])
        if offset > 0xFFFF or size > 0xFFFF:
            continue
        parsed = _field(" ".join(found["decl"].split()), offset, size, signed, long_size)
        if parsed is None:
            continue
        (common if parsed.name.startswith("common_") else own).append(parsed)
    return ParsedFormat(name[1], int(number[1]), tuple(common), tuple(own), print_fmt.strip())
