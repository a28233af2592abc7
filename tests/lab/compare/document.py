"""Documentation/virt/kvm/locking.rst: orders, the reference table, and sentences that nobody has read yet.

Beliefs: the rulebook of that version (``lockscope/rules``); ``known/locking.json`` has a digest of each sentence of the
last document that was read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from lockscope.rules.book import Rulebook
from lockscope.rules.load import choose
from tests.lab.compare.edits import Edit

KNOWN = Path(__file__).with_name("known") / "locking.json"
_FILE = "source/Documentation/virt/kvm/locking.rst"
_CANONICAL = {"cpus_read_lock": "cpu_hotplug_lock"}


def differences(folder: Path) -> Iterator[Edit]:
    """Compare the document below ``folder`` with the book of its kernel."""
    text = (folder / _FILE).read_text()
    book, _ = choose((folder / "release").read_text())
    where = f"lockscope/rules/{book.name}.toml"
    stated = set(orders(text))
    believed = {(r.outer, r.inner) for r in book.orders}
    for outer, inner in sorted(stated - believed):
        yield Edit(where, f"the document has {outer} outside {inner}: no such [[order]]")
    for outer, inner in sorted(_believed_from_document(book) - stated):
        yield Edit(where, f"the document no longer has {outer} outside {inner} (drop it)")
    known_types = {r.lock: r.type for r in book.reference}
    for lock, kind in reference(text).items():
        name = lock.replace("kvm_arch::", "kvm->arch.")
        if name not in known_types and lock not in known_types:
            yield Edit(where, f"3. Reference has {lock} ({kind}): no such [[reference]]")
    known = set(json.loads(KNOWN.read_text()))
    for sentence in sentences(text):
        if digest(sentence) not in known:
            yield Edit(where, f"not read yet: {sentence}")


def accept(folder: Path) -> None:
    """Its sentences are read."""
    KNOWN.write_text(json.dumps(sorted(map(digest, sentences((folder / _FILE).read_text()))), indent=0) + "\n")


def _believed_from_document(book: Rulebook) -> set[tuple[str, str]]:
    stated = (r for r in book.orders if r.source.startswith("1. Acquisition Orders") and "follows" not in r.source)
    return {(r.outer, r.inner) for r in stated}


def orders(text: str) -> Iterator[tuple[str, str]]:
    """Pairs of "A is taken outside B, C and D"."""
    for sentence in sentences(text):
        match = re.match(r"(?:- )?(\S+?)(?:\(\))? is taken outside ([^.]*?)(?:, though.*)?$", sentence.rstrip("."))
        for inner in re.split(r",\s*|\s+and\s+", match[2]) if match else ():
            yield _name(match[1]), _name(inner)


def _name(lock: str) -> str:
    plain = lock.strip().strip("`").removesuffix("()")
    return _CANONICAL.get(plain, plain)


def sentences(text: str) -> list[str]:
    """Each item and paragraph as one line, without markup of lines."""
    blocks = re.split(r"\n\s*\n", text)
    return [" ".join(block.split()) for block in blocks if re.search(r"\w", block) and "---" not in block]


def digest(sentence: str) -> str:
    """What is kept of a sentence that was read."""
    return hashlib.sha256(sentence.encode()).hexdigest()[:16]


def reference(text: str) -> dict[str, str]:
    """Section 3: locks with their types."""
    lines = text[text.find("3. Reference") :].splitlines()
    found = {}
    for name, line in pairwise(lines):
        if re.fullmatch(r"\^+", line):
            found[name.strip("` ")] = ""
    for name in found:
        part = text[text.find(f"``{name}``", text.find("3. Reference")) :]
        kind = re.search(r":Type:\s*(.*)", part)
        found[name] = kind[1].strip() if kind else ""
    return found
