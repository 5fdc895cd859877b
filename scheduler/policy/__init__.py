"""Policy: which sequences run, and what each step computes. Pure: no clock, no I/O, no ctypes."""
