"""Parse an event's ``format`` file: name, id, fields with offset, size and sign, print format.

The syntax is that of ``events/SYSTEM/EVENT/format`` in tracefs (kernel/trace/trace_events.c, f_show(), v6.12).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lockscope.tables.events import EventFormat, Field, RecordLayout

_FIELD = re.compile(r"field:(?P<decl>[^;]*);\s*offset:(?P<offset>\d+);\s*size:(?P<size>\d+);(?:\s*signed:(?P<signed>-?\d+);)?")
_ARRAY = re.compile(r"^(?P<head>.*?)\s*(?P<name>\w+)\s*\[(?P<count>[^\]]*)\]$")
_CHARS = ("char", "u8", "unsigned char", "signed char", "const char")
_WIDTHS = {"char": 1, "u8": 1, "s8": 1, "bool": 1, "u16": 2, "s16": 2, "short": 2, "u32": 4, "s32": 4, "int": 4,
           "u64": 8, "s64": 8, "long long": 8, "unsigned": 4, "pid_t": 4, "__u8": 1, "__u16": 2, "__u32": 4, "__u64": 8,
           "uint8_t": 1, "uint16_t": 2, "uint32_t": 4, "uint64_t": 8}  # fmt: skip
_LIMIT = 4096  # no event of any kernel has so many fields; a hostile file may claim to


def _item_width(ctype: str, long_size: int) -> int:
    plain = re.sub(r"\b(const|unsigned|signed|struct|volatile)\b", "", ctype).strip() or "unsigned"
    if plain.endswith("*") or plain in ("long", "size_t", "ulong"):
        return long_size
    return _WIDTHS.get(plain, 0)


def _field(decl: str, offset: int, size: int, signed: bool, long_size: int) -> Field:
    dynamic = re.match(r"^(__data_loc|__rel_loc)\s+(.*)$", decl)
    array = _ARRAY.match(dynamic.group(2) if dynamic else decl)
    if dynamic:
        body = dynamic.group(2)
        ctype, name = (array["head"].strip(), array["name"]) if array else body.rsplit(None, 1) if " " in body else ("", body)
        text = ctype.replace("const ", "").strip() in _CHARS[:1]
        item = long_size if "cpumask" in ctype else _item_width(ctype, long_size) or 1
        return Field(name, f"{dynamic.group(1)} {ctype}[]", offset, size, signed, dynamic.group(1)[2:], item, 0, text)
    if array:
        ctype, name = array["head"].strip(), array["name"]
        if size == 0:
            return Field(name, f"{ctype}[]", offset, 0, signed, "tail", _item_width(ctype, long_size) or 1, 0,
                         ctype.replace("const ", "") == "char")  # fmt: skip
        if ctype.replace("const ", "") == "char":
            return Field(name, f"{ctype}[{size}]", offset, size, signed, "string", 1, size, True)
        number = int(array["count"]) if array["count"].isdigit() else 0
        item = size // number if number and size % number == 0 else _item_width(ctype, long_size) or 1
        if item not in (1, 2, 4, 8):
            item = 1
        return Field(name, f"{ctype}[{size // item}]", offset, size, signed, "array", item, size // item)
    ctype, _, name = decl.rpartition(" ")
    if name.startswith("*"):
        ctype, name = f"{ctype} *", name.lstrip("*")
    if size not in (1, 2, 4, 8):  # a struct in place
        return Field(name, ctype, offset, size, False, "array", 1, size)
    return Field(name, ctype, offset, size, signed, "int", size, 1)


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
    name = re.search(r"^name:\s*(\S+)", text, re.MULTILINE)
    number = re.search(r"^ID:\s*(\d+)", text, re.MULTILINE)
    if not name or not number or int(number[1]) > 0xFFFF:
        return None
    head, _, print_fmt = text.partition("print fmt:")
    common, own = [], []
    for found in list(_FIELD.finditer(head))[:_LIMIT]:
        signed = found["signed"] not in (None, "0")
        size, offset = int(found["size"]), int(found["offset"])
        if offset > 0xFFFF or size > 0xFFFF:
            continue
        parsed = _field(" ".join(found["decl"].split()), offset, size, signed, long_size)
        (common if parsed.name.startswith("common_") else own).append(parsed)
    return ParsedFormat(name[1], int(number[1]), tuple(common), tuple(own), print_fmt.strip())
