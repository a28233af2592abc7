"""Pairs of locks, one taken while another is held in the same irq context, against the rulebook."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockscope.checks.story import Teller, address, lock_word, merged, rests_on_held
from lockscope.evidence.evidence import Evidence
from lockscope.lockgraph.graph import chain_at
from lockscope.lockgraph.rows import CHECK, CLS, SYNC, TRYLOCK, Ints
from lockscope.results.findings import Confidence, Finding, RuleRef, Severity
from lockscope.rules.book import Rule, Rulebook, Scope
from lockscope.walk.chains import Chain, Entry

Broken = Callable[[str, str], Rule | None]


@dataclass(frozen=True, slots=True)
class Words:
    """What a check of pairs says: of the rule, the lock held and the lock taken."""

    title: str
    message: Callable[[Any, str, str], str]
    effect: str


def _rows(teller: Teller, held: frozenset[str], broken: Broken) -> Iterator[tuple[int, Rule]]:
    """Held rows that break a rule, each with the rule. A trylock cannot wait, so it breaks none."""
    rows, names = teller.graph.rows, [c.name for c in teller.evidence.classes]
    # What concerns SRCU is LS204's.
    waits = rows.live & (rows.entry[rows.last, TRYLOCK] == 0) & (rows.entry[rows.last, CHECK] != SYNC)
    ruled = np.array([Rulebook.canonical(name) in held for name in names] or [False], np.bool_)
    if not (teller.evidence.plain or teller.evidence.detailed):
        # A probe's miss (kprobes' nmissed) is no event: of what was not seen released nobody knows that it was held.
        waits &= teller.evidence.chains.whole
    inside = np.flatnonzero(rows.held & rows.same & waits[rows.chain] & ruled[rows.entry[:, CLS]])
    pair: Ints = rows.entry[inside, CLS] * max(len(names), 1) + rows.entry[rows.next[inside], CLS]
    distinct, which = np.unique(pair, return_inverse=True)
    found = [broken(names[p // len(names)], names[p % len(names)]) for p in distinct.tolist()]
    bad = np.array([rule is not None for rule in found], np.bool_)
    for row, at in zip(inside[bad[which]].tolist(), which[bad[which]].tolist(), strict=True):
        rule = found[at]
        if rule is not None:
            yield row, rule


def _confidence(evidence: Evidence, rule: Rule, held: Entry, taken: Entry) -> Confidence | None:
    """How sure it is that the rule speaks of these two instances; None where they are of different VMs."""
    if rule.scope is not Scope.VM:
        return Confidence.CERTAIN
    vms = evidence.vm_of(held.lock), evidence.vm_of(taken.lock)
    if None in vms:
        return Confidence.LIKELY
    return Confidence.CERTAIN if vms[0] == vms[1] else None


def _finding(teller: Teller, check: tuple[str, str], row: int, rule: Rule, words: Words) -> Finding | None:
    evidence = teller.evidence
    chain, place = chain_at(evidence, teller.graph.rows, row)
    held = chain.held[place]
    confidence = _confidence(evidence, rule, held, chain.next)
    if confidence is None:
        return None
    outer, inner = teller.name(held.cls), teller.name(chain.next.cls)
    return Finding(
        code=check[0],
        name=check[1],
        severity=Severity.ERROR,
        confidence=confidence,
        title=words.title,
        message=words.message(rule, outer, inner),
        classes=(outer, inner),
        rule=RuleRef(rule.id, rule.source),
        count=chain.count,
        witnesses=(
            evidence.witness(held, chain.cpu, chain.pid, note=f"takes {outer} at {address(held.lock)}"),
            evidence.witness(chain.next, chain.cpu, chain.pid, note=f"takes {inner} at {address(chain.next.lock)}"),
        ),
        story=tuple(_story(teller, chain, held, rule)),
        flow="",
        rests=rests_on_held(evidence, chain, held),
        window=evidence.window(chain.window),
        reason=_reason(rule, confidence),
        effect=words.effect,
        by_events=True,
    )


def _reason(rule: Rule, confidence: Confidence) -> str:
    if rule.scope is not Scope.VM:
        return "the rule is about any instances of the two locks"
    return (
        "both locks are of one VM"
        if confidence is Confidence.CERTAIN
        else "the trace does not say of which VM they are"
    )


def _story(teller: Teller, chain: Chain, held: Entry, rule: Rule) -> Iterator[str]:
    yield from teller.attempt(chain, held)
    yield ""
    yield "which the documentation forbids:"
    yield f"  {rule.source}"
    yield ""
    yield "other info that might help us debug this:"
    yield ""
    yield f"  {lock_word(held)}({teller.evidence.label(held.cls)});"
    yield f"  {lock_word(chain.next)}({teller.evidence.label(chain.next.cls)});   <-- not under the other"
    yield ""
    yield from teller.held_lines(chain.held, chain.pid, chain.window)


def judge_pairs(
    evidence: Evidence, check: tuple[str, str], held: Iterable[str], broken: Broken, words: Words
) -> Iterator[Finding]:
    """Findings for all pairs that break a rule.

    ``check``: code and name. ``held``: the locks inside which rules forbid any.
    """
    teller = Teller(evidence)
    ruled = frozenset(Rulebook.canonical(name) for name in held)
    found = (_finding(teller, check, row, rule, words) for row, rule in _rows(teller, ruled, broken))
    yield from merged(f for f in found if f is not None)
