"""Units of settings."""

MIB = 1 << 20
"""Bytes of a MiB, in which settings give amounts of memory."""
