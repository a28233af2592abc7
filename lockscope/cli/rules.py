"""``lockscope rules``: the rulebooks, and every rule of one with its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lockscope.cli._shell import show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lockscope.rules.book import LeafRule, Rule, Rulebook


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rules")(rules)


def rules(
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="A kernel version, a rulebook's name, or a .toml file.")
    ] = None,
) -> None:
    """Print the rulebook of a kernel version, with the source of each rule."""
    from lockscope.rules import load

    if version is None:
        lines = _overview([load.load(name) for name in load.names()], load.DEFAULT)
    else:
        book, kernel = load.find(version)
        lines = _page(book if kernel is None else book.for_kernel(kernel))
    show(lines)


def _overview(books: list[Rulebook], default: str) -> Iterator[str]:
    yield "rulebooks (lockscope rules NAME):"
    for book in books:
        judged = len(book.orders) + len(book.leaves) + len(book.srcu) + len(book.must_hold)
        yield f"  {book.name:<9} {book.title:<34} {judged:>3} rules   {book.document} ({book.version})"
    yield ""
    yield f"A trace is judged by the book of its kernel, or by {default} where it names none; --rules takes another,"
    yield "or a file of your own in the form of lockscope/rules/*.toml."


def _page(book: Rulebook) -> Iterator[str]:
    yield f"{book.name}: {book.title}" if book.title else book.name
    if book.document:
        yield f"{book.document} ({book.version})"
    if book.notifiers:
        yield f"Notifiers (MMU, reclaim, preempt) take {', '.join(book.notifiers)}"
    for title, group in _groups(book):
        if group:
            yield ""
            yield title
        for what, rule in group:
            yield f"  {what}"
            yield from _small_print(rule)


def _groups(book: Rulebook) -> Iterator[tuple[str, list[tuple[str, Rule]]]]:
    yield "Orders: taken outside > inside (LS102)", [(f"{r.outer} > {r.inner}", r) for r in book.orders]
    yield (
        "Leaves: no other lock of KVM's is taken inside (LS103)",
        [(r.lock + _leaf(r), r) for r in book.leaves],
    )
    yield (
        "SRCU: locks, read sections and synchronize_srcu() (LS204)",
        [(f"{r.lock}: {_SRCU[r.kind].format(r.srcu)}", r) for r in book.srcu],
    )
    yield "Never taken alone", [(f"{r.lock} only with {' or '.join(r.held)} held", r) for r in book.must_hold]
    yield (
        "What the locks protect",
        [(f"{r.lock} ({r.type}): {', '.join(r.protects)}" + (f". {r.comment}" if r.comment else ""), r)
         for r in book.reference],
    )  # fmt: skip
    yield (
        "By when a TLB flush is owed (LS301, LS302)",
        [(f"{r.flow} ({', '.join(r.loss)}): {_WINDOWS[r.window]}", r) for r in book.flows],
    )
    yield "Facts that checks rest on", [(f"{r.about} = {_shown(r.value)}", r) for r in book.facts]


_SRCU = {
    "not-inside": "not taken inside a read section of {}, as it is held around synchronize_srcu()",
    "not-around": "not held around synchronize_srcu() of {}",
    "inside": "may be taken inside a read section of {}",
}

_WINDOWS = {
    "mmu_lock": "before mmu_lock is released or yielded",
    "slots_lock": "before slots_lock is released",
    "ioctl": "before the ioctl returns",
    "before": "before the event",
    "around": "before the event, or before mmu_lock is released",
    "deferred": "with the next flush or notifier",
    "none": "no flush",
}


def _leaf(rule: LeafRule) -> str:
    inner = [*rule.inner, *(["what notifiers take"] if rule.notifiers else [])]
    words = [f"but for {', '.join(inner)}"] if inner else []
    words += [] if rule.sleeping else ["no sleeping lock"]
    words += ["no lock at all"] if rule.judge == "all" else []
    return f": {'; '.join(words)}" if words else ""


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"0x{value:x}" if isinstance(value, int) and value > 0xFF else str(value)


def _small_print(rule: Rule) -> Iterator[str]:
    limits = [word for word in ("" if rule.arch == "any" else rule.arch, str(rule.when)) if word]
    limits += ["one VM's locks"] if rule.scope == "vm" else []
    yield f"      {rule.id}" + (f" [{'; '.join(limits)}]" if limits else "")
    yield f"      {rule.source}"
    if rule.note:
        yield f"      Note: {rule.note}"
