"""Functions that are probed, and lock functions that are not: what the kernel's symbols say.

Beliefs: ``recording/probes.toml``, and ``known/functions.json``: which of them the last accepted kernel did not have,
and which other lock functions it had.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from lockscope.kvm import versions
from lockscope.recording.catalogue import Wanted, catalogue, chosen_probes
from tests.lab.compare.edits import Edit

KNOWN = Path(__file__).with_name("known") / "functions.json"
_WHERE = "lockscope/recording/probes.toml"
_LOCK_FUNCTION = re.compile(
    r"_?_?raw_(spin|read|write)_(un|try)?lock(_\w+)?|rt_(spin|read|write)_(un|try)?lock(_\w+)?"
    r"|mutex_(un|try)?lock(_\w+)?|(down|up)_(read|write)(_\w+)?|downgrade_write|(__)?percpu_(down|up)_\w+"
    r"|__srcu_read_(un)?lock(_\w+)?|synchronize_srcu(_\w+)?"
)

Functions = dict[str, dict[str, list[str]]]


def of_kernel(folder: Path) -> dict[str, list[str]]:
    """``missing``: functions that probes.toml has for this kernel and its symbols have not. ``others``: lock functions
    that can be traced and are not in it.
    """
    release = (folder / "release").read_text()
    version = versions.parse(release)
    assert version is not None, release
    symbols = {line.split()[2] for line in (folder / "kallsyms").read_text().splitlines() if line.count(" ") >= 2}
    traceable = set((folder / "available_filter_functions").read_text().replace("\t", " ").split())
    asked = Wanted(version.series, lockdep=False, locks=frozenset({"spinlock", "rwsem"}), rt=version.rt)
    wanted = {p.function for p in chosen_probes(asked) if p.function}
    listed = {p.function for p in catalogue().probes}
    others = (f for f in symbols & traceable if _LOCK_FUNCTION.fullmatch(f) and f not in listed)
    return {"missing": sorted(wanted - symbols), "others": sorted(others)}


def differences(kernel: dict[str, list[str]], known: dict[str, list[str]]) -> Iterator[Edit]:
    """What is to be done."""
    for name in sorted(set(kernel["missing"]) - set(known["missing"])):
        yield Edit(_WHERE, f"{name} cannot be probed any more: renamed, inlined or gone (until = ...)")
    for name in sorted(set(known["missing"]) - set(kernel["missing"])):
        yield Edit(_WHERE, f"{name} is there (again)")
    for name in sorted(set(kernel["others"]) - set(known["others"])):
        yield Edit(_WHERE, f"{name}() is a lock function that is not probed")


def known(folder: Path) -> dict[str, list[str]]:
    """What was accepted last, of this flavour."""
    all_known: Functions = json.loads(KNOWN.read_text()) if KNOWN.is_file() else {}
    return all_known.get(_flavour(folder), {"missing": [], "others": []})


def accept(folder: Path) -> None:
    """Keep this kernel's."""
    all_known: Functions = json.loads(KNOWN.read_text()) if KNOWN.is_file() else {}
    KNOWN.write_text(json.dumps(all_known | {_flavour(folder): of_kernel(folder)}, indent=1, sort_keys=True) + "\n")


def _flavour(folder: Path) -> str:
    version = versions.parse((folder / "release").read_text())
    return "rt" if version is not None and version.rt else "stock"
