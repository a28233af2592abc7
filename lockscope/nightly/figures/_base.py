"""What a figure of the night is: a module with ``TITLE``, ``data(night)`` and ``draw(axes, data)``.

``data`` makes plain values, without matplotlib; None where the night has nothing to show. ``draw`` puts them on axes.
The style is that of ``lockscope.plots``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, cast

from lockscope.nightly.night import Night
from lockscope.plots.figure import style as _style
from lockscope.registry import modules

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI = 160


class Figure(Protocol):
    """A figure, as a module is one. The data's ``size`` says how large it is, in inches."""

    __name__: str
    TITLE: str
    CAPTION: str

    def data(self, night: Night) -> Any:
        """The numbers, or None."""
        ...

    def draw(self, axes: Axes, data: Any) -> None:
        """Put them on axes."""
        ...


@cache
def figures() -> dict[str, Figure]:
    """Every figure by name, in the order of the report."""
    found = {m.__name__.rpartition(".")[2]: cast("Figure", m) for m in modules("lockscope.nightly.figures")}
    return dict(sorted(found.items(), key=lambda item: getattr(item[1], "ORDER", 50)))


def drawn(night: Night) -> Iterator[tuple[str, Figure, bytes]]:
    """Name, figure and PNG of each one that has something to show."""
    for name, figure in figures().items():
        numbers = figure.data(night)
        if numbers is not None:
            yield name, figure, png(figure, numbers, night.night)


def png(figure: Figure, numbers: Any, night: str) -> bytes:
    """The picture. The same numbers give the same bytes."""
    sink = io.BytesIO()
    with _style.applied():
        axes = _style.new_axes(*numbers.size)
        figure.draw(axes, numbers)
        _style.finish(axes, figure.TITLE, f"lockscope nightly, night {night}")
        whole = axes.get_figure(root=True)
        assert whole is not None
        whole.savefig(sink, format="png", dpi=_DPI, metadata={"Software": None})
    return sink.getvalue()


def night_axis(axes: Axes, nights: list[str]) -> None:
    """An x axis of nights, as many of them named as there is room for."""
    every = max((len(nights) + 9) // 10, 1)
    shown = [i for i in range(len(nights)) if (len(nights) - 1 - i) % every == 0]
    axes.set_xticks(shown, [nights[i] for i in shown], rotation=30, ha="right")
    axes.set_xlim(-0.6, max(len(nights) - 0.4, 0.6))
