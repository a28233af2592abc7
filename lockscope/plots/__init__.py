"""Figures of a trace: one file each, ``data()`` apart from ``draw()``."""
