"""Scenarios: what one is, and how they are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING

from lockscope.errors import UsageError
from lockscope.registry import modules
from lockscope.simulate.parameters import KERNEL_NAMES

if TYPE_CHECKING:
    from lockscope.simulate.world import Mix, World


@dataclass(frozen=True)
class Scenario:
    """A host with something to be found on it, or with nothing.

    ``rule``: what is broken, in the words of the document, and where it stands. ``plant``: puts the defect into a world
    before it begins; with ``world.near`` what looks like it and is right. ``near``: what that is; empty for hosts that
    are quiet anyway. ``mmu``, ``vendor``: what it needs, where it needs something.
    """

    name: str
    summary: str
    rule: str
    plant: Callable[[World], None]
    mix: Mix
    near: str = ""
    kernels: tuple[str, ...] = KERNEL_NAMES
    mmu: str | None = None
    vendor: str | None = None
    vcpus: int | None = None
    cpus: int | None = None
    explore: Callable[..., object] | None = None
    tags: tuple[str, ...] = field(default_factory=tuple)

    @property
    def quiet(self) -> bool:
        """Whether nothing is wrong on this host."""
        return not self.near


def scenarios() -> dict[str, Scenario]:
    """Every scenario by name, in the order of the names."""
    found = (s for module in modules("lockscope.simulate.scenarios") for s in _scenarios_of(module))
    return {scenario.name: scenario for scenario in sorted(found, key=lambda scenario: scenario.name)}


def _scenarios_of(module: ModuleType) -> tuple[Scenario, ...]:
    """``SCENARIOS`` of a module, where several are variants of one, or the one ``SCENARIO``."""
    several: tuple[Scenario, ...] | None = getattr(module, "SCENARIOS", None)
    return several if several is not None else (module.SCENARIO,)


def scenario_named(name: str) -> Scenario:
    """One scenario; raises ``UsageError`` for a name that there is not."""
    found = scenarios()
    if name not in found:
        from difflib import get_close_matches

        close = get_close_matches(name, found, 1)
        hint = f"did you mean {close[0]}?" if close else "lockscope simulate --list names them"
        msg = f"{name}: no such scenario; {hint}"
        raise UsageError(msg)
    return found[name]
