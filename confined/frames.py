"""The form of what crosses the socket between a confined process and its parent.

A frame is a head and data. In a question, the head's number is the CPU time that the answer may
take. In an answer, the number is the CPU time that the process has used since it began.
"""

from __future__ import annotations

import struct

HEAD = struct.Struct("<Id")
"""Length of the data in bytes, and seconds."""

TOO_SLOW, TOO_LARGE = 0xFFFFFFFF, 0xFFFFFFFE
"""Lengths of answers that say which limit ended the work. The process goes on."""


def frame(data: bytes, seconds: float) -> bytes:
    """One frame."""
    return HEAD.pack(len(data), seconds) + data


def verdict(code: int, seconds: float) -> bytes:
    """The frame of `TOO_SLOW` or `TOO_LARGE`."""
    return HEAD.pack(code, seconds)
