"""How figures look: one matplotlib style for paper and slides. matplotlib is imported here, in functions, only."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lockscope.drawing import scales
from lockscope.drawing.palette import GREY
from lockscope.harmless import printable
from lockscope.outfiles import whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT = "#24292f", "#d0d7de"
_RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same picture on every machine
    "font.size": 9,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8b949e",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ec",
    "grid.linewidth": 0.7,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.color": "#57606a",
    "ytick.color": "#57606a",
    "text.color": INK,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "figure.dpi": 110,
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "lockscope",  # the same figure is the same file
    "pdf.fonttype": 42,
    "text.parse_math": False,  # names are none, whatever dollars are in them
}


@contextmanager
def applied() -> Iterator[None]:
    """Figures made inside look as lockscope's do."""
    import matplotlib as mpl

    if _in_notebook() and "matplotlib_inline.backend_inline" not in sys.modules:
        from matplotlib import pyplot

        pyplot.switch_backend(mpl.get_backend())  # loading it turns "interactive" on, which must outlive this context

    rc: Any = _RC
    with mpl.rc_context(rc), _harmless_texts():
        yield


@contextmanager
def _harmless_texts() -> Iterator[None]:
    """Control characters in names are spelled out, however they reach the picture: XML allows none of them.

    Labels of ticks are made while matplotlib draws, so that no caller of ours sees them; all go through ``set_text``.
    """
    from matplotlib.text import Text

    plain = Text.set_text

    def set_text(self: Text, s: Any) -> None:
        plain(self, None if s is None else "\n".join(printable(line) for line in str(s).split("\n")))

    # Put in matplotlib's place, and back: ticks are labelled while it draws, so that a subclass of ours is never asked.
    Text.set_text = set_text  # type: ignore[method-assign]
    try:
        yield
    finally:
        Text.set_text = plain  # type: ignore[method-assign]


def _in_notebook() -> bool:
    """Whether an IPython kernel runs this. Its package may be imported anywhere; only a kernel's shell has one."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def new_axes(width: float, height: float) -> Axes:
    """Axes of their own: in a notebook one that shows itself, elsewhere one that no window system is asked for."""
    if _in_notebook():
        from matplotlib import pyplot

        axes: Axes = pyplot.figure(figsize=(width, height), layout="constrained").subplots()
        return axes
    from matplotlib.figure import Figure

    made: Axes = Figure(figsize=(width, height), layout="constrained").subplots()
    return made


def finish(axes: Axes, title: str, source: str) -> None:
    """The title, and small where the numbers are from."""
    axes.set_title(title, pad=18)
    whole = axes.get_figure(root=True)
    wide = axes.get_position().width * (whole.get_figwidth() if whole is not None else 7.2)
    source = scales.short(source, max(int((wide - 1.9) / 0.055), 16))  # at the right a note may stand
    axes.text(0, 1.0, source, transform=axes.transAxes, fontsize=7.5, color="#57606a", va="bottom",
              in_layout=False).set_position((0, 1.012))  # fmt: skip


def write(axes: Axes, path: str, ending: str, dpi: int) -> None:
    """The axes' figure as a file, without the time of day in it."""
    stamp: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}
    with applied():
        figure = axes.get_figure(root=True)
        assert figure is not None
        with whole(path) as place:
            figure.savefig(place, format=ending[1:], dpi=dpi, metadata=stamp[ending])


def time_axis(axes: Axes, start_ns: int, end_ns: int, *, pad: float = 0.01) -> None:
    """An x axis of integer nanoseconds from ``start_ns``, labelled from there on: plot ``ts_ns - start_ns``."""
    ticks, unit = scales.time_ticks(start_ns, end_ns, 8)
    axes.set_xticks([t - start_ns for t, _ in ticks], [text for _, text in ticks])
    span = max(end_ns - start_ns, 1)
    axes.set_xlim(-pad * span, span * (1 + pad))
    from lockscope.units import seconds

    axes.set_xlabel(f"time since {seconds(start_ns)} s on the trace's clock ({unit.replace('us', 'µs')})")


def log_time_axis(axes: Axes, low_ns: float, high_ns: float, label: str) -> None:
    """An x axis of lengths of time, logarithmic, with words at its powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter

    ticks = scales.log_ticks(low_ns, high_ns)
    axes.set_xscale("log")
    axes.set_xlim(max(low_ns, 1) / 1.15, high_ns * 1.15)
    axes.set_xticks([t for t, _ in ticks], [text.replace("us", "µs") for _, text in ticks])
    axes.xaxis.set_minor_locator(LogLocator(subs="all"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(max(low_ns, 1) / 1.15, high_ns * 1.15)
    axes.set_xlabel(label)


def rows(axes: Axes, labels: Sequence[str], *, mono: bool = True) -> None:
    """A y axis of named rows, the first on top."""
    axes.set_yticks(range(len(labels)), [scales.short(text, 34) for text in labels])
    axes.tick_params(axis="y", length=0)
    if mono:
        for text in axes.get_yticklabels():
            text.set_fontfamily("DejaVu Sans Mono")
            text.set_fontsize(7.5)
            text.set_color(INK)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def legend(axes: Axes, entries: Sequence[tuple[str, str]], *, columns: int = 5, title: str = "") -> None:
    """Colours and what they mean, under the axes."""
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=color, label=scales.short(text, 34)) for text, color in entries]
    whole = axes.get_figure(root=True)
    height = whole.get_figheight() if whole is not None else 3.6  # the legend goes below the axis' own labels
    if handles:
        axes.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.61 / height),
            ncols=min(columns, len(handles)),
            title=title or None,
            handlelength=1.0,
            handleheight=0.9,
            columnspacing=1.2,
        )


def note(axes: Axes, text: str) -> None:
    """A remark at the lower right, outside of what is drawn."""
    axes.annotate(text, (1, 1), (0, 4), xycoords="axes fraction", textcoords="offset points", ha="right", va="bottom",
                  fontsize=7.5, color=GREY)  # fmt: skip
