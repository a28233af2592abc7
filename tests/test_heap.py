from __future__ import annotations

import platform
import subprocess
import sys
import textwrap

import pytest

from lockscope import heap


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt()'s settings are glibc's alone: see below")
def test_freed_memory_is_used_again() -> None:
    """Without the setting each of these arrays is mapped anew: 2,048 pages, 20 times."""
    code = textwrap.dedent("""
        import resource, sys
        from lockscope import heap
        if sys.argv[1] == "kept":
            assert heap.keep_freed()
        import numpy as np
        np.ones(1 << 20)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            np.ones(1 << 20)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """)
    faults = {
        how: int(subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "anew")
    }
    assert faults["kept"] < 100 < faults["anew"]


@pytest.mark.parametrize("absent", [AttributeError, OSError, TypeError])
def test_a_c_library_without_the_settings_is_left_alone(
    absent: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def library(_: None) -> None:
        raise absent

    monkeypatch.setattr("lockscope.heap.ctypes.CDLL", library)
    assert heap.keep_freed() is False
