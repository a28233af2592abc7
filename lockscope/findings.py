"""The former place of ``lockscope.results.findings``; it goes on working for one release, with a warning."""

from __future__ import annotations

import warnings

from lockscope.results.findings import *  # noqa: F403

warnings.warn("lockscope.findings is lockscope.results.findings now", DeprecationWarning, stacklevel=2)
