"""lockscope finds kernel locking bugs, KVM's first of all, in a recorded trace.

``lockscope.load(path)`` opens a trace, ``lockscope.analyze(paths)`` judges it. Names are imported when first used, so
that ``import lockscope`` and ``lockscope --help`` stay quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lockscope.pipeline import AnalyzeOptions, analyze
    from lockscope.results.findings import Finding, Report
    from lockscope.trace.trace import Trace, load

__version__ = "0.1.0"  # pyproject.toml says the same; a test holds it

__all__ = ["AnalyzeOptions", "Finding", "Report", "Trace", "__version__", "analyze", "load"]

_HOME = {
    "AnalyzeOptions": "lockscope.pipeline",
    "Finding": "lockscope.results.findings",
    "Report": "lockscope.results.findings",
    "Trace": "lockscope.trace.trace",
    "analyze": "lockscope.pipeline",
    "load": "lockscope.trace.trace",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
