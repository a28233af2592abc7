"""What the simulated host writes: event formats of a kernel version, ring buffers, files."""
