"""The busiest and the slowest locks: a sortable table, with the distribution of holds; and the longest of all."""

from __future__ import annotations

from lockscope.drawing.palette import lock_color
from lockscope.drawing.scales import short
from lockscope.report.output import is_notice, ordered
from lockscope.report.page import _sections, _svg
from lockscope.report.page._card import anchor
from lockscope.report.page._locks import FOLDED, SHOWN, in_order, lock_anchor
from lockscope.report.page._sections import Part
from lockscope.report.page_shell import esc, table
from lockscope.results.findings import Report
from lockscope.results.page_data import LockNumbers, Longest, PageData
from lockscope.units import count, duration, seconds

ORDER, TITLE, NAV = 40, "Busiest and slowest locks", "locks"
_HEAD = ("lock", "#taken", "#waited for", "#total wait", "#p99 wait", "#longest wait", "#total hold", "#p99 hold",
         "#longest hold", "holds")  # fmt: skip


def made(report: Report, beside: str) -> Part | None:
    """A table a trace with statistics."""
    html, files = [], {}
    for index, shown in enumerate(report.page_data):
        if not shown.locks:
            continue
        if len(report.page_data) > 1:
            html.append(f"<h3>{esc(report.traces[index].path)}</h3>")
        locks = in_order(shown)
        most = max((k.hold_ns for k in locks), default=1) or 1
        found = _found(report, index)
        html.append(table(_HEAD, (_row(k, index, most, found) for k in locks[:SHOWN]), sortable=True))
        if len(locks) > SHOWN:
            rest = table(_HEAD, (_row(k, index, most, found) for k in locks[SHOWN : SHOWN + FOLDED]), sortable=True)
            number = min(len(locks) - SHOWN, FOLDED)
            html.append(f"<details><summary>{count(number)} more classes</summary>{rest}</details>")
            file = f"lock_classes_{index}.csv"
            files[file] = _csv(locks)
            what = f"All {count(len(locks))} classes"
            html.append(_sections.more(beside, file, what, "lockscope export --table lock_classes -o DIR TRACE"))
        html.append(_longest(shown))
    lead = (
        "KVM's locks first, then by how long tasks waited for them. A column's head sorts by it. The last "
        "column is the distribution of holds, 1 ns to 100 s, logarithmic."
    )
    return Part("".join(html), lead, files) if html else None


def _found(report: Report, trace: int) -> dict[str, list[str]]:
    links: dict[str, list[str]] = {}
    for finding in ordered(report.findings):
        if finding.trace == trace and not is_notice(finding.code):
            for name in dict.fromkeys(finding.classes):
                links.setdefault(name, []).append(f'<a href="#{esc(anchor(finding))}">{esc(finding.code)}</a>')
    return links


def _row(k: LockNumbers, trace: int, most: int, found: dict[str, list[str]]) -> str:
    def time(ns: int, part: float = 0) -> str:
        share = f' style="--part:{part:.0%}"' if part >= 0.005 else ""
        kind = "n share" if share else "n"
        return f'<td class="{kind}" data-value="{ns}"{share}>{duration(ns) if ns else "–"}</td>'

    after = [*(["<i>KVM</i>"] if k.kvm else []), *found.get(k.name, [])[:4]]
    return (
        f'<tr data-search id="{esc(lock_anchor(trace, k.label))}"><td class="lock" title="{esc(k.label)}">'
        f"{_swatch(k.name)}{esc(short(k.label, 32))} {' '.join(after)}</td>"
        f'<td class="n" data-value="{k.acquired}">{count(k.acquired)}</td>'
        f'<td class="n" data-value="{k.contended}">{count(k.contended) if k.contended else "–"}</td>'
        f"{time(k.wait_ns)}{time(k.wait_q[2])}{time(k.wait_max_ns)}"
        f"{time(k.hold_ns, k.hold_ns / most)}{time(k.hold_q[2])}{time(k.hold_max_ns)}<td>{_spark(k)}</td></tr>"
    )


def _swatch(name: str) -> str:
    return f'<span class="swatch" style="background:{lock_color(name)}"></span>'


def _spark(k: LockNumbers) -> str:
    """The distribution of holds, small."""
    top = max(k.hold_bins, default=0)
    if not top:
        return ""
    wide = 132 / len(k.hold_bins)
    bars = "".join(
        _svg.rect(i * wide, 20 - max(n / top * 18, 1.5), max(wide - 0.4, 0.6), max(n / top * 18, 1.5),
                  f' fill="{lock_color(k.name)}"')
        for i, n in enumerate(k.hold_bins) if n
    )  # fmt: skip
    words = f"holds of {k.label}: half below {duration(k.hold_q[0])}, 99% below {duration(k.hold_q[2])}"
    return (
        f'<svg viewBox="0 0 132 20" width="132" height="20" role="img" aria-label="{esc(words)}">'
        f"<title>{esc(words)}</title>{bars}{_svg.line(0, 20, 132, 20)}</svg>"
    )


def _longest(shown: PageData) -> str:
    out = []
    for what, title in (("wait", "The longest waits"), ("hold", "The longest holds")):
        rows = [_one(one) for one in shown.longest if one.what == what]
        if rows:
            out.append(
                f"<h3>{title}</h3>" + table(("lock", "#how long", "at (s)", "CPU", "task", "asked for in"), rows)
            )
    return "".join(out)


def _one(one: Longest) -> str:
    return (
        f'<tr data-search><td class="lock">{_swatch(one.name)}{esc(short(one.name, 44))}</td>'
        f'<td class="n">{duration(one.ns)}</td><td class="t">{seconds(one.ts_ns)}</td>'
        f'<td>{one.cpu}</td><td class="mono">{esc(one.comm)}/{one.pid}</td><td class="mono">{esc(one.caller)}</td></tr>'
    )


def _csv(locks: list[LockNumbers]) -> str:
    return _sections.as_csv(
        ("class", "kvm", "acquired", "contended", "wait_ns", "wait_p50_ns", "wait_p90_ns", "wait_p99_ns", "wait_max_ns",
         "hold_ns", "hold_p50_ns", "hold_p90_ns", "hold_p99_ns", "hold_max_ns"),
        (
            (k.label, int(k.kvm), k.acquired, k.contended, k.wait_ns, *k.wait_q, k.wait_max_ns, k.hold_ns, *k.hold_q,
             k.hold_max_ns)
            for k in locks
        ),
    )  # fmt: skip
