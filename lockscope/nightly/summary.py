"""The night in a few lines, for mail and chat: what is new comes first, what is as it was comes as a number."""

from __future__ import annotations

from collections.abc import Iterator

from lockscope.harmless import printable
from lockscope.nightly.lifecycle import State
from lockscope.nightly.night import Night
from lockscope.nightly.words import finding_line, headline, plural, some, subject, times_slower, trend_line
from lockscope.units import count

MOST = 10  # lines of one kind; the report has them all


def lines(night: Night) -> Iterator[tuple[str, str]]:
    """(kind, text): "head", "item" of what is to be looked at, "title" of a section, "line" in it. Each is one line."""
    yield from ((kind, printable(text)) for kind, text in _lines(night))


def _lines(night: Night) -> Iterator[tuple[str, str]]:
    yield "head", f"lockscope nightly {night.night}: {headline(night)}"
    yield from _loud(night)
    yield "title", "Findings"
    yield from _findings(night)
    yield "title", "Waits and holds"
    yield from _trends(night)
    yield "title", "Hosts, coverage, losses"
    yield from _coverage(night)


def _most(texts: list[str], what: str, most: int = MOST) -> Iterator[str]:
    yield from texts[:most]
    if len(texts) > most:
        yield f"and {plural(len(texts) - most, 'more ' + what, 'more ' + what + 's')}: see the report"


def _loud(night: Night) -> Iterator[tuple[str, str]]:
    loud = [life for life in night.new if life.row["severity"] != "info"]
    most = MOST // 2 if night.slower else MOST  # a slower lock is not to be looked for below
    word = {State.NEW: "NEW", State.BACK: "BACK (was fixed)"}
    for text in _most([f"{word[life.state]} {finding_line(life)}" for life in loud], "new finding", most):
        yield "item", text
    for text in _most([f"SLOWER {trend_line(t)}" for t in night.slower], "slower lock"):
        yield "item", text
    for text in _most([f"NO VERDICT {t['error']}" for t in night.broken], "file"):
        yield "item", text


def _findings(night: Night) -> Iterator[tuple[str, str]]:
    numbers = [(state, night.of(state)) for state in State if state is not State.GONE]
    told = ", ".join(f"{count(len(found))} {state}" for state, found in numbers if found)
    yield "line", told or "none, in any night"
    for state in (State.FIXED, State.FLAPPING):
        for life in night.of(state)[:MOST]:
            seen = f"seen in {life.seen} of {plural(life.judged, 'night')} that could show it, last {life.last}"
            yield "line", f"{state}: {life.row['code']} {subject(life)}: {seen}"
    notices = [life for life in night.new if life.row["severity"] == "info"]
    for life in notices[:MOST]:
        yield "line", f"for information: {finding_line(life)}"
    if night.suppressed:
        reasons = some(sorted({s.reason for s in night.suppressed}), 3)
        yield "line", f"{plural(len(night.suppressed), 'finding')} suppressed: {reasons}"


def _trends(night: Night) -> Iterator[tuple[str, str]]:
    if night.faster:
        for text in _most([f"faster: {trend_line(t)}" for t in night.faster], "faster lock"):
            yield "line", text
    yield "line", _compared(night) if len(night.nights) > 1 else "no earlier night to compare with"


def _compared(night: Night) -> str:
    held = night.series.values["hold"]
    locks = int((held[:, :, -1] == held[:, :, -1]).any(axis=1).sum())
    before = len(night.nights) - 1
    return f"{plural(locks, 'lock')} compared with the {plural(before, 'night')} before"


def _coverage(night: Night) -> Iterator[tuple[str, str]]:
    whole = [t for t in night.traces if not t["error"]]
    events = sum(t["events"] for t in whole)
    yield (
        "line",
        f"{plural(len(whole), 'trace')} of {plural(len(night.hosts), 'host')}, {count(events)} events"
        + (f"; {plural(len(night.broken), 'file')} without a verdict" if night.broken else ""),
    )
    worst = [h for h in night.hosts if h.findings or h.trends or h.broken][:3]
    if worst and len(night.hosts) > 1:
        yield "line", "worst hosts: " + "; ".join(f"{h.name} ({_host(h.findings, h.trends, h.broken)})" for h in worst)
    busy = sorted((h for h in night.hosts if h.slower is not None and h.slower >= 1.25), key=lambda h: -(h.slower or 0))
    if busy:
        yield "line", "all locks slower on " + some([f"{h.name} ({times_slower(h.slower or 0)})" for h in busy])
    skipped = sorted(c for c, s in night.checks.items() if s["skipped"] == s.total())
    if skipped:
        yield "line", f"not judged on any trace: {some(skipped, 8)}"
    lossy = [t for t in whole if t["lost_events"] != 0]
    if lossy:
        lost = sum(t["lost_events"] or 0 for t in lossy)
        unknown = " or more" if any(t["lost_events"] is None for t in lossy) else ""
        hosts = some(sorted({t["host"] for t in lossy}))
        yield "line", f"events lost in {plural(len(lossy), 'trace')} ({count(lost)}{unknown}) on {hosts}"
    else:
        yield "line", "no events lost"


def _host(findings: int, slower: int, broken: int) -> str:
    parts = [plural(findings, "finding")] if findings else []
    parts += [plural(slower, "slower lock")] if slower else []
    parts += [plural(broken, "file") + " without a verdict"] if broken else []
    return ", ".join(parts)


def as_text(night: Night) -> str:
    """Plain text."""
    out = []
    for kind, text in lines(night):
        if kind == "title":
            out += ["", f"{text}:"]
        else:
            out.append({"head": "", "item": "! ", "line": "  "}[kind] + text)
    return "\n".join(out) + "\n"


def as_markdown(night: Night) -> str:
    """Markdown: names of locks and files are code, so that nothing in them is taken for markup."""
    out: list[str] = []
    for kind, text in lines(night):
        if kind == "head":
            out.append(f"## {escaped(text)}\n")
        elif kind == "title":
            out += ["", f"**{text}**", ""]
        else:
            out.append(f"- {'**' if kind == 'item' else ''}{escaped(text)}{'**' if kind == 'item' else ''}")
    return "\n".join(out) + "\n"


_MARKUP = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>#|~"} | {"&": "&amp;"})


def escaped(text: str) -> str:
    """Text in which Markdown sees no markup."""
    return text.translate(_MARKUP)
