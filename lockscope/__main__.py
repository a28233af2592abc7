"""The command ``lockscope``, also as ``python -m lockscope``."""

from __future__ import annotations

import gc
import sys
from typing import NoReturn

from lockscope.cli._run import run


def main() -> NoReturn:
    """Run the command line of this process and leave with its status (contract, section 1)."""
    gc.set_threshold(400_000, 20, 100)  # a start makes 300,000 objects that stay: not looked through at all
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
