"""Kernel versions, read from what a kernel says of itself (``uname -r``).

A distribution's string (``6.1.0-56-amd64``, ``5.14.0-503.el9.x86_64``) names the series it started from, hides the
stable level and may carry anything from later kernels. What holds from a stable level on can then not be told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Digits are bounded: a trace's text is no reason to build a number of a thousand digits.
_RELEASE = re.compile(r"(?<![\w.-])v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,5}))?(?![\d])(\S*)")
# What scripts/setlocalversion and the stable, -rc and -rt trees append; anything else was put there by a packager.
_OWN = re.compile(r"(\.\d{1,5})?(-rc\d+)?(-rt\d*)?(-\d{5,}-g[0-9a-f]+|-g[0-9a-f]+|-next-\d+)?(-dirty|\+)*")
_RT = re.compile(r"[-+.]rt\d*(?![a-z])|realtime|PREEMPT_RT\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class KernelVersion:
    """A release, as far as its text tells. ``stable`` is the third number, None where the string hides it."""

    major: int
    minor: int
    stable: int | None = None
    distribution: bool = False
    rt: bool = False
    text: str = ""

    @property
    def series(self) -> tuple[int, int]:
        """``(6, 12)``: what rulebooks are chosen by."""
        return self.major, self.minor

    def at_least(self, major: int, minor: int) -> bool:
        """Whether the series is this one or a later one."""
        return self.series >= (major, minor)

    def before(self, major: int, minor: int) -> bool:
        """Whether the series is an earlier one."""
        return self.series < (major, minor)

    def has_stable(self, major: int, minor: int, level: int) -> bool:
        """Whether this is known to be stable release ``major.minor.level`` or a later one of that series.

        False for a distribution's kernel and where the level is unknown.
        """
        known = not self.distribution and self.stable is not None
        return known and self.series == (major, minor) and (self.stable or 0) >= level

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}" + ("" if self.stable is None else f".{self.stable}")


def parse(text: str | None) -> KernelVersion | None:
    """The version in a release text, ``uname`` line or banner; None where there is none.

    PREEMPT_RT shows as ``-rt`` in the release (or in the banner); since 6.12 a kernel can have it and not say so.
    """
    found = _RELEASE.search(text or "")
    if text is None or found is None:
        return None
    major, minor, level, rest = int(found[1]), int(found[2]), found[3], found[4]
    own = _OWN.fullmatch(rest) is not None
    hidden = not own and (level is None or int(level) == 0)
    # "6.12" and "6.12-rc3" are the .0 of their series, if nobody else's suffix follows.
    stable = None if hidden else int(level or 0)
    return KernelVersion(major, minor, stable, not own, _RT.search(text) is not None, found[0])


def series(text: str) -> tuple[int, int]:
    """``"5.14"`` -> ``(5, 14)``. Raises ``ValueError`` for anything else."""
    found = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", text)
    if found is None:
        msg = f"not a kernel series: {text[:40]!r}"
        raise ValueError(msg)
    return int(found[1]), int(found[2])


def level(text: str) -> tuple[int, int, int]:
    """``">=6.6.54"`` -> ``(6, 6, 54)``: a series' stable level and later ones. Raises ``ValueError`` otherwise."""
    found = re.fullmatch(r">=\s*(\d{1,4})\.(\d{1,4})\.(\d{1,5})", text)
    if found is None:
        msg = f"not a stable level like '>=6.6.54': {text[:40]!r}"
        raise ValueError(msg)
    return int(found[1]), int(found[2]), int(found[3])
