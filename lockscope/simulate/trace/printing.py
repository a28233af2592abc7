"""Print events as the kernel does: the ``print fmt`` of an event, applied to its fields.

A small part of C is enough for the formats of ``catalogue``: printf's conversions, fields, numbers, strings,
``?:``, ``&&``, ``==``, ``&``, ``-``, ``__get_str`` and ``__print_flags``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Values = Mapping[str, Any]
Printer = Callable[[Values], str]
_Part = Callable[[Values], Any]

_WORD = re.compile(
    r'\s*(?:"((?:[^"\\]|\\.)*)"|(0x[0-9a-fA-F]+|\d+)|REC->(\w+)(?:\[(\d+)\])?|(\w+)|(&&|==|[?:&(){},-]))'
)
_CONVERSION = re.compile(r"%(#?)(0?)(\d*)(?:ll|l|L)?([duxpsc])")
_64 = (1 << 64) - 1


class _Parser:
    """Recursive descent, from the loosest operator to the tightest."""

    def __init__(self, text: str) -> None:
        self.words = list(_WORD.finditer(text))
        self.at = 0

    def peek(self) -> str:
        return self.words[self.at][6] or "" if self.at < len(self.words) else ""

    def accept(self, sign: str) -> bool:
        if self.peek() != sign:
            return False
        self.at += 1
        return True

    def ternary(self) -> _Part:
        condition = self.both()
        if not self.accept("?"):
            return condition
        yes = self.ternary()
        self.accept(":")
        no = self.ternary()
        return lambda v: yes(v) if condition(v) else no(v)

    def both(self) -> _Part:
        left = self.equal()
        while self.accept("&&"):
            left = _and(left, self.equal())
        return left

    def equal(self) -> _Part:
        left = self.masked()
        while self.accept("=="):
            left = _equal(left, self.masked())
        return left

    def masked(self) -> _Part:
        left = self.difference()
        while self.accept("&"):
            left = _mask(left, self.difference())
        return left

    def difference(self) -> _Part:
        left = self.primary()
        while self.accept("-"):
            left = _minus(left, self.primary())
        return left

    def primary(self) -> _Part:
        if self.accept("-"):
            inner = self.primary()
            return lambda v: -inner(v)
        if self.accept("("):
            inner = self.ternary()
            self.accept(")")
            return inner
        word = self.words[self.at]
        self.at += 1
        text, number, name, index, function, _ = word.groups()
        if text is not None:
            return _constant(text.replace('\\"', '"'))
        if number is not None:
            return _constant(int(number, 0))
        if name is not None:
            place = None if index is None else int(index)
            return lambda v: v[name] if place is None else v[name][place]
        if function == "__get_str":
            self.accept("(")
            field = self.words[self.at][5]
            self.at += 1
            self.accept(")")
            return lambda v: v[field]
        return self.flags()

    def flags(self) -> _Part:
        self.accept("(")
        value = self.ternary()
        self.accept(",")
        between = self.ternary()
        bits: list[tuple[_Part, _Part]] = []
        while self.accept(","):
            self.accept("{")
            bit = self.ternary()
            self.accept(",")
            bits.append((bit, self.ternary()))
            self.accept("}")
        self.accept(")")
        return lambda v: _flags(value(v), between(v), [(b(v), n(v)) for b, n in bits])


def _constant(value: Any) -> _Part:
    return lambda _: value


def _and(a: _Part, b: _Part) -> _Part:
    return lambda v: a(v) and b(v)


def _equal(a: _Part, b: _Part) -> _Part:
    return lambda v: a(v) == b(v)


def _mask(a: _Part, b: _Part) -> _Part:
    return lambda v: a(v) & b(v)


def _minus(a: _Part, b: _Part) -> _Part:
    return lambda v: a(v) - b(v)


def _flags(value: int, between: str, bits: list[tuple[int, str]]) -> str:
    named = [name for bit, name in bits if value & bit]
    rest = value & ~sum(bit for bit, _ in bits)
    return between.join([*named, *([f"{rest:#x}"] if rest else [])])


def printer(print_fmt: str) -> Printer:
    """What prints an event: takes its fields by name (integers as they are, text as ``str``)."""
    parser = _Parser(print_fmt)
    template = parser.words[0][1].replace('\\"', '"')
    parser.at = 1
    parts: list[_Part] = []
    while parser.accept(","):
        parts.append(parser.ternary())
    kinds: list[tuple[str, str, str, str]] = _CONVERSION.findall(template)
    pieces = _CONVERSION.split(template)[::5]

    def show(v: Values) -> str:
        said = [_one(how, part(v)) for how, part in zip(kinds, parts, strict=True)]
        return "".join(x for pair in zip(pieces, [*said, ""], strict=True) for x in pair)

    return show


def _one(how: tuple[str, str, str, str], value: Any) -> str:
    alternate, zero, width, kind = how
    if kind == "s":
        text = str(value)
    elif kind == "p":
        text = f"{value & _64:#x}"
    elif kind == "x":
        text = f"{value & _64:#x}" if alternate else f"{value & _64:x}"
    else:
        text = str(int(value))
    if not width:
        return text
    if zero and text.startswith("0x"):
        return "0x" + text[2:].rjust(int(width) - 2, "0")
    return text.rjust(int(width), "0" if zero else " ")
