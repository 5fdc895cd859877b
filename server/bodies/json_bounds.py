"""Bounds of JSON from clients: the memory of its values, told before they are made, and its depth.

A byte of JSON can become more than fifty bytes of memory. So the bytes alone are no bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 128
"""Most levels of arrays and objects. JSON Schemas are the deepest JSON in practice."""

MAX_VALUE_BYTES = 64 << 20
"""Most bytes of memory that values may take, by `value_bytes`: 1.6 million numbers, or 80,000
messages of a chat. The longest contexts, sent as lists of token ids, stay below the limit."""

_TEXT_BYTES = 60
_BYTES = ((b",", 40), (b":", 60), (b"[", 80), (b"{", 400))
"""The memory that a value takes, by the characters which come with it. An object often becomes a
model."""

_BLOCK = 1 << 20
"""Bytes that are looked at in one call, during which no other thread runs."""

_TEXT = re.compile(rb'"[^"]*+"')


def value_bytes(data: bytes | bytearray) -> int:
    """The bytes of memory that the values of `data` take at most, without their characters.

    Takes milliseconds. `data` may be broken: then this holds for what a parser reads of it.
    """
    rough = _count(data) + _TEXT_BYTES * data.count(b'"') // 2
    if rough <= MAX_VALUE_BYTES:
        return rough
    # Brackets and commas inside of texts cost nothing.
    total = 0
    for structure, num_texts in _structure(data):
        total += _count(structure) + _TEXT_BYTES * num_texts
        if total > MAX_VALUE_BYTES:
            break
    return total


def _structure(data: bytes | bytearray) -> Iterator[tuple[bytes, int]]:
    """Block by block, the JSON without its texts, and the number of texts."""
    is_inside = False
    for block in _blocks(data):
        # Escaped quotes end no text.
        plain = block.replace(b"\\\\", b"").replace(b'\\"', b"")
        if is_inside:
            plain = b'"' + plain
        is_inside = plain.count(b'"') % 2 == 1
        if is_inside:
            plain += b'"'
        yield _TEXT.sub(b"", plain), plain.count(b'"') // 2


def _blocks(data: bytes | bytearray) -> Iterator[bytes | bytearray]:
    """The data in blocks that don't end within an escape."""
    start = 0
    while start < len(data):
        end = min(start + _BLOCK, len(data))
        block = data[start:end]
        if (len(block) - len(block.rstrip(b"\\"))) % 2:
            end += 1
        yield data[start:end]
        start = end


def is_too_deep(data: bytes | bytearray, value: Any) -> bool:
    """Whether the value of `data` nests more than `MAX_DEPTH` arrays and objects."""
    # Counting brackets is cheap and accepts nearly every body. Only the rest is walked.
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return False
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _containers(parent)]
        if not level:
            return False
    return True


def _count(data: bytes | bytearray) -> int:
    return sum(data.count(sign) * cost for sign, cost in _BYTES)


def _containers(value: Any) -> Iterator[Any]:
    children = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        yield from (child for child in children if isinstance(child, dict | list))
