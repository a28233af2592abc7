"""LS101 through waits that are no acquisitions, and past sections that are no waits."""

from __future__ import annotations

import pytest

from lockscope.results.findings import Confidence
from tests.builders.chains import findings


@pytest.mark.parametrize(
    ("script", "classes"),
    [
        # CVE-2024-47744: srcu, cpu_hotplug_lock, kvm_lock, slots_lock, and back through synchronize_srcu().
        (
            "a: srcu:S dread:hotplug -hotplug -S\nb: down:hotplug mutex:kvm_lock -kvm_lock -hotplug\n"
            "c: mutex:kvm_lock mutex:slots -slots -kvm_lock\nd: mutex:slots sync:S -slots",
            ("S", "hotplug", "kvm_lock", "slots"),
        ),
        ("a: mutex:A srcu:S mutex:B -B -S -A\nb: mutex:B mutex:A -A -B", ("A", "B")),
        ("a: mutex:A rread:R spin:B -B -R -A\nb: spin:B mutex:A -A -B", ("A", "B")),
        ("a: srcu:S sync:T -S\nb: srcu:T sync:S -T", ("S", "T")),
    ],
)
def test_a_ring_through_readers(script: str, classes: tuple[str, ...]) -> None:
    (finding,) = findings("LS101", script)
    assert finding.classes == classes
    assert finding.confidence is Confidence.CERTAIN


@pytest.mark.parametrize(
    "script",
    [
        "a: mutex:A srcu:S -S -A\nb: srcu:S mutex:A -A -S",  # readers do not wait
        "a: srcu:S mutex:A? -A -S\nb: mutex:A sync:S -A",  # nor does a trylock
        "a: mutex:A sync:S -A\nb: srcu:T mutex:A -A -T",  # another SRCU
        "a: srcu:S sync:S -S",  # LS205's
    ],
)
def test_no_ring(script: str) -> None:
    assert findings("LS101", script) == []
