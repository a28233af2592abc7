"""What a figure is: a module of this folder with ``TITLE``, ``data(source, view)`` and ``draw(axes, data)``.

``data`` makes plain values and NumPy arrays of a trace's tables, without matplotlib; ``draw`` puts them on one
matplotlib axes and knows nothing of traces. The module's name is the figure's name; nothing lists them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from lockscope.errors import UsageError, unknown
from lockscope.outfiles import refuse_existing
from lockscope.patterns import class_fits
from lockscope.plots.figure import style as _style
from lockscope.registry import modules
from lockscope.results.findings import LockGraph, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OPTIONS = {
    "start_ns": "--from",
    "end_ns": "--to",
    "pids": "--task",
    "vm": "--vm",
    "cpus": "--cpu",
    "locks": "--lock",
    "gfns": "--gfn",
}
FILES = (".png", ".svg", ".pdf")


@dataclass(frozen=True, slots=True)
class View:
    """What part of a trace is wanted. Times on the trace's clock, half open; empty tuples and None: all.

    ``locks``: patterns of class names, and addresses (``0x...``). ``gfns``: first and last. ``top``: how many rows,
    classes or tasks at most.
    """

    start_ns: int | None = None
    end_ns: int | None = None
    pids: tuple[int, ...] = ()
    vm: int | None = None
    locks: tuple[str, ...] = ()
    gfns: tuple[int, int] | None = None
    top: int = 12
    cpus: tuple[int, ...] = ()

    @property
    def addresses(self) -> tuple[int, ...]:
        """The addresses among the locks."""
        return tuple(int(p, 16) for p in self.locks if p.startswith("0x"))

    def takes_lock(self, name: str, address: int | None = None) -> bool:
        """Whether a lock is wanted, by its class or address; ``kvm->mmu_lock`` finds ``&(kvm)->mmu_lock``.

        Without an address, a class of which any lock may be wanted is.
        """
        if not self.locks or (self.addresses and (address is None or address in self.addresses)):
            return True
        return any(class_fits(pattern, name) for pattern in self.locks)


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of texts: ``words[codes[i]]`` is row i's. Millions of rows have few words."""

    codes: NDArray[np.int64]
    words: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Any) -> Texts:
        """The texts of some rows."""
        return Texts(self.codes[rows], self.words)

    def among(self, wanted: Iterable[str]) -> NDArray[np.bool_]:
        """Which rows have one of these words."""
        some = set(wanted)
        return self.where([w in some for w in self.words])

    def where(self, fits: list[bool]) -> NDArray[np.bool_]:
        """Which rows have a word that fits, given the answer for each of ``words``."""
        return np.array([*fits, False], np.bool_)[self.codes]

    def used(self) -> list[str]:
        """The words that occur."""
        return [self.words[i] for i in np.unique(self.codes).tolist()]

    def ranked(self, weights: NDArray[Any], first: Iterable[str] = (), most: int = 12) -> list[str]:
        """The words that occur by summed weight, heaviest first; those of ``first`` before all others."""
        total = np.bincount(self.codes, weights=weights.astype(np.float64), minlength=len(self.words))
        before = set(first)
        order = sorted(self.used(), key=lambda w: (w not in before, -total[self.words.index(w)], w))
        return order[:most]


Columns = dict[str, Any]  # NDArray, or Texts


class Source(Protocol):
    """Where figures get their numbers: a ``Trace``, or part of one."""

    path: str

    def columns(self, table: str) -> Columns:
        """A declared table's columns by name: arrays, texts as ``Texts``."""
        ...

    def graph(self) -> LockGraph:
        """The lock dependency graph."""
        ...

    def report(self) -> Report:
        """The verdict on the whole trace."""
        ...

    def span(self) -> tuple[int, int]:
        """First and last time, in ns."""
        ...

    def task_names(self) -> dict[int, str]:
        """Names of tasks by pid, where the trace knows them."""
        ...


class Figure(Protocol):
    """A figure, as a module is one. ``SIZE``: inches of the axes at print size, unless the data asks for more.

    ``HONOURS``: the fields of ``View``, but for ``top``, that it can go by; a view of another is refused.
    """

    __name__: str
    __doc__: str
    TITLE: str
    HONOURS: tuple[str, ...]

    def data(self, source: Source, view: View) -> Any:
        """The numbers. Raises ``UsageError`` where the trace has nothing to show, with what to record."""
        ...

    def draw(self, axes: Axes, data: Any) -> None:
        """Put them on an axes."""
        ...


@cache
def figures() -> dict[str, Figure]:
    """Every figure by name, sorted."""
    return {m.__name__.rpartition(".")[2]: cast("Figure", m) for m in modules("lockscope.plots") if hasattr(m, "draw")}


def figure(name: str) -> Figure:
    """The figure with this name (dashes do as well); ``UsageError`` names those that exist."""
    found = figures().get(name.replace("-", "_"))
    if found is None:
        raise unknown("FIGURE", name, (n.replace("_", "-") for n in figures()), "figure")
    return found


def plot(name: str, source: Source, view: View | None = None, axes: Axes | None = None) -> Axes:
    """Draw a figure, on new axes unless some are given, and return the axes."""
    wanted, view = figure(name), view or View()
    refuse_unhonoured(name, view)
    numbers = wanted.data(source, view)
    with _style.applied():
        target = axes if axes is not None else _style.new_axes(*size_of(wanted, numbers))
        wanted.draw(target, numbers)
        _style.finish(target, wanted.TITLE, Path(source.path).name)
    return target


def refuse_unhonoured(name: str, view: View) -> None:
    """``UsageError`` for what a view asks of a figure that cannot be drawn of it."""
    wanted, whole = figure(name), View()
    honoured = getattr(wanted, "HONOURS", ())  # a figure that says nothing is of the whole trace
    for field, option in _OPTIONS.items():
        if getattr(view, field) != getattr(whole, field) and field not in honoured:
            can = [_OPTIONS[f] for f in _OPTIONS if f in honoured]
            some = f"it goes by {', '.join(can)}" if can else "it is of the whole trace"
            msg = f"{option}: {name.replace('_', '-')} cannot be drawn of that alone; {some}"
            raise UsageError(msg)


def size_of(wanted: Figure, numbers: Any) -> tuple[float, float]:
    """Inches: what the data asks for, else what the figure does."""
    asked: Any = getattr(numbers, "size", None) or getattr(wanted, "SIZE", (7.2, 3.6))
    return float(asked[0]), float(asked[1])


def save(axes: Axes, path: str, *, dpi: int = 200, force: bool = False) -> None:
    """Write the axes' figure. ``UsageError`` for an ending that is none of ``FILES``, and for a file that exists
    unless ``force``.
    """
    refuse_existing(path, force=force)
    ending = Path(path).suffix.lower()
    if ending not in FILES:
        msg = f"-o {path}: a figure is written as {', '.join(FILES)}"
        raise UsageError(msg)
    _style.write(axes, path, ending, dpi)


def nothing(source: Source, what: str, record: str) -> UsageError:
    """The error of a figure that has nothing to show."""
    return UsageError(f"{source.path}: {what}; {record}")
