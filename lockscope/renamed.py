"""Names that keyword arguments had in an earlier release: they go on working for one more, with a warning."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def renamed(**former: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function whose arguments may also be given by the names they had: ``@renamed(tasks="task")``."""

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            for old in [name for name in kwargs if name in former]:
                warnings.warn(f"{old}= is {former[old]}= now", DeprecationWarning, stacklevel=2)
                kwargs.setdefault(former[old], kwargs.pop(old))
            return function(*args, **kwargs)

        return call

    return wrap
