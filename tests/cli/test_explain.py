from __future__ import annotations

import pytest

from tests.cli.conftest import Lockscope


@pytest.mark.parametrize("subject", ["LS101", "ls101", "circular-lock-dependency"])
def test_a_checks_page(lockscope: Lockscope, subject: str) -> None:
    done = lockscope("explain", subject)
    assert done.status == 0
    assert done.out.splitlines() == [
        "LS101 circular-lock-dependency: A cycle of dependencies.",
        "severity: error",
        "",
        "What it finds",
        "-------------",
        "",
        "Two classes taken in both orders.",
    ]


def test_a_tables_columns(lockscope: Lockscope) -> None:
    done = lockscope("explain", "table:holds")
    assert done.out.splitlines() == [
        "table:holds",
        "",
        "Lock-hold intervals.",
        "",
        "  column  type    unit  meaning",
        "  t0_ns   int64   ns    When the lock was taken.",
        "  lock    uint64        Address of the lockdep map.",
    ]


def test_without_a_subject_everything_is_listed(lockscope: Lockscope) -> None:
    done = lockscope("explain")
    assert done.status == 0
    assert "  LS101  circular-lock-dependency  error    A cycle of dependencies.\n" in done.out
    assert "  LS901  event-loss                info     A cycle of dependencies.\n" in done.out
    assert "  holds   Lock-hold intervals.\n  losses  What was lost.\n" in done.out


@pytest.mark.parametrize(
    ("subject", "near"),
    [("LS111", " (did you mean LS101?)"), ("ls9O1", " (did you mean LS901?)"),
     ("table:hold", " (did you mean table:holds?)"), ("event-los", " (did you mean event-loss?)"), ("zzz", "")],
)  # fmt: skip
def test_an_unknown_subject_is_one_line(lockscope: Lockscope, subject: str, near: str) -> None:
    done = lockscope("explain", subject)
    assert (done.status, done.out) == (2, "")
    topics = "LS101, LS102, LS201, LS901, table:holds, table:losses"
    assert done.err == f"lockscope: explain {subject}: unknown check or table{near}; choose from {topics}\n"
