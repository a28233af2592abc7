from __future__ import annotations

import platform
import subprocess
import sys
import textwrap

import pytest


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
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
