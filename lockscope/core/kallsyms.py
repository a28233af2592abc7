"""The lines of /proc/kallsyms: where each symbol is, and where its name and its module's lie in the text."""

from __future__ import annotations

from lockscope.core.c_types import Bytes, Grid, inline, loop

S_ADDRESS, S_NAME, S_NAME_END, S_MODULE, S_MODULE_END, S_WIDTH = range(6)
_SPACE, _TAB, _NEWLINE, _OPEN, _CLOSE, _QUESTION = 32, 9, 10, 91, 93, 63


@inline
def hex_of(c: int) -> int:
    """The value of a hexadecimal digit; -1 of anything else."""
    if 48 <= c <= 57:
        return c - 48
    c |= 32
    return c - 87 if 97 <= c <= 102 else -1


@inline
def is_space(c: int) -> bool:
    """Whether a byte is white space to a regular expression."""
    return c == _SPACE or 9 <= c <= 13


@loop
def symbols(text: Bytes, out: Grid) -> int:
    """A row for each line of the form ``ADDRESS TYPE NAME [MODULE]``, the rest of it whatever it is; return how many.

    Without a module S_MODULE is S_MODULE_END. Lines of other forms, and what finds no room, are left out.
    """
    size, at, n = len(text), 0, 0
    while at < size and n < len(out):
        pos, address, digits = at, 0, 0
        while pos < size and digits < 16 and hex_of(text[pos]) >= 0:
            address = address << 4 | hex_of(text[pos])
            pos += 1
            digits += 1
        fits = digits > 0 and pos + 3 < size and text[pos] == _SPACE and text[pos + 2] == _SPACE
        if fits:
            kind = text[pos + 1]
            fits = kind == _QUESTION or 97 <= (kind | 32) <= 122
            pos += 3
        name = pos
        while fits and pos < size and not is_space(text[pos]):
            pos += 1
        if fits and pos > name:
            out[n, S_ADDRESS], out[n, S_NAME], out[n, S_NAME_END] = address, name, pos
            out[n, S_MODULE], out[n, S_MODULE_END] = 0, 0
            while pos < size and (text[pos] == _SPACE or text[pos] == _TAB):
                pos += 1
            if pos > out[n, S_NAME_END] and pos < size and text[pos] == _OPEN:
                module = pos + 1
                while pos < size and not is_space(text[pos]):
                    pos += 1
                while pos > module + 1 and text[pos - 1] != _CLOSE:
                    pos -= 1
                if pos > module + 1:
                    out[n, S_MODULE], out[n, S_MODULE_END] = module, pos - 1
            n += 1
        while pos < size and text[pos] != _NEWLINE:
            pos += 1
        at = pos + 1
    return n
