"""Locks that are only taken while another one is held, against the rulebook's ``[[must_hold]]``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lockscope.checks.story import Teller, address, merged
from lockscope.evidence.evidence import Evidence
from lockscope.lockgraph.rows import CLS
from lockscope.results.findings import Confidence, Finding, RuleRef, Severity
from lockscope.rules.book import MustHoldRule, Rulebook
from lockscope.walk.chains import Chain


def judge_must_hold(evidence: Evidence, check: tuple[str, str]) -> Iterator[Finding]:
    """One finding for every rule that is broken. ``check``: code and name.

    Only where lockdep sees all locks, and all that the task held is known: a lock that was not recorded is not missing.
    """
    if not (evidence.plain or evidence.detailed):
        return
    teller = Teller(evidence)
    names = [Rulebook.canonical(c.name) for c in evidence.classes]
    rules = {Rulebook.canonical(rule.lock): rule for rule in evidence.rules.must_hold}
    yield from merged(
        _finding(teller, check, chain, rules[names[chain.next.cls]]) for chain in _taken_alone(evidence, names, rules)
    )


def _taken_alone(evidence: Evidence, names: list[str], rules: dict[str, MustHoldRule]) -> Iterator[Chain]:
    chains = evidence.chains
    ruled = np.array([name in rules for name in names] or [False], np.bool_)
    last = chains.entries[chains.start[1:] - 1, CLS]
    for i in np.flatnonzero(ruled[last] & chains.whole).tolist():
        chain = chains[i]
        wanted = set(map(Rulebook.canonical, rules[names[chain.next.cls]].held))
        if wanted & set(names) and not any(names[entry.cls] in wanted for entry in chain.held):
            yield chain


def _finding(teller: Teller, check: tuple[str, str], chain: Chain, rule: MustHoldRule) -> Finding:
    evidence, name = teller.evidence, teller.name(chain.next.cls)
    missing = " or ".join(rule.held)
    story = [
        *teller.attempt(chain, None),
        "",
        f"which is only taken while {missing} is held:",
        f"  {rule.source}",
        "",
        "other info that might help us debug this:",
        "",
        *teller.held_lines(chain.held, chain.pid, chain.window),
    ]
    taken = evidence.witness(chain.next, chain.cpu, chain.pid, note=f"takes {name} at {address(chain.next.lock)}")
    taken = replace(taken, missing=f"{missing} not taken")
    return Finding(
        code=check[0],
        name=check[1],
        severity=Severity.ERROR,
        confidence=Confidence.CERTAIN,
        reason="all locks that the task held are known",
        effect=f"What {missing} protects together with {name} can change meanwhile.",
        by_events=True,
        title="lock taken without the one that it belongs inside",
        message=f"{name} is taken, and {missing} is not held.",
        classes=(name,),
        rule=RuleRef(rule.id, rule.source),
        count=chain.count,
        witnesses=(taken,),
        story=tuple(story),
        flow="alone",
        window=evidence.window(chain.window),
    )
