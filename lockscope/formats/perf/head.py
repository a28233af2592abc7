"""The head of a perf.data: of a file, from its header and feature sections; of a pipe, from its first records."""

from __future__ import annotations

import io

from lockscope.core.perf_records import COMPRESSED, COMPRESSED2, SAMPLE
from lockscope.errors import FormatError
from lockscope.formats.files.bytes import Cursor
from lockscope.formats.perf import layout
from lockscope.formats.perf.layout import Attr, Head
from lockscope.formats.perf.source import Opened
from lockscope.formats.trace_dat.head import read_section
from lockscope.formats.trace_dat.layout import CMDLINES, MOST_PAGE, SECTIONS
from lockscope.formats.trace_dat.layout import MAGIC as TRACING_MAGIC
from lockscope.formats.trace_dat.layout import Head as TracingHead
from lockscope.units import byte_order

_KILLED = "it was cut, or perf record was killed before it could write the end of the file"
_DAMAGED = "the file is truncated or damaged"


def read_head(opened: Opened) -> Head:
    """The head. Raises ``FormatError`` where no sample could be read without what is missing."""
    path = opened.path
    raw = _read(opened.at(0), layout.HEADER_SIZE)
    if len(raw) < layout.PIPE_HEADER_SIZE or raw[:8] not in (layout.MAGIC, layout.SWAPPED):
        raise FormatError(path, "offset 0x0", "not a perf.data file of version 2")
    big = _is_big(raw)
    size = int.from_bytes(raw[8:16], byte_order(big))
    head = Head(path, big, size == layout.PIPE_HEADER_SIZE)
    if opened.length is not None:
        _read_file_head(head, Cursor(raw, path, big=big), opened, opened.length)
    _read_first_records(head, io.BufferedReader(opened.at(head.data_at), 1 << 16))
    if not head.attrs:
        raise FormatError(path, "", "no event is described in it", _KILLED)
    return head


def _read(file: io.BufferedIOBase | io.RawIOBase, size: int) -> bytes:
    parts = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _is_big(raw: bytes) -> bool:
    # The magic is a number in the recorder's byte order: 'PERFILE2' as bytes is what a little-endian one writes.
    return raw[:8] == layout.SWAPPED


