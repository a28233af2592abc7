"""Rows of the tape: where a gap stands among them."""

from __future__ import annotations

import numpy as np
import pytest

from lockscope.tables.ops import Op
from lockscope.tables.tape import Projector
from tests.builders.script import Script

A, B = 0xFFFF888100000100, 0xFFFF888100000200


def _ops(script: Script, rows: int) -> list[tuple[Op, int]]:
    reader, projector, found = script.reader(), Projector(), []
    for batch in reader.batches(rows=rows):
        tape = projector.project(batch, reader.formats, np.array([s.cpu for s in reader.info.streams], np.int32))
        part = tape.rows(np.arange(len(tape)))
        found += [(Op(int(op)), int(cpu)) for op, cpu in zip(part.op, part.cpu, strict=True)]
    return found


@pytest.mark.parametrize("rows", [4, 5, 1 << 16])
def test_a_gap_begins_behind_the_last_event_of_its_cpu(rows: int) -> None:
    """What came before it is known; what other CPUs did until the loss is told is no evidence for its tasks."""
    script = Script()
    here, there = script.task("here", 70, 0), script.task("there", 71, 1)
    here.acquire("a", A).release("a", A)
    there.acquire("b", B)
    script.loss(0)
    here.acquire("a", A)
    assert _ops(script, rows) == [
        (Op.ACQUIRE, 0), (Op.RELEASE, 0), (Op.GAP, 0), (Op.ACQUIRE, 1), (Op.LOSS, 0), (Op.ACQUIRE, 0),
    ]  # fmt: skip


def test_a_gap_before_the_first_event_of_a_cpu() -> None:
    script = Script()
    script.task("there", 71, 1).acquire("b", B)
    script.loss(0)
    script.task("here", 70, 0).acquire("a", A)
    assert _ops(script, 1 << 16) == [(Op.GAP, 0), (Op.ACQUIRE, 1), (Op.LOSS, 0), (Op.ACQUIRE, 0)]
