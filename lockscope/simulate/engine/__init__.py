"""A machine with an operating system's kernel: CPUs, interrupts, tasks, a scheduler, locks, SRCU.

``machine`` has the loop, ``cpus`` interrupts and the scheduler, ``tasks`` what runs; ``classes``, ``locks`` and
``srcu`` are the kernel's own means of keeping tasks apart: who waits for whom, and for how long, comes out of them.
"""
