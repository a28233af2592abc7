"""A row of the tape, as compiled loops see it: what it is, who made it, when and where, and where its slots begin."""

from __future__ import annotations

H_OP, H_PID, H_FLAGS, H_PREEMPT, H_TS, H_SEQ, H_CPU, H_STREAM, H_KIND, H_SLOTS, HEAD_WIDTH = range(11)
