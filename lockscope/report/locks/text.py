"""Statistics of locks as a table for a person, and chains of waits as indented sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from lockscope.harmless import printable
from lockscope.report.lines import fit
from lockscope.report.locks.output import percent
from lockscope.report.locks.perf_lock import perf_lock
from lockscope.results.lock_stats import LockFigures, LockRow, Times, WaitChains, WaitLink
from lockscope.units import address, count, duration, seconds

LOCKS = "text"
write_perf = perf_lock
_NAME = 48  # a longer name shifts its own line only


def write_locks(figures: LockFigures, stream: TextIO, width: int | None = None) -> None:
    """Write statistics; ``width``: of a terminal, in columns, which fewer columns of numbers fit in."""
    names = len(figures.columns) + 1
    rows = [_heads(figures), *(_cells(figures, row) for row in figures.rows)]
    left_out: list[str] = []
    while width is not None and _wide(rows, names) > width and len(left_out) < len(_FIRST_TO_GO):
        gone = rows[0].index(_FIRST_TO_GO[len(left_out)].format(_last(figures)))
        left_out.append(rows[0][gone])
        rows = [[*row[:gone], *row[gone + 1 :]] for row in rows]
    for line in _table(figures, rows, width):
        stream.write(f"{line}\n")
    if left_out:
        left_out = fit(f"not shown on so narrow a terminal: {', '.join(left_out)}", width)
        stream.write("\n" + "\n".join(left_out) + "\n")
    for line in _remarks(figures):
        for part in fit(line, width):
            stream.write(f"{part}\n")


_FIRST_TO_GO = ("wait {}", "wait avg", "hold {}", "hold avg", "wait max", "hold total", "contended")


def _last(figures: LockFigures) -> str:
    return percent(figures.percents[-1]) if figures.percents else "max"


def _heads(figures: LockFigures) -> list[str]:
    spread = [f"{what} {how}" for what in ("wait", "hold") for how in ("total", "avg", _last(figures), "max")]
    return [*figures.columns, "mode", "acquired", "contended", *spread]


def _wide(rows: list[list[str]], names: int) -> int:
    cut = [_NAME if i < names else 1000 for i in range(len(rows[0]))]
    return sum(min(max(len(row[i]) for row in rows), cut[i]) + 2 for i in range(len(rows[0]))) - 2


def _table(figures: LockFigures, table: list[list[str]], width: int | None) -> Iterator[str]:
    heads, *rows = table
    texts = len(figures.columns) + 1
    numbers = [isinstance(value, int) for value in figures.rows[0].names] if rows else []
    left = [not n for n in numbers] + [True] if rows else [True] * texts
    wide = [
        min(max(len(r[i]) for r in [heads, *rows]), _NAME) if i < texts else max(len(r[i]) for r in [heads, *rows])
        for i in range(len(heads))
    ]
    if width is not None:  # the first name gives way
        wide[0] = max(wide[0] - max(sum(wide) + 2 * len(wide) - 2 - width, 0), 12)
    for found in [heads, *rows]:
        cells = list(found)
        if width is not None and len(cells[0]) > wide[0]:
            cells[0] = cells[0][: wide[0] - 3] + "..."
        shown = [
            cell.ljust(room) if i < texts and left[i] else cell.rjust(room)
            for i, (cell, room) in enumerate(zip(cells, wide, strict=True))
        ]
        yield "  ".join(shown).rstrip()


def _cells(figures: LockFigures, row: LockRow) -> list[str]:
    unknown = ["?" if column == "caller" else "" for column in figures.columns]
    names = [printable(str(value)) or none for value, none in zip(row.names, unknown, strict=True)]
    return [*names, row.mode, count(row.acquired), count(row.contended), *_spread(row.wait), *_spread(row.hold)]


def _spread(times: Times) -> list[str]:
    if not times.number:
        return ["-"] * 4
    last = times.percentiles_ns[-1] if times.percentiles_ns else times.max_ns
    return [duration(t) for t in (times.total_ns, times.average_ns, last, times.max_ns)]


def _remarks(figures: LockFigures) -> Iterator[str]:
    yield ""
    if len(figures.rows) < figures.groups:
        yield f"{count(len(figures.rows))} of {count(figures.groups)} groups shown"
    span = f"{seconds(figures.start_ns)} .. {seconds(figures.end_ns)}"
    yield f"{printable(figures.path)}: {span} ({duration(figures.end_ns - figures.start_ns)})"
    broken = figures.cut + figures.orphans
    if broken:
        share = f"{100 * broken / (figures.acquired + figures.orphans):.2f} %"
        ends = f"{count(figures.cut)} taken and not seen released, {count(figures.orphans)} released and not seen taken"
        yield f"not whole: {share}: {ends}"
    if figures.lost_events != 0:
        lost = "an unknown number of" if figures.lost_events is None else count(figures.lost_events)
        yield f"lost: {lost} events; what was held across a gap is not counted in full"
    for note in figures.notes:
        yield f"note: {printable(note)}"


def write_chains(chains: WaitChains, stream: TextIO) -> None:
    """Write chains of waits."""
    for link in chains.links:
        if link.depth == 0 and link.chain:
            stream.write("\n")
        for line in _link(link):
            stream.write(f"{line}\n")
    shown = len({link.chain for link in chains.links})
    stream.write(
        f"\n{printable(chains.path)}: {count(shown)} of {count(chains.waits)} waits explained, longest first\n"
    )
    for note in chains.notes:
        stream.write(f"note: {printable(note)}\n")


def _link(link: WaitLink) -> Iterator[str]:
    indent = "  " * link.depth
    lasted = duration(link.end_ns - link.begin_ns)
    who = f"{printable(link.comm)}/{link.pid}"
    lock = f"{printable(link.name)} ({address(link.lock)}{', read' if link.mode == 'read' else ''})"
    at = f" at {printable(link.caller)}" if link.caller else ""
    if link.depth == 0:
        yield f"{who} waited {lasted} for {lock}{at}"
        yield f"  [{seconds(link.begin_ns)} .. {seconds(link.end_ns)}] CPU {link.cpu}"
    else:
        yield f"{indent}which waited {lasted} for {lock}{at} [{seconds(link.begin_ns)}]"
    if link.owner_pid < 0:
        yield f"{indent}  held by nobody that was seen to release it meanwhile"
        return
    owner = f"{printable(link.owner_comm)}/{link.owner_pid}"
    others = f", the longest of {count(link.owners)} owners" if link.owners > 1 else ""
    if not link.owner_mode:
        at = f", at {printable(link.owner_caller)}" if link.owner_caller else ""
        yield f"{indent}  released by {owner} after {duration(link.owned_ns)} of it{others}{at}"
        return
    mode = " for read" if link.owner_mode == "read" else ""
    taken = f", taken at {printable(link.owner_caller)}" if link.owner_caller else ""
    held = f"held{mode} by {owner} for {duration(link.owned_ns)} of it{others}"
    yield f"{indent}  {held}, since {seconds(link.owner_since_ns)}{taken}"
