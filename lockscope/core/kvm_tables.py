"""The columns of the rows that the loops about KVM walk."""

from __future__ import annotations

# Columns (``cols[column, row]``): the row's place in the batch, what it is to the loop, the tape's own.
C_ROW, C_HOW, C_TS, C_SEQ, C_CPU, C_PID, C_FLAGS, C_OP, C_VM, C_OWN = range(10)
IN_INTERRUPT = 0x58  # common_flags: hardirq, softirq, NMI
