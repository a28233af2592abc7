"""The figures of a night's report: a file each, found by walking this folder."""
