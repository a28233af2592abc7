"""The shortest command lines that would let a trace's undecided checks be decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lockscope.recording.catalogue import catalogue

_LOCKDEP_TELLS = frozenset(f"LS1{n:02}" for n in range(1, 12)) | {"LS204"}  # without lockdep never in full


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is known of a recording. ``open``: codes of checks that it does not decide in full."""

    open: tuple[str, ...]
    lockdep: bool
    lost: bool = False
    filtered: bool = False


def commands(recorded: Recorded) -> Iterator[str]:
    """One line for each thing that has to be different, the cheapest first: what it adds, and how."""
    codes = list(recorded.open)
    if not codes:
        return
    if recorded.lost:
        yield f"without losses, {_names(codes)}: lockscope record --buffer KB (four times what it was) -- COMMAND"
    if recorded.filtered:
        yield f"without a filter for tasks, {_names(codes)}: lockscope record --all -- COMMAND"
    kernels = {code: _kernels(code) for code in codes}
    spin = {code for code in codes if not recorded.lockdep and _on_request(code)}
    without = {c for c in codes if "stock" in kernels[c]} - _LOCKDEP_TELLS - spin
    here = [c for c in codes if recorded.lockdep or c in without]
    if here and not (recorded.lost or recorded.filtered):
        yield f"{_names(here)}: lockscope record --for {','.join(here)} -- COMMAND"
    asked = sorted(spin - _LOCKDEP_TELLS)
    if asked:
        yield f"{_names(asked)}, on a test host: lockscope record --for {','.join(asked)} --locks spinlock -- COMMAND"
    rest = [c for c in codes if not recorded.lockdep and c in _LOCKDEP_TELLS]
    if rest:
        yield f"{_names(rest)}, on a kernel with CONFIG_PROVE_LOCKING: lockscope record --for {_short(rest)} -- COMMAND"


def _names(codes: Iterable[str]) -> str:
    return " ".join(codes)


def _short(codes: list[str]) -> str:
    """Codes for ``--for``: a beginning where all of it is meant."""
    every = sorted(_LOCKDEP_TELLS - {"LS204"})
    if set(every) <= set(codes):
        return ",".join(["LS1", *(c for c in codes if c not in every)])
    return ",".join(codes)


def _kernels(code: str) -> set[str]:
    """On which kernels a probe or event for it is there at all."""
    found = {probe.kernels for probe in catalogue().probes if code in probe.codes}
    return {"lockdep", "stock"} if "" in found else found


def _on_request(code: str) -> bool:
    """Whether without lockdep only locks that are probed on request tell (spinlocks)."""
    probes = [p for p in catalogue().probes if code in p.codes and p.kernels == "stock"]
    return bool(probes) and all(p.on_request for p in probes)
