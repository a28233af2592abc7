"""The command ``lockscope``, also as ``python -m lockscope``."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

from lockscope import heap


def main() -> NoReturn:
    """Run the command line of this process and leave with its status."""
    gc.set_threshold(400_000, 20, 100)  # a start makes 300,000 objects that stay: not looked through at all
    heap.keep_freed()
    os.environ.setdefault(
        "OPENBLAS_NUM_THREADS", "1"
    )  # numpy starts a thread for each CPU, and nothing here needs them
    from lockscope.cli._run import run

    status = run(sys.argv[1:])
    gc.freeze()  # nor are they when the interpreter ends
    sys.exit(status)


if __name__ == "__main__":
    main()
