"""A night's report fit to be shared: hosts, paths, tasks and addresses replaced. The history itself keeps them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from lockscope.nightly.lifecycle import Life
from lockscope.nightly.night import Night
from lockscope.nightly.tables import Row
from lockscope.nightly.trends import Trend
from lockscope.report.redaction.pseudonyms import Redactor

# Columns of the history's rows that stay as they are: codes, numbers and times are no texts, or are the kernel's words.
_KEPT = frozenset({
    "night", "fingerprint", "code", "check", "severity", "confidence", "rule", "kernel", "format", "clock", "version",
    "verdict", "status", "kind", "remedy",
})  # fmt: skip
_LEFT_OUT = frozenset({"digest", "stamp", "buffer", "window", "suspect"})
# "qemu/12 [1.000002, CPU 0]", "tasks: qemu/12 on CPU 1, ..."
_STORY_TASK = re.compile(r"(?:^\s*|[:,] +)(\S.{0,15}?)/(\d+)(?= \[\d| on CPU)")
_BEFORE_PID = re.compile(r"([^\s/]*\s*/*)/\d+(?![\w/])")
_PSEUDONYM = re.compile(r"\W*(?:task\d+|<idle>|<\.\.\.>)")


def redacted(night: Night) -> Night:
    """The same night without what ``Redactor`` hides. The same host has the same pseudonym all over the report."""
    red = Redactor()
    for name in sorted(_hosts(night)):
        red.host(name)
    for row in (*night.traces, *(life.row for life in (*night.lives, *night.suppressed))):
        red.path(row.get("path") or "")
        comm, _, pid = (row.get("task") or "").rpartition("/")
        if comm and pid.isdigit():
            red.task(comm)
            red.pid(int(pid))
        for line in (row.get("story") or "").split("\n"):
            red.learn(line)
            for name, number in _STORY_TASK.findall(line):
                red.task(name)
                red.pid(int(number))

    def trends(found: list[Trend]) -> list[Trend]:
        return [replace(t, name=red.addresses(t.name), hosts=_named(red, t.hosts)) for t in found]

    series = replace(
        night.series,
        hosts=list(_named(red, night.series.hosts)),
        names=[red.addresses(name) for name in night.series.names],
    )
    return replace(
        night,
        traces=[_row(row, red) for row in night.traces],
        lives=[_life(life, red) for life in night.lives],
        suppressed=[_life(life, red) for life in night.suppressed],
        slower=trends(night.slower),
        faster=trends(night.faster),
        series=series,
        hosts=[replace(host, name=red.host(host.name)) for host in night.hosts],
        reasons={code: red.text(reason) for code, reason in night.reasons.items()},
        losses=[_row(row, red) for row in night.losses],
    )


def _hosts(night: Night) -> Iterator[str]:
    yield from (host.name for host in night.hosts)
    yield from night.series.hosts
    for row in (*night.traces, *night.losses):
        yield row["host"]
    for life in (*night.lives, *night.suppressed):
        yield from life.hosts
        yield life.row["host"]


def _named(red: Redactor, hosts: Iterable[str]) -> tuple[str, ...]:
    return tuple(red.host(host) for host in hosts)


def _life(life: Life, red: Redactor) -> Life:
    return replace(life, row=_row(life.row, red), hosts=_named(red, life.hosts), reason=red.text(life.reason))


def _row(row: Row, red: Redactor) -> Row:
    """A row of the history; a column that is not known here goes through ``Redactor.text``, or is left out."""
    return {name: _value(name, value, red) for name, value in row.items()}


def _value(name: str, value: object, red: Redactor) -> object:
    if name in _KEPT or value is None or isinstance(value, (int, float)):
        return value
    if name in _LEFT_OUT:
        # A digest tells whoever has the trace which one it was; that there is none has a meaning of its own.
        return "" if not value or not isinstance(value, str) else "left out"
    if name == "classes" and isinstance(value, list):
        return [red.addresses(item) for item in value]
    if isinstance(value, list):
        return [red.value(item, name) for item in value]
    if name == "host":
        return red.host(str(value))
    if name == "task":
        return red.value(str(value), "task")
    if name == "path":
        return red.path(str(value))
    return "\n".join(_line(red.text(line)) for line in str(value).split("\n"))


def _line(line: str) -> str:
    """A line of a story, unless it still names a task: the history knows only the first witness's for sure."""
    left = any(not _PSEUDONYM.fullmatch(name) for name in _BEFORE_PID.findall(line))
    return "(left out: it names a task)" if left else line
