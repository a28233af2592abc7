from __future__ import annotations

import pytest

from lockscope.kvm.versions import level, parse, series

# release -> series, stable, distribution, rt
RELEASES = {
    "6.12.117": ((6, 12), 117, False, False),
    "6.12": ((6, 12), 0, False, False),
    "v4.14": ((4, 14), 0, False, False),
    "6.12.0-rc3": ((6, 12), 0, False, False),
    "6.13.0-rc1+": ((6, 13), 0, False, False),
    "6.12.0-12345-gabcdef0123-dirty": ((6, 12), 0, False, False),
    "6.12.0-next-20241002": ((6, 12), 0, False, False),
    "6.6.52-rt43": ((6, 6), 52, False, True),
    "6.1.0-56-amd64": ((6, 1), None, True, False),
    "6.1.0-18-rt-amd64": ((6, 1), None, True, True),
    "5.14.0-503.el9.x86_64": ((5, 14), None, True, False),
    "5.14.0-284.11.1.rt14.296.el9_2.x86_64": ((5, 14), None, True, True),
    "6.8.0-45-generic": ((6, 8), None, True, False),
    "5.15.0-1032-realtime": ((5, 15), None, True, True),
    "6.8.12-1-pve": ((6, 8), 12, True, False),
    "6.12.48+deb13-amd64": ((6, 12), 48, True, False),
    "5.15.153.1-microsoft-standard-WSL2": ((5, 15), 153, True, False),
    "4.14.355-openela": ((4, 14), 355, True, False),
    "6.1.0-art": ((6, 1), None, True, False),
    "Linux version 6.12.117 (x@y) #1 SMP PREEMPT_RT": ((6, 12), 117, False, True),
    "Linux host 6.12.117 #2 SMP PREEMPT_DYNAMIC Thu x86_64": ((6, 12), 117, False, False),
    "6.6.99999999999999999999": ((6, 6), None, True, False),  # no number grows without bound
}


@pytest.mark.parametrize("text", RELEASES)
def test_what_a_release_says(text: str) -> None:
    found = parse(text)

    assert found is not None
    assert (found.series, found.stable, found.distribution, found.rt) == RELEASES[text]


@pytest.mark.parametrize("text", [None, "", "nonsense", "99999.1", "next-20241002", "6"])
def test_what_is_no_release(text: str | None) -> None:
    assert parse(text) is None


def test_comparisons() -> None:
    found = parse("6.6.54")

    assert found is not None
    assert found.at_least(6, 6)
    assert found.at_least(5, 19)
    assert not found.at_least(6, 10)
    assert found.before(6, 10)
    assert not found.before(6, 6)
    assert str(found) == "6.6.54"


@pytest.mark.parametrize(
    ("release", "known"),
    [
        ("6.6.54", True),
        ("6.6.99", True),
        ("6.6.53", False),
        ("6.7.60", False),
        ("6.6.0-60-generic", False),
        ("6.6.60-1-pve", False),
    ],
)
def test_a_stable_level_counts_only_where_it_is_known(release: str, known: bool) -> None:
    found = parse(release)

    assert found is not None
    assert found.has_stable(6, 6, 54) is known


def test_bounds_of_rules() -> None:
    assert series("5.14") == (5, 14)
    assert level(">=6.6.54") == (6, 6, 54)
    for wrong in ("5", "5.14.1", "five", "5.14 "):
        with pytest.raises(ValueError, match="not a kernel series"):
            series(wrong)
    for wrong in ("6.6.54", ">=6.6", "> 6.6.54"):
        with pytest.raises(ValueError, match="not a stable level"):
            level(wrong)
