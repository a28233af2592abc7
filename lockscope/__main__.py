"""The command ``lockscope``, also as ``python -m lockscope``."""

from __future__ import annotations

import sys
from typing import NoReturn

from lockscope.cli._run import run


def main() -> NoReturn:
    """Run the command line of this process and leave with its status (contract, section 1)."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
