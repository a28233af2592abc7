"""What ``lockscope locks`` counts, for Python: statistics of locks, and chains of waits, as tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lockscope.renamed import renamed
from lockscope.trace.view import Looks, Numbers, Time, Words, several
from lockscope.units import address, moment

if TYPE_CHECKING:
    import pyarrow as pa

    from lockscope.trace.trace import EventTable


class Statistics(Looks):
    """A whole trace, as far as its locks can be counted. ``only_events``: patterns of the events that are read."""

    paths: list[str]
    only_events: tuple[str, ...]

    @renamed(
        classes="lock", locks="lock", tasks="task", cpus="cpu", vms="vm", callers="caller", contexts="context",
        start_ns="from_", end_ns="to", min_wait_ns="min_wait", percents="percentiles",
    )  # fmt: skip
    def locks(
        self,
        *by: str,
        sort: str = "wait",
        limit: int | None = None,
        percentiles: Iterable[float] = (50.0, 95.0, 99.0),
        from_: Time | None = None,
        to: Time | None = None,
        task: Words = (),
        vm: Numbers = (),
        cpu: Numbers = (),
        lock: Words = (),
        event: Iterable[str] = (),
        caller: Words = (),
        mode: str = "",
        context: Iterable[str] = (),
        min_wait: int | str = 0,
        contention: bool = False,
    ) -> EventTable:
        """Statistics of locks by class, or by what is named: ``trace.locks("class", "task", mode="read")``.

        Arguments as the options of ``lockscope locks``. ``min_wait``: ns, or "20us". Raises ``UsageError``.
        """
        from lockscope.trace.locks import LockQuery, as_arrow, lock_figures

        query = LockQuery(
            by=by or ("class",), sort=sort, limit=limit, percents=tuple(percentiles),
            callers=plain_words(caller), mode=mode,
            contexts=plain_words(context), min_wait_ns=moment(min_wait)[1] if isinstance(min_wait, str) else min_wait,
            contention=contention, **self._chosen(from_, to, task, vm, cpu, lock, event),
        )  # fmt: skip
        return self._table("locks", as_arrow(lock_figures(self.paths, query)))

    @renamed(classes="lock", locks="lock", tasks="task", cpus="cpu", vms="vm", start_ns="from_", end_ns="to")
    def wait_chains(
        self,
        number: int = 10,
        *,
        from_: Time | None = None,
        to: Time | None = None,
        task: Words = (),
        vm: Numbers = (),
        cpu: Numbers = (),
        lock: Words = (),
        event: Iterable[str] = (),
    ) -> EventTable:
        """The slowest acquisitions, each with the waits behind it; arguments as ``locks``."""
        from lockscope.trace.locks import LockQuery, chains_as_arrow, wait_chains

        query = LockQuery(**self._chosen(from_, to, task, vm, cpu, lock, event))
        return self._table("wait_chains", chains_as_arrow(wait_chains(self.paths, query, number)))

    def _chosen(
        self,
        from_: Time | None,
        to: Time | None,
        task: Words,
        vm: Numbers,
        cpu: Numbers,
        lock: Words,
        event: Iterable[str],
    ) -> dict[str, Any]:
        """The fields of a ``LockQuery`` that say which part of the trace is meant."""
        locks = [address(word) if isinstance(word, int) else str(word) for word in several(lock)]
        return {
            "start_ns": None if from_ is None else self.at(from_),
            "end_ns": None if to is None else self.at(to),
            "tasks": plain_words(task),
            "vms": tuple(map(int, several(vm))),
            "cpus": tuple(map(int, several(cpu))),
            "classes": tuple(word for word in locks if not word.startswith("0x")),
            "locks": tuple(int(word, 16) for word in locks if word.startswith("0x")),
            "events": (*self.only_events, *event),
        }

    @staticmethod
    def _table(name: str, table: pa.Table) -> EventTable:
        from lockscope.trace.trace import EventTable

        return EventTable(name, table)


def plain_words(words: Words) -> tuple[str, ...]:
    """Words as text: one, or many."""
    return tuple(map(str, several(words)))
