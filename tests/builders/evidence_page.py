"""docs/evidence.md, made from the checks: what each rests on, without what it says nothing, and what it cannot see.

python -m tests.builders.evidence_page
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lockscope.checks._grounds import LockGrounds
from lockscope.checks.check import Check, all_checks
from lockscope.evidence.evidence import Evidence
from lockscope.facts.fact import known
from lockscope.results.findings import Status
from lockscope.rules.load import choose
from lockscope.tables.events import TraceInfo
from lockscope.tables.ops import Op
from lockscope.tables.tape import sources
from lockscope.tables.texts import Texts
from lockscope.walk.chains import Chains
from lockscope.walk.walk import WALKED_OPS, LockWalk, WalkOptions

PAGE = Path(__file__).parents[2] / "docs" / "evidence.md"
_HEAD = """# What every check rests on, and what it cannot see

Made from the checks themselves by `python -m tests.builders.evidence_page`; a test holds it to them. `lockscope explain
CODE` has the whole page of each, `lockscope info TRACE` says which of them a trace decides.

"Reads" names the operations that a check looks at; the events behind each are listed below. A check whose events were
not recorded is skipped and says so. What a check says rests on more: a counted loss, a pause, a CPU that was not
recorded, a buffer that ended early make it "in part", and its verdict "cannot tell" where nothing was found.
"""
_WORDS = {"classes": "exact classes and read kinds", "waits": "wait types", "irqs": "irq flags and contexts",
          "balance": "every acquisition and release of a task"}  # fmt: skip


def _reads(check: Check) -> str:
    facts, found = known(), []
    if isinstance(check.grounds, LockGrounds):
        found = ["what tasks hold", *(words for key, words in _WORDS.items() if getattr(check.grounds, key))]
        found += [f"`{name}`" for name in check.grounds.events]
    names = list(check.facts)
    for name in names:
        names += [needed for needed in facts[name].needs if needed not in names]
    if "vms" in names:
        found.append("which VM it is (of locks and probes that name it)")
    ops = sorted({op for name in names if name != "vms" for op in facts[name].ops} - {Op.LOSS, Op.GAP})
    return "; ".join(filter(None, (", ".join(found), ", ".join(op.name.lower() for op in ops)))) or (
        "the other checks" if check.notice else "what tasks hold"
    )


def _without(check: Check) -> str:
    """What is said where nothing was recorded."""
    info = TraceInfo("", "")
    walk = LockWalk(Texts(), WalkOptions())
    chains: Chains = walk.chains()
    grounds = check.grounds(Evidence(info, choose("6.12.0", "auto")[0], [], chains, [], {}))
    return (grounds.reason or "") if grounds.status is Status.SKIPPED else "never skipped"


def _cannot(check: Check) -> str:
    text = check.page.split("What it cannot see", 1)[1].split("\n", 2)[2]
    return re.sub(r"\s+", " ", text.split("\n```", 1)[0]).strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _lines() -> Iterator[str]:
    yield _HEAD
    yield "| check | reads | skipped without | cannot see |"
    yield "|---|---|---|---|"
    for check in all_checks().values():
        yield (
            f"| {check.code} {check.name} | " + " | ".join(_cell(f(check)) for f in (_reads, _without, _cannot)) + " |"
        )
    yield ""
    yield "## Operations and their events"
    yield ""
    yield "What tasks hold is read from " + ", ".join(op.name.lower() for op in sorted(WALKED_OPS)) + "."
    yield ""
    yield "| operation | events |"
    yield "|---|---|"
    for op in Op:
        events = sorted({s.event for s in sources() if s.op is op})
        if events:
            yield f"| {op.name.lower()} | {', '.join(f'`{e}`' for e in events)} |"


def page() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
