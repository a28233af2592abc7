"""The night as one HTML file that opens offline: what is new first, then trends, hosts and coverage."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

import numpy as np

from lockscope.nightly.figures._base import Figure
from lockscope.nightly.lifecycle import LOUD, Life, State
from lockscope.nightly.night import HostNight, Night
from lockscope.nightly.trends import METRICS, Trend
from lockscope.nightly.words import (
    change_hosts,
    finding_line,
    headline,
    plural,
    some,
    subject,
    times_slower,
    trend_line,
)
from lockscope.report.page_shell import Section, chip, copyable, esc, facts, page, table
from lockscope.units import count, duration

MOST_CARDS, MOST_ROWS = 200, 400
_KIND = {
    State.NEW: "error",
    State.BACK: "error",
    State.KNOWN: "unknown",
    State.FLAPPING: "warning",
    State.FIXED: "good",
    State.ABSENT: "",
    State.UNJUDGED: "skipped",
}


def as_html(night: Night, pictures: Sequence[tuple[str, Figure, bytes]]) -> str:
    """The whole page. ``pictures``: name, figure and PNG."""
    shown = {name: _picture(figure, png) for name, figure, png in pictures}
    sections = [
        Section("findings", "Findings", "findings", _findings(night, shown)),
        Section("trends", "Waits and holds", "waits and holds", _trends(night, shown), _TRENDS_LEAD),
        Section("hosts", "Hosts", "hosts", shown.get("hosts", "") + _hosts(night)),
        Section("coverage", "Coverage and losses", "coverage", _coverage(night, shown)),
    ]
    title = f"{night.night}: {headline(night)}"
    return page(title, _top(night), sections, brand="lockscope nightly", foot=_FOOT)


_TRENDS_LEAD = (
    "The 99th percentile of each lock on each host is compared with the same host&#x27;s nights before. How it is"
    " judged, and how often that is wrong, is in docs/nightly.md."
)
_FOOT = "<p>Made by lockscope. The history is a Parquet data set: any reader of Parquet opens it.</p>"


def _picture(figure: Figure, png: bytes) -> str:
    data = base64.b64encode(png).decode("ascii")
    alt = esc(f"{figure.TITLE}. {figure.CAPTION}")
    return (
        f'<figure><img class="drawn" src="data:image/png;base64,{data}" alt="{alt}" style="max-width:100%;height:auto;'
        f'border-radius:8px"><figcaption>{esc(figure.CAPTION)}</figcaption></figure>'
    )


def _top(night: Night) -> str:
    loud = [life for life in night.new if life.row["severity"] != "info"]
    kind = "violation" if loud else "unknown" if night.slower or night.broken else "clean"
    items = [finding_line(life) for life in loud[:6]] + [trend_line(t) for t in night.slower[:6]]
    more = len(loud) + len(night.slower) - len(items)
    rest = f"<li>and {count(more)} more below</li>" if more > 0 else ""
    listed = "".join(f"<li>{esc(text)}</li>" for text in items)
    whole = [t for t in night.traces if not t["error"]]
    lossy = sum(t["lost_events"] != 0 for t in whole)
    grid = facts((
        ("traces", f"{count(len(whole))} of {plural(len(night.hosts), 'host')}"),
        ("events", count(sum(t["events"] for t in whole))),
        ("without a verdict", chip(count(len(night.broken)), "warning" if night.broken else "good")),
        ("traces with losses", chip(count(lossy), "warning" if lossy else "good")),
        ("kernels", esc(some(sorted({t["kernel"] for t in whole if t["kernel"]})) or "not named")),
        ("nights compared", count(len(night.nights))),
    ))  # fmt: skip
    return (
        f"<h1>Night {esc(night.night)}</h1>"
        f'<div class="verdict {kind}" role="status"><div><strong>{esc(headline(night))}</strong>'
        f"<ul>{listed}{rest}</ul></div></div>{grid}"
    )


def _findings(night: Night, shown: dict[str, str]) -> str:
    lives = [life for life in night.lives if life.state is not State.GONE]
    parts = [shown.get("findings", "")]
    numbers = [(state, sum(life.state is state for life in lives)) for state in State]
    chips = "".join(f"<li>{chip(f'{count(n)} {state}', _KIND[state])}</li>" for state, n in numbers if n)
    parts.append(f'<ul class="chips">{chips}</ul>' if chips else "<p>None, in any night.</p>")
    if lives:
        buttons = "".join(
            f'<button type="button" data-severity="{s}" aria-pressed="false">{s}</button>'
            for s in ("error", "warning", "info")
        )
        parts.append(
            f'<div class="tools">{buttons}<button type="button" id="open-all">open all</button>'
            '<button type="button" id="close-all">close all</button><span class="count" id="shown"></span></div>'
        )
    parts += [_card(life) for life in lives[:MOST_CARDS]]
    if len(lives) > MOST_CARDS:
        parts.append(f'<p class="dim">{count(len(lives) - MOST_CARDS)} more are in the history</p>')
    if night.suppressed:
        rows = [
            f"<tr><td>{esc(s.row['code'])}</td><td>{esc(subject(s))}</td><td>{esc(s.reason)}</td></tr>"
            for s in night.suppressed
        ]
        parts.append("<h3>Suppressed</h3>" + table(("code", "locks", "reason"), rows))
    return "".join(parts)


def _card(life: Life) -> str:
    row = life.row
    opened = " open" if life.state in LOUD and row["severity"] != "info" else ""
    place = "across traces" if life.cross else some(life.hosts)
    return (
        f'<details class="card {esc(row["severity"])}" data-severity="{esc(row["severity"])}"'
        f' id="f-{esc(row["fingerprint"])}"{opened}><summary>{chip(row["code"], "code " + row["severity"])}'
        f'{chip(life.state, _KIND[life.state])}<span class="what"><b>{esc(row["title"])}</b>'
        f'<span class="locks mono">{esc(subject(life)) if row["classes"] else ""}</span></span>'
        f'<span class="seen">{esc(place)}</span></summary><div>{_body(life)}</div></details>'
    )


def _body(life: Life) -> str:
    row = life.row
    nights = f"{life.seen} of {plural(life.judged, 'night')} that could show it, first {life.first}, last {life.last}"
    pairs = [
        ("seen", esc(nights)),
        ("sides" if life.cross else "tonight" if life.state in (*LOUD, State.KNOWN, State.FLAPPING) else "last",
         esc(f"seen {plural(life.count, 'time')}"
             + ("" if life.cross else f" in {plural(life.traces, 'trace')} of {some(life.hosts)}"))),
        ("kernel", esc(row["kernel"] or "not named")),
        ("confidence", esc(row["confidence"])),
        ("trace", f"<code>{esc(row['path'])}</code>"),
        ("fingerprint", f"<code>{esc(row['fingerprint'])}</code>"),
    ]  # fmt: skip
    if row["rule"]:
        pairs.insert(3, ("rule", f"<code>{esc(row['rule'])}</code><br>{esc(row['source'])}"))
    meta = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in pairs)
    story = f"<h3>In lockdep's words</h3>{copyable(row['story'])}" if row["story"] else ""
    suppress = f'[[suppress]]\nfingerprint = "{row["fingerprint"]}"\nreason = ""'
    return f'<p>{esc(row["message"])}</p><dl class="meta">{meta}</dl>{story}<h3>To suppress it</h3>{copyable(suppress)}'


def _trends(night: Night, shown: dict[str, str]) -> str:
    parts = [shown.get("slower", "")]
    for title, found in (("Slower", night.slower), ("Faster", night.faster)):
        if found:
            parts.append(f"<h3>{title} ({len(found)})</h3>" + _trend_table(found))
    if not night.slower and not night.faster:
        parts.append("<p>No lock changed by more than noise explains.</p>")
    parts.append(shown.get("holds", ""))
    parts.append(_locks(night))
    return "".join(parts)


def _trend_table(found: Sequence[Trend]) -> str:
    rows = []
    for trend in found:
        change = trend.change
        rows.append(
            f'<tr data-search><td class="lock">{esc(trend.name)}</td><td>{esc(METRICS[trend.metric])}</td>'
            f'<td class="n">{times_slower(change.ratio)}</td>'
            f'<td class="n">{duration(round(change.before_ns))}</td>'
            f'<td class="n">{duration(round(change.after_ns))}</td>'
            f'<td>{esc(change_hosts(trend))}</td><td class="n">{change.nights}</td>'
            f'<td class="n">{change.chance:.1g}</td></tr>'
        )
    return table(("lock", "99th percentile of", "#ratio", "#before", "#now", "hosts", "#nights", "#chance"), rows)


def _locks(night: Night) -> str:
    """Every lock of tonight: the median host's 99th percentile, and that of the nights before."""
    series = night.series
    rows: list[tuple[bool, float, str]] = []
    for place, name in enumerate(series.names):
        cells: list[str] = []
        weight = 0.0
        for metric in METRICS:
            values, number = series.values[metric][place], series.counts[metric][place]
            now, before = _median_ns(values[:, -1:]), _median_ns(values[:, :-1])
            weight = max(weight, now or 0.0)
            cells.append(f'<td class="n">{count(int(number[:, -1].sum()))}</td>')
            cells += [
                f'<td class="n" data-value="{v or 0:.0f}">{duration(round(v)) if v else ""}</td>' for v in (now, before)
            ]
        if weight:
            tag = " <i>KVM</i>" if series.kvm[place] else ""
            rows.append(
                (
                    series.kvm[place],
                    weight,
                    f'<tr data-search><td class="lock">{esc(name)}{tag}</td>{"".join(cells)}</tr>',
                )
            )
    if not rows:
        return '<p class="dim">No lock was held often enough tonight to have a 99th percentile.</p>'
    rows.sort(key=lambda r: (not r[0], -r[1]))
    head = ("lock", "#holds", "#p99 hold", "#before", "#contended", "#p99 wait", "#before")
    more = f'<p class="dim">{count(len(rows) - MOST_ROWS)} more are in the history</p>' if len(rows) > MOST_ROWS else ""
    return (
        f"<h3>All locks of tonight ({count(len(rows))})</h3>"
        + table(head, [r for *_, r in rows[:MOST_ROWS]], sortable=True)
        + more
    )