def _read_file_head(head: Head, c: Cursor, opened: Opened, length: int) -> None:
    c.take(16, "the magic")
    attr_size = c.number(8, "the size of an event's description")
    attrs_at, attrs_size = c.number(8, "the events' offset"), c.number(8, "the events' size")
    head.data_at, head.data_size = c.number(8, "the data's offset"), c.number(8, "the data's size")
    c.take(16, "the event types")
    features = [word * 64 + bit for word in range(4) for bits in (c.number(8, "the features"),) for bit in range(64)
                if bits >> bit & 1]  # fmt: skip
    if not 64 + 16 <= attr_size <= 4096 or attrs_size // attr_size > layout.MOST_ATTRS:
        raise c.fail(f"{attrs_size} bytes of events of {attr_size} each are impossible", _DAMAGED)
    if head.data_at > length:
        raise c.fail(f"the data's offset {head.data_at:#x} lies beyond the end of the file", _KILLED)
    _read_attrs(head, opened, attrs_at, attrs_size // attr_size, attr_size)
    if not head.data_size and not _is_empty(head, opened, len(features)):
        head.data_size = length - head.data_at
        head.cut = True
        head.note("the size of the data was never written: perf record was killed")
        return
    table_at = head.data_at + head.data_size
    head.cut = head.data_size > length - head.data_at
    head.data_size = min(head.data_size, length - head.data_at)
    for number, feature in enumerate(features):
        try:
            entry = _at(head, opened, table_at + 16 * number, 16, "the table of features")
            at, size = entry.number(8, "a feature's offset"), entry.number(8, "its size")
            if at and size:
                read_feature(head, feature, _at(head, opened, at, size, f"feature {feature}"))
        except FormatError as broken:
            head.note(f"feature {feature} can't be read: {broken.wanted}")


def _is_empty(head: Head, opened: Opened, features: int) -> bool:
    """Whether the features follow at once: nothing was recorded. Else the size was never written."""
    raw = _read(opened.at(head.data_at), 8)
    return features > 0 and int.from_bytes(raw, byte_order(head.big)) == head.data_at + 16 * features


def _at(head: Head, opened: Opened, at: int, size: int, what: str) -> Cursor:
    if size > layout.MOST_FEATURE or at >= 1 << 62:
        raise FormatError(head.path, f"offset {at:#x}", f"{size} bytes of {what} are impossible", _DAMAGED)
    raw = _read(opened.at(at), size)
    if len(raw) < size:
        raise FormatError(head.path, f"offset {at:#x}", f"wanted {size} bytes of {what}, found {len(raw)}", _DAMAGED)
    return Cursor(raw, head.path, big=head.big, base=at)


def _read_attrs(head: Head, opened: Opened, at: int, count: int, size: int) -> None:
    c = _at(head, opened, at, count * size, "the events")
    total = 0
    for _ in range(count):
        attr = Attr.parse(c.take(size - 16, "an event"), big=head.big)
        ids_at, ids_size = c.number(8, "the offset of its ids"), c.number(8, "their size")
        total += ids_size // 8
        if total > min(layout.MOST_IDS, opened.length // 8 if opened.length is not None else layout.MOST_IDS):
            raise c.fail(f"{total} event ids are impossible", _DAMAGED)
        if ids_size:
            ids = _at(head, opened, ids_at, ids_size // 8 * 8, "an event's ids")
            attr.ids = [ids.number(8, "an id") for _ in range(ids_size // 8)]
        head.attrs.append(attr)


def read_feature(head: Head, feature: int, c: Cursor) -> None:
    """One feature section, or the record that stands for it in a pipe."""
    if feature == layout.TRACING_DATA:
        head.tracing = read_tracing(c)
    elif feature == layout.BUILD_ID:
        _read_build_ids(head, c)
    elif feature == layout.HOSTNAME:
        head.host = _string(c, "the host's name")
    elif feature == layout.OSRELEASE:
        head.release = _string(c, "the kernel's release")
    elif feature == layout.VERSION:
        head.writer = f"perf {_string(c, 'the version of perf')}"
    elif feature == layout.ARCH:
        head.machine = _string(c, "the architecture")
    elif feature == layout.NRCPUS:
        c.number(4, "the number of CPUs that are online")
        # A possible CPU may be offline: streams are made for those with samples.
        head.cpus = min(c.number(4, "the number of CPUs"), 8192)
    elif feature == layout.EVENT_DESC:
        _read_names(head, c)
    elif feature == layout.CLOCK_DATA:
        c.take(8, "the clock's version and id")
        head.clock_ns = c.number(8, "the wall clock"), c.number(8, "the events' clock")


def _string(c: Cursor, what: str) -> str:
    raw = c.take(c.number(4, f"the size of {what}"), what)
    return raw.split(b"\0")[0].decode("utf-8", "replace")


def _read_names(head: Head, c: Cursor) -> None:
    count, size = c.number(4, "the number of events"), c.number(4, "the size of one")
    by_id = {a.ids[0]: a for a in head.attrs if a.ids}
    for i in range(min(count, layout.MOST_ATTRS)):
        c.take(size, "an event")
        ids = c.number(4, "the number of its ids")
        name = _string(c, "an event's name")
        first = c.number(8, "an id") if ids else None
        c.take(8 * max(ids - 1, 0), "its ids")
        attr = by_id.get(first) if first is not None else (head.attrs[i] if i < len(head.attrs) else None)
        if attr is not None:
            attr.name = name


def _read_build_ids(head: Head, c: Cursor) -> None:
    # struct perf_record_header_build_id: header, pid, 24 bytes of id (of which the 21st is its size), file name.
    while c.left >= 36:
        c.take(6, "a build id's type")
        size = c.number(2, "a build id's size")
        if size < 36:
            return
        _add_build_id(head, c.take(size - 8, "a build id"))


def _add_build_id(head: Head, body: bytes) -> None:
    name = body[28:].split(b"\0")[0]
    if name in (b"[kernel.kallsyms]", b"[kernel.vmlinux]") or b"vmlinu" in name:
        size = body[24] if 0 < body[24] <= 20 else 20
        head.kernel.build_id = body[4 : 4 + size].hex()


def read_tracing(c: Cursor) -> TracingHead:
    """The tracing data: the layout of a trace.dat's head (tools/perf/util/trace-event-info.c, v6.12)."""
    if c.take(len(TRACING_MAGIC), "the magic of the tracing data") != TRACING_MAGIC:
        raise c.fail("wanted tracing data", _DAMAGED)
    version = c.text("the version of the tracing data", 16)
    c.big = c.number(1, "the byte order") == 1
    long_size, page_size = c.number(1, "the word size"), c.number(4, "the page size")
    if not 512 <= page_size <= MOST_PAGE:
        raise c.fail(f"page size {page_size} is impossible", _DAMAGED)
    found = TracingHead(c.path, 6, c.big, 4 if long_size == 4 else 8, page_size)
    for number in SECTIONS:
        if number != CMDLINES or version >= "0.6":
            try:
                read_section(found, number, c)
            except FormatError as broken:
                found.notes.append(f"the tracing data is damaged from {broken.where} on: {broken.wanted}")
                break
    return found


def _read_first_records(head: Head, file: io.BufferedReader) -> None:
    """What stands in front of the first sample: in a pipe the whole head, in a file the kernel's place and comms."""
    at = head.data_at
    order = byte_order(head.big)
    limit = at + layout.MOST_STARTING
    end = limit if head.pipe else head.data_at + head.data_size
    while at < min(limit, end):
        raw = file.read(8)
        if len(raw) < 8:
            return
        kind, misc, size = (int.from_bytes(raw[a:b], order) for a, b in ((0, 4), (4, 6), (6, 8)))
        if size < 8 or kind in (SAMPLE, COMPRESSED, COMPRESSED2):
            return
        c = Cursor(file.read(size - 8), head.path, big=head.big, base=at + 8)
        if c.left < size - 8:
            return
        try:
            at += size + _read_record(head, kind, misc, c, file)
        except FormatError as broken:
            if head.pipe and kind in (layout.HEADER_ATTR, layout.HEADER_TRACING_DATA):
                raise
            head.note(f"{broken.where}: {broken.wanted}")
            at += size


def _read_record(head: Head, kind: int, misc: int, c: Cursor, file: io.BufferedReader) -> int:
    """One of the first records; returns how many bytes behind it belong to it."""
    if kind == layout.HEADER_TRACING_DATA:
        size = c.number(4, "the size of the tracing data")
        padded = size + 7 & ~7
        if padded > layout.MOST_FEATURE:
            raise c.fail(f"{size} bytes of tracing data are impossible", _DAMAGED)
        raw = file.read(padded)
        head.tracing = read_tracing(Cursor(raw[:size], head.path, big=head.big, base=c.base + len(c.data)))
        return padded
    if kind == layout.HEADER_ATTR:
        _read_attr_record(head, c)
    elif kind == layout.EVENT_UPDATE:
        _read_update(head, c)
    elif kind == layout.HEADER_FEATURE:
        feature = c.number(8, "a feature's number")
        if feature != layout.TRACING_DATA:
            read_feature(head, feature, c)
    elif kind == layout.HEADER_BUILD_ID:
        _add_build_id(head, c.data)
    elif kind == layout.COMM:
        pid, comm = read_comm(c.data, big=head.big)
        head.comms[pid] = comm
    elif kind in (layout.MMAP, layout.MMAP2):
        _read_map(head, kind, misc, c)
    return 0


def read_comm(body: bytes, *, big: bool) -> tuple[int, str]:
    """Task and name of a COMM record, without its header."""
    return int.from_bytes(body[4:8], byte_order(big)), body[8:].split(b"\0")[0].decode("utf-8", "replace")


def _read_attr_record(head: Head, c: Cursor) -> None:
    size = int.from_bytes(c.data[4:8], byte_order(head.big))
    if not 64 <= size <= c.left:
        raise c.fail(f"an event of {size} bytes is impossible", _DAMAGED)
    if len(head.attrs) >= layout.MOST_ATTRS:
        raise c.fail(f"more than {layout.MOST_ATTRS} events", _DAMAGED)
    attr = Attr.parse(c.take(size, "an event"), big=head.big)
    attr.ids = [c.number(8, "an id") for _ in range(c.left // 8)]
    head.attrs.append(attr)


def _read_update(head: Head, c: Cursor) -> None:
    kind, ident = c.number(8, "an update's type"), c.number(8, "an id")
    if kind == 2:  # PERF_EVENT_UPDATE__NAME
        for attr in head.attrs:
            if ident in attr.ids:
                attr.name = c.take(c.left, "a name").split(b"\0")[0].decode("utf-8", "replace")


def _read_map(head: Head, kind: int, misc: int, c: Cursor) -> None:
    """A map of the host's kernel: where its reference symbol lies, or a module."""
    if misc & 7 != 1:  # PERF_RECORD_MISC_KERNEL
        return
    c.take(8, "pid and tid")
    start = c.number(8, "a map's start")
    c.number(8, "its size")
    reference = c.number(8, "its offset")
    if kind == layout.MMAP2:
        c.take(32, "what MMAP2 has more")
    name = c.data[c.pos :].split(b"\0")[0].decode("utf-8", "replace")
    if name.startswith("[kernel.kallsyms]"):
        head.kernel.symbol, head.kernel.address = name.removeprefix("[kernel.kallsyms]"), reference
    elif name.startswith("[") and name.endswith("]"):
        head.modules[name[1:-1]] = start
