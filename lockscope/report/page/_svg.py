"""Pieces of SVG. Numbers are rounded to a tenth: a page of many pictures stays small."""

from __future__ import annotations

from lockscope.report.page_shell import esc


def num(value: float) -> str:
    """A coordinate."""
    text = f"{value:.1f}"
    return text.removesuffix(".0")


def line(x1: float, y1: float, x2: float, y2: float, cls: str = "axis", extra: str = "") -> str:
    """A line."""
    return f'<line x1="{num(x1)}" y1="{num(y1)}" x2="{num(x2)}" y2="{num(y2)}" class="{cls}"{extra}/>'


def text(x: float, y: float, words: str, cls: str = "", anchor: str = "") -> str:
    """Text; ``anchor``: start, middle, end."""
    more = (f' class="{cls}"' if cls else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{num(x)}" y="{num(y)}"{more}>{esc(words)}</text>'


def rect(x: float, y: float, w: float, h: float, extra: str = "", tip: str = "") -> str:
    """A rectangle with a tooltip."""
    shape = f'<rect x="{num(x)}" y="{num(y)}" width="{num(max(w, 0.5))}" height="{num(h)}"{extra}'
    return f"{shape}><title>{esc(tip)}</title></rect>" if tip else f"{shape}/>"


def picture(width: float, height: float, body: str, label: str) -> str:
    """The whole picture. ``label`` is what it shows, for those who cannot see it."""
    return (
        f'<svg viewBox="0 0 {num(width)} {num(height)}" role="img" aria-label="{esc(label)}" '
        f'xmlns="http://www.w3.org/2000/svg">{body}</svg>'
    )


def figure(svg: str, caption: str = "") -> str:
    """A picture with its caption (HTML)."""
    return (
        f'<figure><div class="scroll">{svg}</div>'
        + (f"<figcaption>{caption}</figcaption>" if caption else "")
        + "</figure>"
    )
