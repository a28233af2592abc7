"""``name=value`` pairs: arguments of probes, ``trace-cmd report -R``, the tracefs option ``fields``.

A value's kind (``shapes.KINDS``) comes from the event's known fields, else from its look: hex with 0x, 16 hex
digits (``%p``), decimal, and else text. Hex digits without 0x and not 16 of them are only known for what they are if a
letter is among them: that is how libtraceevent's -R prints what the kernel prints with ``%llx`` (event-parse.c,
print_field(), 1.8), so unknown events' numbers of that kind are right only where the file's own formats are at hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from lockscope.formats.text.shapes import KINDS, Kind, Value

Columns = list[tuple[str, str, Value]]  # field, kind, value as the kind reads it

LONG_MASK = (1 << 64) - 1
IS_ARGUMENTS = re.compile(rb"[A-Za-z_]\w{0,63}=")
_KEY = re.compile(rb"(?:^|[ ,]\s{0,8})([A-Za-z_]\w{0,63})=")
_NUMBER = re.compile(
    rb"(?P<hex>0x[0-9a-f]{1,16})(?: \(-?\d+\))?|(?P<dec>-?\d{1,20})(?: \[\w+\])?|(?:'.')?\((?P<byte>\d{1,3})\)"
    rb"|(?P<bare>[0-9a-f]{16}|(?=[0-9a-f]*\d)(?=\d*[a-f])[0-9a-f]{2,15})"
)
_HEX = re.compile(rb"(?:0x)?([0-9a-f]{1,16})(?: \(-?\d+\))?")
_ADDRESS = re.compile(rb"(?:.*<)?(?:0x)?([0-9a-f]{8,16})>?")  # "ffffffff81181324"; with sym-addr "f+0x4/0x10 <...>"
_BYTES = re.compile(rb"(?:[0-9a-f]{2})*")
_TEXT_FIELDS = ("name", "comm", "filename", "msg", "action", "text")


def longs(values: Sequence[int]) -> bytes:
    """64-bit little-endian integers."""
    return b"".join((value & LONG_MASK).to_bytes(8, "little") for value in values)


def raw_bytes(text: bytes) -> bytes:
    """``ARRAY[6f, ef, ...]`` of ``trace-cmd report -R``: the field's bytes in memory order."""
    inner = text[6:].rstrip(b"]").replace(b", ", b"").replace(b" ", b"")
    return bytes.fromhex(inner.decode()) if _BYTES.fullmatch(inner) else b""


def raw_longs(text: bytes) -> bytes:
    """The same of an array of longs, as ``longs``. That a file is big-endian shows in numbers that are too large."""
    raw = raw_bytes(text)
    places = range(0, len(raw) // 8 * 8, 8)
    little = [int.from_bytes(raw[i : i + 8], "little") for i in places]
    big = [int.from_bytes(raw[i : i + 8], "big") for i in places]
    absurd = [sum(value >> 56 not in (0, 0xFF) for value in numbers) for numbers in (little, big)]
    return longs(big if absurd[1] < absurd[0] else little)


def address_or_symbol(field: str, text: bytes) -> tuple[str, str, Value]:
    """A code address as number, or as the symbol that was printed in its place."""
    number = _ADDRESS.fullmatch(text)
    return (field, "x64", int(number[1], 16)) if number else (field, "str", text)


def _unquoted(text: bytes) -> bytes:
    return text[1:-1] if len(text) > 1 and text[:1] == b'"' == text[-1:] else text


def _mask(kind: str) -> int:
    return (1 << 8 * KINDS[kind].size) - 1


def _plain(kind: Kind) -> str:
    """The integer kind that is stored as this one is."""
    return f"{'s' if kind.signed else 'u'}{8 * kind.size}"


def _value(field: str, text: bytes, kind: str | None) -> tuple[str, str, Value]:
    if field.startswith("__probe"):
        return address_or_symbol(field, text)
    if text.startswith(b"ARRAY["):
        if kind in ("args", "longs"):
            return field, kind, raw_longs(text)[:48].ljust(48, b"\0") if kind == "args" else raw_longs(text)
        return field, "str" if kind else "bytes", raw_bytes(text)
    how = KINDS[kind].how if kind else "int"
    hexadecimal = _HEX.fullmatch(text) if kind and how == "int" and (kind[0] == "x" or kind == "ptr") else None
    if kind and hexadecimal:
        return field, "x64" if kind == "ptr" else kind, int(hexadecimal[1], 16) & _mask(kind)
    number = None if how != "int" or (kind is None and field.endswith(_TEXT_FIELDS)) else _NUMBER.fullmatch(text)
    if number is None:
        return field, "str", _unquoted(text)
    digits = number["hex"] or number["bare"]
    value = int(digits, 16) if digits else int(number["dec"] or number["byte"])
    if kind is None:
        return field, "x64" if digits else "s64" if value < 1 << 63 else "u64", value & LONG_MASK
    return field, kind if kind[1:].isdigit() else _plain(KINDS[kind]), value & _mask(kind)


def _keys(text: bytes, kinds: Mapping[str, str]) -> Iterator[tuple[str, int, int]]:
    """Each key with where it and its value begin. A known text ends only at a known key: it may hold any other."""
    in_text = False
    for found in _KEY.finditer(text):
        field = found[1].decode()
        kind = kinds.get(field)
        if in_text and kind is None:
            continue
        in_text = kind is not None and KINDS[kind].how == "data_loc"
        yield field, found.start(), found.end()


def arguments(text: bytes, kinds: Mapping[str, str]) -> Columns | None:
    """The pairs that ``text`` is made of, those of known fields by their ``kinds``; None where it is not."""
    found: Columns = []
    keys = list(_keys(text, kinds))
    if (text and (not keys or keys[0][1])) or len({key[0] for key in keys}) < len(keys):
        return None
    ends = [key[1] for key in keys[1:]] + [len(text)]
    for (field, _, begin), end in zip(keys, ends, strict=False):
        found.append(_value(field, text[begin:end].rstrip(b" ,"), kinds.get(field)))
    return found
