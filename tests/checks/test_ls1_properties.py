"""What must not change a lock check's verdict: names, pids, times, strangers, cuts between batches; and what is missing
must not make anything certain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from lockscope.formats.merge.reader import Merged
from lockscope.pipeline import AnalyzeOptions, gathered, judged, selected_checks
from lockscope.results.findings import Confidence, Finding, Severity
from lockscope.tables.events import Reader, TraceInfo
from tests.builders.records import EVENTS, MemoryReader, Row, formats
from tests.builders.script import BH_OFF, HARDIRQ, IRQS_OFF, SOFTIRQ, Script, Task

LOCKS = {
    "&a->mutex": (0xFFFF888100000100, "mutex", 0),
    "&b->mutex": (0xFFFF888100000200, "mutex", 0),
    "&c->lock": (0xFFFF888100000300, "spin", 1),
    "&d->lock": (0xFFFF888100000400, "spin", 1),
}
CONTEXTS = (0, IRQS_OFF, BH_OFF, IRQS_OFF | HARDIRQ, SOFTIRQ)


@dataclass(frozen=True)
class Act:
    """What a task does next: take a lock, give up the ``which``-th it holds, or return to user space."""

    task: int
    what: str
    lock: str = ""
    which: int = 0
    context: int = 0
    read: bool = False


ACTS = st.lists(
    st.builds(
        Act,
        task=st.integers(0, 2),
        what=st.sampled_from(("take", "take", "release", "release", "user")),
        lock=st.sampled_from(sorted(LOCKS)),
        which=st.integers(0, 3),
        context=st.sampled_from(CONTEXTS),
    ),
    min_size=1,
    max_size=40,
)


def played(acts: list[Act], *, strangers: bool = False, pid: int = 100, comm: str = "qemu") -> list[Row]:
    """The events of all tasks; in the end every task gives up what it holds and returns."""
    script = Script()
    tasks = [script.task(f"{comm}{i}", pid + i, i) for i in range(3)]
    stranger = script.task("stranger", 9000, 3)
    held: list[list[str]] = [[], [], []]
    for task in (*tasks, stranger):
        task.sys_exit()
    for act in acts:
        task, mine = tasks[act.task], held[act.task]
        others = {lock for theirs in held if theirs is not mine for lock in theirs}
        if act.what == "take" and act.lock in mine:
            if LOCKS[act.lock][1] == "mutex":  # no signal ends a spinlock's wait
                _give_up(task, act.lock)
        elif act.what == "take" and len(mine) < 6 and act.lock not in others:  # no two tasks hold one lock
            _take(task, act.lock, act.context)
            mine.append(act.lock)
        elif act.what == "release" and mine:
            _release(task, mine.pop(act.which % len(mine)))
        elif act.what == "user":
            while mine:
                _release(task, mine.pop())
            task.sys_exit()
        if strangers:
            stranger.detail("&own->mutex", 0xFFFF888100009000).acquired("&own->mutex", 0xFFFF888100009000)
            stranger.release("&own->mutex", 0xFFFF888100009000)
    for task, mine in zip(tasks, held, strict=True):
        while mine:
            _release(task, mine.pop())
        task.sys_exit()
    return script.rows


def _take(task: Task, name: str, context: int) -> None:
    lock, waits, levels = LOCKS[name]
    with task.context(context):
        task.preempt += levels
        task.acquire(name, lock).detail(name, lock, waits=waits).acquired(name, lock)
        levels = task.preempt
    task.preempt = levels


def _give_up(task: Task, name: str) -> None:
    """Wait for a lock of its own until a signal comes: nobody gets a lock twice."""
    lock, waits, _ = LOCKS[name]
    task.acquire(name, lock).detail(name, lock, waits=waits).release(name, lock)


def _release(task: Task, name: str) -> None:
    lock, _, levels = LOCKS[name]
    task.release(name, lock)
    task.preempt -= levels


def in_memory(rows: list[Row], batch: int = 1 << 20) -> MemoryReader:
    reader = MemoryReader(rows, TraceInfo("memory", "memory", "6.12.1", "x86_64", "host", "global"), formats(EVENTS))
    whole = reader.batches
    reader.batches = lambda wanted=None, *, rows=0: whole(wanted, rows=batch)
    return reader


def judge(rows: list[Row], *, batch: int = 1 << 20) -> list[Finding]:
    """What is found at warning or error."""
    return judge_file(in_memory(rows, batch))


def judge_file(reader: Reader) -> list[Finding]:
    checks = selected_checks(("LS1",))
    found = judged(gathered(reader, checks, AnalyzeOptions())[0].evidence, checks)[1]
    return [f for f in found if f.severity is not Severity.INFO and f.code < "LS2"]


def verdicts(rows: list[Row], *, batch: int = 1 << 20) -> list[tuple[str, str, str, int]]:
    return told(judge(rows, batch=batch))


def told(findings: list[Finding]) -> list[tuple[str, str, str, int]]:
    return sorted((f.code, f.fingerprint, f.confidence.value, f.count) for f in findings)


@settings(max_examples=25)
@given(ACTS)
def test_names_times_strangers_and_cuts_change_nothing(acts: list[Act]) -> None:
    rows = played(acts)
    expected = verdicts(rows)
    assert verdicts(played(acts, pid=3000, comm="crosvm")) == expected
    assert verdicts([replace(r, ts_ns=r.ts_ns + 77_000_000_123) for r in rows]) == expected
    assert verdicts(played(acts, strangers=True)) == expected
    assert verdicts(rows, batch=3) == expected


@settings(max_examples=25)
@given(ACTS, st.data())
def test_several_files_are_judged_as_one(acts: list[Act], data: st.DataObject) -> None:
    rows = played(acts)
    expected = verdicts(rows)
    cut = data.draw(st.integers(1, len(rows) - 1))  # as perf record --switch-output
    assert told(judge_file(Merged([in_memory(rows[:cut]), in_memory(rows[cut:])]))) == expected
    parts = [[r for r in rows if r.name.startswith("lock:") == of_locks] for of_locks in (True, False)]
    assert told(judge_file(Merged([in_memory(part) for part in parts]))) == expected


@settings(max_examples=40)
@given(ACTS, st.data())
def test_missing_events_make_nothing_certain(acts: list[Act], data: st.DataObject) -> None:
    rows = played(acts)
    before = {f.fingerprint for f in judge(rows)}
    gone = data.draw(st.sets(st.integers(0, len(rows) - 1), min_size=1, max_size=5))
    left = [r for i, r in enumerate(rows) if i not in gone]
    assert [f.title for f in judge(left) if f.confidence is Confidence.CERTAIN and f.fingerprint not in before] == []
