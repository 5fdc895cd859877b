"""The memory that JSON needs, told from its characters."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import msgspec
import pytest

from server.bodies.json_bounds import MAX_DEPTH, MAX_VALUE_BYTES, is_too_deep, value_bytes

MIB = 1 << 20


@pytest.mark.parametrize(
    "value",
    [
        [[[]] * 4] * 40_000,
        [{"a": 1}] * 60_000,
        [f"word {number}" for number in range(200_000)],
        {f"name {number}": number / 7 for number in range(200_000)},
        [70_000 + number for number in range(400_000)],
        [[{"": []}]] * 40_000,
    ],
)
def test_values_take_no_more_than_is_told(value: Any) -> None:
    data = msgspec.json.encode(value)
    tracemalloc.start()
    kept = msgspec.json.decode(data)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept == value
    assert size <= value_bytes(data) + len(data) + MIB


@pytest.mark.parametrize(
    "text",
    [
        "[{,:",
        '"',
        '\\"[',
        "\\",
        "\\\\,",
        'a "quoted, [text]" and \\ more',
    ],
)
@pytest.mark.parametrize("shift", range(4))
def test_the_characters_of_texts_cost_nothing(text: str, shift: int) -> None:
    """However they fall on the blocks that are looked at."""
    value = [" " * shift, text * (5_000_000 // len(text)), [], {"a": 1}]
    assert value_bytes(json.dumps(value).encode()) < MAX_VALUE_BYTES


@pytest.mark.parametrize("data", [b'["', b'"\\', b"[\\", b'{"a', b"\\" * 3 * MIB, b'"' * 3 * MIB])
def test_broken_json_has_a_size_too(data: bytes) -> None:
    assert value_bytes(data) >= 0
    assert value_bytes(b"[" * MIB * 2 + data) > MAX_VALUE_BYTES


def test_depth_counts_nesting_alone() -> None:
    wide: Any = [[]] * 10_000
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = {"a": deep}
    for value, expected in ((wide, False), (deep, False), ([deep], True), ({"b": [deep]}, True)):
        assert is_too_deep(json.dumps(value).encode(), value) is expected
