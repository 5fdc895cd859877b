"""The decoded events don't depend on where the bytes are cut."""

from __future__ import annotations

import itertools
import random

import pytest

from loadtests.harness.sse import SSEDecoder

STREAM = (
    b": ping\n\n"
    b'data: {"content":"a"}\n\n'
    b"event: message\r\ndata: first\r\ndata: second\r\n\r\n"
    b"data:no space\n\n"
    b"\n\n"
    b"id: 7\nretry: 10\n\n"
    b'data: {"text":"caf\xc3\xa9 \xf0\x9f\xa6\x99"}\n\n'
    b"data: [DONE]\n\n"
)
EVENTS = [
    b'{"content":"a"}',
    b"first\nsecond",
    b"no space",
    '{"text":"café 🦙"}'.encode(),
    b"[DONE]",
]


def decode(parts: list[bytes]) -> list[bytes]:
    decoder = SSEDecoder()
    return [event for part in parts for event in decoder.feed(part)]


def test_whole_stream_at_once() -> None:
    assert decode([STREAM]) == EVENTS


def test_byte_by_byte() -> None:
    assert decode([STREAM[i : i + 1] for i in range(len(STREAM))]) == EVENTS


@pytest.mark.parametrize("cut", range(1, len(STREAM)))
def test_every_single_cut(cut: int) -> None:
    assert decode([STREAM[:cut], STREAM[cut:]]) == EVENTS


def test_random_cuts() -> None:
    rng = random.Random(1)
    for _ in range(200):
        cuts = sorted(rng.sample(range(1, len(STREAM)), 12))
        bounds = [0, *cuts, len(STREAM)]
        parts = [STREAM[a:b] for a, b in itertools.pairwise(bounds)]
        assert decode(parts) == EVENTS


def test_an_event_needs_its_blank_line() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: half\n") == []
    assert decoder.feed(b"\n") == [b"half"]


def test_an_empty_chunk_changes_nothing() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a") == []
    assert decoder.feed(b"") == []
    assert decoder.feed(b"b\n\n") == [b"ab"]
