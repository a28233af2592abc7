"""Random lock programs against a model of what can deadlock that shares nothing with the product.

The model has no usage bits and no shortest paths. It draws an edge from every lock held to every lock asked for, and
one from every lock held with interrupts on to every lock that an interrupt asks for, and looks for a closed walk along
which tasks (and interrupts) can wait for each other: a recursive reader does not wait for a lock that is held shared
(Documentation/locking/lockdep-design.rst, "Recursive Read Locks"). Such a walk with an interrupt's edge is LS107 or
LS108, one without is LS101.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from lockscope.checks.check import all_checks
from lockscope.results.findings import Severity
from tests.builders.chains import evidence_of

# What the words of a program do: (exclusive, waits as a recursive reader does not, is a trylock).
HOW = {"spin": (True, True), "write": (True, True), "read": (False, True), "rread": (False, False),
       "srcu": (False, False), "sync": (True, True)}  # fmt: skip
LOCKS = {"A": ("spin",), "B": ("spin",), "C": ("spin",), "R": ("write", "read", "rread"), "Q": ("write", "rread"),
         "S": ("srcu", "sync"), "T": ("srcu", "sync")}  # fmt: skip


@dataclass(frozen=True)
class Step:
    lock: str
    how: str
    trylock: bool

    @property
    def word(self) -> str:
        return f"{self.how}:{self.lock}{'?' if self.trylock else ''}"


@dataclass(frozen=True)
class Stretch:
    """Locks that one task, or an interrupt on it, takes one inside the other, and gives back in reverse."""

    steps: tuple[Step, ...]
    context: str  # "on", "off" (interrupts), "hardirq"

    def line(self, number: int) -> str:
        words = [s.word for s in self.steps]
        words += [f"-{s.lock}" for s in reversed(self.steps) if s.how != "sync"]
        if self.context == "hardirq":
            words = ["hardirq(", *words, ")"]
        elif self.context == "off":
            words = ["irqs-off", *words, "irqs-on"]
        return f"t{number}: {' '.join(words)}"


@dataclass
class Edges:
    """(from, to) -> {(from is held exclusively, to is waited for)}."""

    known: dict[tuple[str, str], set[tuple[bool, bool]]] = field(default_factory=dict)

    def add(self, tail: Step, head: Step) -> None:
        self.known.setdefault((tail.lock, head.lock), set()).add((HOW[tail.how][0], HOW[head.how][1]))

    def together(self, other: Edges) -> Edges:
        keys = {*self.known, *other.known}
        return Edges({k: self.known.get(k, set()) | other.known.get(k, set()) for k in keys})

    def reach(self, start: str, waits: bool) -> set[tuple[str, bool]]:
        """Where walks that enter ``start`` waiting, or as a recursive reader, can get to, and how they arrive there."""
        seen: set[tuple[str, bool]] = set()
        todo = [(start, waits)]
        while todo:
            here, arrived = todo.pop()
            for (tail, head), kinds in self.known.items():
                for exclusive, waiting in kinds:
                    if tail == here and (arrived or exclusive) and (head, waiting) not in seen:
                        seen.add((head, waiting))
                        todo.append((head, waiting))
        return seen


def closes(first: Edges, rest: Edges) -> bool:
    """Whether a closed walk begins with an edge of ``first`` and goes on along ``rest`` (or not at all)."""
    for (tail, head), kinds in first.known.items():
        for exclusive, waiting in kinds:
            ends = rest.reach(head, waiting) | {(head, waiting)}
            if any(lock == tail and (arrived or exclusive) for lock, arrived in ends):
                return True
    return False


def modelled(program: list[Stretch]) -> tuple[bool, bool]:
    """Whether tasks alone can deadlock, and whether an interrupt can with what it interrupts."""
    nested, irq = Edges(), Edges()
    exposed: list[Step] = []
    handlers: list[Step] = []
    for stretch in program:
        for place, step in enumerate(stretch.steps):
            for held in stretch.steps[:place]:
                if not step.trylock:
                    nested.add(held, step)
        held_ones = [s for s in stretch.steps if s.how != "sync"]
        exposed += held_ones if stretch.context == "on" else []
        handlers += [s for s in stretch.steps if not s.trylock] if stretch.context == "hardirq" else []
    for held in exposed:
        for asked in handlers:
            irq.add(held, asked)
    return closes(nested, nested), closes(irq, nested)


def made(seed: int) -> list[Stretch]:
    """A program of two to seven stretches; no lock is taken inside itself, and an interrupt does not sleep."""
    rng = random.Random(seed)
    few = rng.sample(sorted(LOCKS), rng.randint(2, 5))
    contexts = rng.choice((("on",), ("on", "off"), ("on", "off", "hardirq")))
    program = []
    for _ in range(rng.randint(2, 7)):
        context = rng.choice(contexts)
        steps = []
        for lock in rng.sample(few, rng.randint(1, min(4, len(few)))):
            ways = [how for how in LOCKS[lock] if context != "hardirq" or how not in ("read", "sync")]
            how = rng.choice(ways)
            steps.append(Step(lock, how, trylock=how not in ("srcu", "sync") and rng.random() < 0.15))
        if any(s.how == "sync" for s in steps):  # it sleeps, and takes nothing: the last thing a task does here
            steps = [s for s in steps if s.how != "sync"] + [s for s in steps if s.how == "sync"][:1]
        program.append(Stretch(tuple(steps), context))
    return program


def compare(seed: int) -> str:
    """What the product says otherwise than the model, with the program; empty where they agree."""
    program = made(seed)
    script = "\n".join(s.line(i) for i, s in enumerate(program))
    evidence = evidence_of(script)
    said = {}
    for code in ("LS101", "LS107", "LS108"):
        run, found = all_checks()[code].run(evidence)
        said[code] = (bool(found), any(f.severity is not Severity.INFO for f in found), run.verdict)
    tasks, irqs = modelled(program)
    told = said["LS101"][0], said["LS107"][1] or said["LS108"][1]
    return "" if told == (tasks, irqs) else f"seed {seed}: model {(tasks, irqs)}, told {told}\n{script}"


def test_some_programs() -> None:
    assert [text for text in map(compare, range(250)) if text] == []


def test_the_programs_are_of_both_kinds() -> None:
    answers = [modelled(made(seed)) for seed in range(250)]
    for which in (0, 1):
        share = sum(answer[which] for answer in answers) / len(answers)
        assert 0.05 < share < 0.8


@pytest.mark.all
def test_many_programs() -> None:
    assert [text for text in map(compare, range(250, 6_250)) if text] == []
