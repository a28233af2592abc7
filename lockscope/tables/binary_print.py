"""The text of marker events: print (text), bputs (a pointer to it), bprint (a format's pointer and packed arguments).

Packing: vbin_printf() in lib/vsprintf.c, v6.12: integers at their width, aligned to it (8-byte ones to 4), strings in
place with their NUL. Formats: the file's printk section, lines ``0xADDRESS : "format"``.
"""

from __future__ import annotations

import re

from lockscope.tables.events import EventBatch, EventFormat
from lockscope.tables.symbols import Symbols
from lockscope.units import ByteOrder, byte_order

_LINE = re.compile(rb'^(0x[0-9a-fA-F]+)\s*:\s*"(.*)"\s*$', re.MULTILINE)
_SPEC = re.compile(
    r"%(?P<flags>[-+ #0]*)(?P<width>\d+|\*)?(?:\.(?P<precision>\d+|\*))?(?P<size>hh|h|ll|l|L|z|t|j)?(?P<conv>[a-zA-Z%])"
)
_WIDTH = {"hh": 1, "h": 2, "ll": 8, "L": 8, "j": 8}
_EXTENDED = re.compile(r"[a-zA-Z0-9]*")


class PrintFormats:
    """Formats and constant strings of the kernel by address, and the symbols that ``%ps`` and ``%pS`` stand for."""

    def __init__(self, section: bytes, symbols: Symbols) -> None:
        self.symbols = symbols
        self._by_address = {
            int(a, 16): t.decode("utf-8", "replace").replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"')
            for a, t in _LINE.findall(section)
        }

    def text(self, address: int) -> str:
        """The text at an address, or the address."""
        known: str = self._by_address.get(address, f"{address:#x}")
        return known

    def pointer(self, address: int, extension: str) -> str:
        """A ``%p`` with what follows it: ``s`` the symbol, ``S`` with its offset; anything else as the address."""
        symbol = self.symbols.name(address) if extension[:1] in ("s", "S", "f", "F", "B") else None
        if symbol is None:
            return f"{address:#x}"
        return symbol if extension[0] in "SF" else symbol.split("+")[0]


def render(batch: EventBatch, row: int, fmt: EventFormat, formats: PrintFormats) -> str:
    """The text of one marker event. What the record lacks is left out, never guessed."""
    begin, size = int(batch.at[row]), int(batch.size[row])
    raw = bytes(batch.data[begin : begin + size])
    order = byte_order(batch.layout.big)

    def number(name: str) -> int:
        field = fmt.field(name)
        return int.from_bytes(raw[field.offset : field.offset + field.size], order) if field else 0

    buf = fmt.field("buf")
    if fmt.name == "bputs":
        return formats.text(number("str"))
    if fmt.name == "bprint" and buf:
        text = formats.text(number("fmt"))
        return _Arguments(raw[buf.offset :], batch.layout.long_size, order, text, formats).rendered()
    if buf is None:
        return ""
    if buf.kind == "data_loc":
        word = int.from_bytes(raw[buf.offset : buf.offset + 4], order)
        raw = raw[word & 0xFFFF :][: word >> 16]
    else:
        raw = raw[buf.offset :]
    return raw.split(b"\0")[0].decode("utf-8", "replace")


class _Arguments:
    def __init__(self, raw: bytes, long_size: int, order: ByteOrder, text: str, formats: PrintFormats) -> None:
        self.raw, self.long_size, self.order, self.text, self.formats, self.pos = (
            raw,
            long_size,
            order,
            text,
            formats,
            0,
        )

    def rendered(self) -> str:
        out, last = [], 0
        for spec in _SPEC.finditer(self.text):
            if spec.start() < last:
                continue
            out.append(self.text[last : spec.start()])
            last = spec.end()
            if spec["conv"] == "p":
                extension = _EXTENDED.match(self.text, last)
                last = extension.end() if extension else last
                out.append(
                    self.formats.pointer(self._integer(self.long_size, False), extension[0] if extension else "")
                )
            else:
                out.append(self._one(spec))
        out.append(self.text[last:])
        return "".join(out)

    def _one(self, spec: re.Match[str]) -> str:
        conv = spec["conv"]
        if conv == "%":
            return "%"
        width = self._integer(4, True) if spec["width"] == "*" else int(spec["width"] or 0)
        if spec["precision"] == "*":
            self._integer(4, True)
        if conv == "s":
            text = self._string()
        elif conv == "c":
            text = chr(self._integer(1, False))
        elif conv in "diuxXo":
            size = self.long_size if spec["size"] in ("l", "z", "t") else _WIDTH.get(spec["size"] or "", 4)
            value = self._integer(size, conv in "di")
            text = format(value, {"x": "x", "X": "X", "o": "o"}.get(conv, "d"))
            if "#" in spec["flags"] and conv in "xX":
                text = "0x" + text
            if "0" in spec["flags"]:
                text = text.zfill(min(width, 256))
        else:
            text = ""
        return text.ljust(min(width, 256)) if "-" in spec["flags"] else text.rjust(min(width, 256))

    def _integer(self, size: int, signed: bool) -> int:
        align = min(size, 4)
        self.pos = (self.pos + align - 1) // align * align
        raw = self.raw[self.pos : self.pos + size]
        self.pos += size
        return int.from_bytes(raw, self.order, signed=signed)

    def _string(self) -> str:
        end = self.raw.find(b"\0", self.pos)
        end = len(self.raw) if end < 0 else end
        text = self.raw[self.pos : end].decode("utf-8", "replace")
        self.pos = end + 1
        return text
