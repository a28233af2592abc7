"""Exploring: all schedules of small scenes, which of them break the rule, and that the right order breaks in none."""

from __future__ import annotations

import pytest

from lockscope.errors import UsageError
from lockscope.simulate.explore import _Choice, explore
from lockscope.simulate.parameters import Parameters
from lockscope.simulate.scenario import scenarios

EXPLORED = [name for name, scenario in scenarios().items() if scenario.explore is not None]


@pytest.mark.parametrize("name", EXPLORED)
def test_some_schedules_break_and_none_of_the_near_miss(name: str) -> None:
    kernel = scenarios()[name].kernels[-1]
    broken = explore(name, Parameters(kernel=kernel))
    assert broken.complete
    assert 0 < broken.broken < broken.schedules
    assert broken.shortest
    right = explore(name, Parameters(kernel=kernel, near_miss=True))
    assert right.complete
    assert right.broken == 0
    assert right.schedules > 1


@pytest.mark.parametrize("name", EXPLORED)
def test_orders_that_are_left_out_have_no_outcome_of_their_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = scenarios()[name].kernels[-1]
    found = explore(name, Parameters(kernel=kernel))
    with monkeypatch.context() as patched:
        patched.setattr(_Choice, "behind", lambda _: {})  # nobody sleeps: all orders are tried
        whole = explore(name, Parameters(kernel=kernel))
        right = explore(name, Parameters(kernel=kernel, near_miss=True))
    assert whole.complete
    assert whole.schedules >= found.schedules
    assert whole.broken > 0
    assert (len(whole.shortest), whole.how) == (len(found.shortest), found.how)
    assert (right.complete, right.broken) == (True, 0)


def test_the_number_of_orders_that_tell_apart() -> None:
    """Two tasks that take two locks the wrong and the right way round: either first, or both at once."""
    told = {name: (explore(name).schedules, explore(name).broken) for name in EXPLORED if name.startswith("order-")}
    assert len(told) == 7
    assert set(told.values()) == {(3, 1)}
    assert (explore("race-lost-bit").schedules, explore("race-lost-bit").broken) == (51, 29)


def test_the_shortest_schedule_is_told_step_by_step() -> None:
    found = explore("flush-clear-dirty-log")
    assert found.shortest[-2:] == [
        "user space: write-protects gfn 0x1000",
        "vCPU: the guest writes gfn 0x1000",
    ]
    assert "stale TLB entry" in found.lines()[-1]


def test_a_bound_is_said() -> None:
    found = explore("flush-clear-dirty-log", Parameters(near_miss=True), most=3)
    assert not found.complete
    assert found.lines()[0].startswith("flush-clear-dirty-log (near miss): the first 3 schedules; 0 break")


def test_what_has_no_scene_says_so() -> None:
    with pytest.raises(UsageError, match="cannot be explored"):
        explore("quiet-mixed")