def _median_ns(values: np.ndarray) -> float | None:
    there = values[np.isfinite(values)]
    return float(2 ** np.median(there)) if len(there) else None


def _hosts(night: Night) -> str:
    rows = [_host(h) for h in night.hosts[:MOST_ROWS]]
    head = (
        "host",
        "kernel",
        "#traces",
        "#events",
        "#new",
        "#findings",
        "#slower locks",
        "#all locks",
        "#no verdict",
        "#lost",
    )
    return table(head, rows, sortable=True) if rows else "<p>No trace was looked at.</p>"


def _host(h: HostNight) -> str:
    lost = "unknown" if h.lost is None else count(h.lost)
    slower = "" if h.slower is None else times_slower(h.slower)
    numbers = (
        count(h.traces),
        count(h.events),
        count(h.new),
        count(h.findings),
        count(h.trends),
        slower,
        count(h.broken),
        lost,
    )
    cells = "".join(f'<td class="n">{esc(n)}</td>' for n in numbers)
    return f"<tr data-search><td>{esc(h.name)}</td><td>{esc(some(h.kernels, 2))}</td>{cells}</tr>"


def _coverage(night: Night, shown: dict[str, str]) -> str:
    parts = [shown.get("coverage", "")]
    skipped = [(code, why) for code, why in sorted(night.reasons.items()) if why]
    if skipped:
        rows = [f"<tr><td>{esc(code)}</td><td>{esc(why)}</td></tr>" for code, why in skipped]
        parts.append(
            "<h3>Why a check could not be judged</h3>"
            + table(("check", "reason, where it was the most frequent"), rows)
        )
    if night.broken:
        rows = [
            f'<tr><td>{esc(t["host"])}</td><td class="mono">{esc(t["error"])}</td></tr>'
            for t in night.broken[:MOST_ROWS]
        ]
        parts.append("<h3>Files without a verdict</h3>" + table(("host", "what is wrong"), rows))
    parts.append("<h3>Losses</h3>")
    losses = list(_losses(night))
    parts.append(
        table(("host", "CPU", "kind", "#events", "what to do about it"), losses)
        if losses
        else "<p>No events were lost.</p>"
    )
    return "".join(parts)


def _losses(night: Night) -> Iterator[str]:
    for row in night.losses[:MOST_ROWS]:
        cpu = "" if row["cpu"] < 0 else row["cpu"]
        number = "unknown" if row["count"] is None else count(row["count"])
        yield (
            f"<tr><td>{esc(row['host'])}</td><td>{cpu}</td><td>{esc(row['kind'])}</td>"
            f'<td class="n">{number}</td><td>{esc(row["remedy"])}</td></tr>'
        )
