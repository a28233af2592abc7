"""Facts about KVM: what one pass over the tape leaves behind for the checks that ask for it.

A fact is a module of this folder with ``FACT``, a class as ``Fact`` describes it. ``FactSet`` makes the ones that the
selected checks name, and those that these need, and feeds each of them every batch in an order that respects ``needs``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from lockscope.registry import modules
from lockscope.tables.events import TraceInfo
from lockscope.tables.ops import Op
from lockscope.tables.tape import TapeBatch
from lockscope.tables.texts import Texts
from lockscope.walk.lock_places import LockPlaces


@dataclass(slots=True)
class Making:
    """What a fact may look at while it is made. ``facts``: the ones before it, by name, as objects that are fed."""

    info: TraceInfo
    rules: Any  # rules.book.Rulebook
    texts: Texts
    facts: dict[str, Any] = field(default_factory=dict)
    places: LockPlaces | None = None  # names of locks by address, on a kernel without lockdep


class Fact(Protocol):
    """One fact: fed with batches that the lock walk has added ``held`` to, then asked for its result once."""

    name: ClassVar[str]
    ops: ClassVar[frozenset[Op]]  # the rows it looks at
    needs: ClassVar[tuple[str, ...]]  # facts that are fed the same batch before it

    def __init__(self, making: Making) -> None: ...

    def feed(self, batch: TapeBatch) -> None:
        """Take the next stretch of the trace."""
        ...

    def finish(self) -> Any:
        """What checks find in ``evidence.facts[name]``."""
        ...


def known() -> dict[str, type[Fact]]:
    """Every fact by name."""
    found = (getattr(module, "FACT", None) for module in modules("lockscope.facts"))
    return {fact.name: fact for fact in found if fact is not None}


def _in_order(names: Iterable[str], all_facts: Mapping[str, type[Fact]]) -> list[type[Fact]]:
    order: list[type[Fact]] = []

    def add(name: str) -> None:
        fact = all_facts[name]
        if fact not in order:
            for needed in fact.needs:
                add(needed)
            order.append(fact)

    for name in sorted(names):
        add(name)
    return order


class FactSet:
    """The facts of one reading of a trace."""

    def __init__(
        self, names: Iterable[str], info: TraceInfo, rules: Any, texts: Texts, places: LockPlaces | None = None
    ) -> None:
        self.making = Making(info, rules, texts, places=places)
        self._facts: list[Fact] = []
        for fact in _in_order(names, known()):
            made = fact(self.making)
            self.making.facts[fact.name] = made
            self._facts.append(made)

    @property
    def ops(self) -> frozenset[Op]:
        """The operations these facts read."""
        return frozenset().union(*(fact.ops for fact in self._facts))

    def feed(self, batch: TapeBatch) -> None:
        """Hand a batch to all facts."""
        for fact in self._facts:
            fact.feed(batch)

    def finish(self) -> dict[str, Any]:
        """All results by name, for ``Evidence.facts``."""
        return {fact.name: fact.finish() for fact in self._facts}
