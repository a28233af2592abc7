"""New, known, back, flapping, fixed, not judged."""

from __future__ import annotations

import pytest

from lockscope.nightly.lifecycle import Judged, Life, State, lives
from lockscope.nightly.tables import Row
from tests.builders.nights import LOCK, SLOTS, check, finding


def life(mark: str, *, host: str = "a") -> Life:
    """A finding that was seen (#), judged and not seen (.), or not judged ( ) in one night after the other."""
    nights = [f"n{i:02}" for i in range(len(mark))]
    seen = [finding(n, host, "f" * 16, LOCK) for n, m in zip(nights, mark, strict=True) if m == "#"]
    judged = Judged.of(
        [check(n, host) for n, m in zip(nights, mark, strict=True) if m in "#."],
        [{"night": n, "name": LOCK} for n in nights],
    )
    return lives(seen, judged, nights)[0]


@pytest.mark.parametrize(
    ("mark", "state"),
    [
        ("#", State.NEW),
        ("   #", State.NEW),
        ("##", State.KNOWN),
        ("# #", State.KNOWN),
        ("#####.#", State.FLAPPING),
        ("####.", State.ABSENT),
        ("####..", State.FIXED),
        ("#..", State.ABSENT),
        ("#...", State.FIXED),
        ("####...", State.GONE),
        ("####..    .", State.GONE),
        ("#.#.#.", State.ABSENT),
        ("#.#.#....", State.FIXED),
        ("####....#", State.BACK),
        ("#### ", State.UNJUDGED),
        ("####.................#.###############", State.KNOWN),
    ],
)
def test_states(mark: str, state: State) -> None:
    assert life(mark).state is state


def test_what_could_not_have_been_seen_is_no_evidence() -> None:
    row = finding("n0", "a", "f" * 16, LOCK)
    ran = {("n1", "a"): frozenset({"LS102"}), ("n2", "b"): frozenset({"LS102"}), ("n3", "a"): frozenset({"LS101"})}
    judged = Judged(ran, dict.fromkeys(("n1", "n2", "n3"), frozenset({LOCK})))
    assert [judged.could(n, row, {"a"}) for n in ("n1", "n2", "n3")] == [True, False, False]
    assert not Judged(ran, {"n1": frozenset({SLOTS})}).could("n1", row, {"a"})


def test_subclasses_are_of_their_class() -> None:
    judged = Judged.of([check("n1", "a")], [{"night": "n1", "name": f"{LOCK}/1"}])
    assert judged.could("n1", finding("n0", "a", "f" * 16, LOCK), {"a"})


def test_the_loudest_comes_first() -> None:
    def row(fingerprint: str, night: str, **more: object) -> Row:
        return finding(night, "a", fingerprint, *more.pop("classes", [LOCK]), **more)

    rows = [
        row("1", "n1"), row("1", "n2"),
        row("2", "n2", severity="info"),
        row("3", "n2", code="LS104", classes=["&p->lock"]),
        row("4", "n2", code="LS105"),
    ]  # fmt: skip
    judged = Judged.of([check(n, "a") for n in ("n1", "n2")], [{"night": n, "name": LOCK} for n in ("n1", "n2")])
    assert [x.row["fingerprint"] for x in lives(rows, judged, ["n1", "n2"])] == ["4", "3", "2", "1"]
