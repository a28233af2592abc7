"""What recording costs a host, as measured: ``costs.toml`` for a person."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib import resources
from typing import Any

_HEAD = ("set", "kernel", "events/s", "bytes/event", "MB/s", "us/event", "slower")


def lines() -> Iterator[str]:
    """The table, what it was measured on, and what follows from it."""
    data = tomllib.loads(resources.files(__package__).joinpath("costs.toml").read_text(encoding="utf-8"))
    rows = [_HEAD, *(_row(entry) for entry in data["measured"])]
    wide = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    for row in rows:
        first = f"{row[0]:<{wide[0]}}  {row[1]:<{wide[1]}}"
        yield f"{first}  {'  '.join(f'{cell:>{w}}' for cell, w in zip(row[2:], wide[2:], strict=True))}".rstrip()
    yield ""
    yield from data["about"].strip().splitlines()


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    rate, size, each = entry["events_per_s"], entry["bytes_per_event"], entry["us_per_event"]
    return (
        entry["set"],
        entry["kernel"],
        f"{rate:,}",
        f"{size:,}",
        f"{rate * size / 1e6:.1f}",
        f"{each:.1f}",
        f"{entry['slower']:.0%}",
    )
