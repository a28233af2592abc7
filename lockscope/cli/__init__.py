"""The command line: every module of this folder with ``register(app)`` is a command.

A command imports what is heavy inside its function: ``lockscope --help`` loads neither NumPy nor pyarrow.
"""

from __future__ import annotations
