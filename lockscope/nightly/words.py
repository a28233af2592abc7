"""Words of a night that its summary, page and plots share: one line a finding, one line a trend."""

from __future__ import annotations

from collections.abc import Sequence

from lockscope.nightly.lifecycle import Life, State
from lockscope.nightly.night import Night
from lockscope.nightly.trends import Trend
from lockscope.units import count, duration

_NAMED = 5


def plural(number: int, one: str, many: str = "") -> str:
    """``1 trace``, ``1,200 traces``."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def some(words: Sequence[str], named: int = _NAMED) -> str:
    """``a, b, c and 7 more``."""
    if len(words) <= named:
        return ", ".join(words)
    return f"{', '.join(words[: named - 1])} and {count(len(words) - named + 1)} more"


def times_slower(ratio: float) -> str:
    """``2.1x``, ``12x``."""
    return f"{ratio:.1f}x" if ratio < 10 else f"{ratio:.0f}x"


def trend_line(trend: Trend) -> str:
    """``&kvm->mmu_lock: 99th percentile hold 2.1x (120 us -> 250 us) on 3 of 10 hosts: n02, n05, n07``."""
    change = trend.change
    span = f"{duration(round(change.before_ns))} -> {duration(round(change.after_ns))}"
    since = f", for {change.nights} nights now" if change.nights > 1 else ""
    hosts = f"on {change_hosts(trend)}"
    return f"{trend.name}: 99th percentile {trend.metric} {times_slower(change.ratio)} ({span}) {hosts}{since}"


def change_hosts(trend: Trend) -> str:
    """``3 of 10 hosts: a, b, c``; the host's name where there is only one."""
    if trend.change.of == 1:
        return trend.hosts[0]
    return f"{len(trend.hosts)} of {plural(trend.change.of, 'host')}: {some(trend.hosts)}"


def subject(life: Life) -> str:
    """The locks a finding is about, outermost first; its title where it names none."""
    classes = life.row["classes"]
    if not classes:
        return str(life.row["title"])
    if life.row["code"] == "LS101":
        return " -> ".join((*classes, classes[0]))
    return " -> ".join(classes)


def finding_line(life: Life) -> str:
    """``LS101 error: possible circular locking dependency ...: A -> B -> A, on a, b``."""
    row = life.row
    named = f": {subject(life)}" if row["classes"] else ""
    return f"{row['code']} {row['severity']}: {row['title']}{named} {where(life)}"


def where(life: Life) -> str:
    """On which hosts it was seen last; where the sides of a merged ring were."""
    if life.cross:
        message: str = life.row["message"]
        return f"(seen on {message.rpartition('seen on ')[2].rstrip('.')})"
    return f"on {some(life.hosts)}"


def headline(night: Night) -> str:
    """The first line of every report: what a person must look at, or that there is nothing."""
    new, back = night.of(State.NEW), night.of(State.BACK)
    loud = [life for life in (*new, *back) if life.row["severity"] != "info"]
    parts = [plural(len(loud), "new finding")] if loud else []
    if night.slower:
        parts.append(plural(len({t.name for t in night.slower}), "lock") + " slower than before")
    if night.broken:
        parts.append(plural(len(night.broken), "file") + " without a verdict")
    return "; ".join(parts) if parts else "nothing new"
