"""Mutations of known inputs: pieces cut, repeated, replaced, and exchanged with other inputs."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

MOST_BYTES = 1 << 18
TIMES = (2, 3, 10, 100, 1000, 10_000)
"""How often a piece is repeated."""


@st.composite
def mutated(draw: DrawFn, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """A seed with one to four changes; `words` are pieces that mean something to the reader."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        data = draw(_changed(data, seeds, words))[:MOST_BYTES]
    return data


@st.composite
def _changed(draw: DrawFn, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(len(data), start + draw(st.sampled_from((1, 4, 30, 300))))))
    before, piece, after = data[:start], data[start:end], data[end:]
    kind = draw(st.integers(0, 5))
    if kind == 0:
        piece = b""
    elif kind == 1:
        piece *= draw(st.sampled_from(TIMES))
    elif kind == 2:
        piece = draw(st.binary(max_size=8))
    elif kind == 3:
        piece = draw(st.sampled_from(words)) * draw(st.sampled_from((1, 1, 1, 5, 300)))
    elif kind == 4:
        other = draw(st.sampled_from(seeds))
        cut = draw(st.integers(0, len(other)))
        piece = other[cut : cut + draw(st.sampled_from((4, 30, 300)))]
    else:
        piece = b"".join((piece, draw(st.sampled_from(words)), piece))
    return before + piece + after


def with_mutations(
    fresh: SearchStrategy[bytes], seeds: Sequence[bytes], words: Sequence[bytes]
) -> SearchStrategy[bytes]:
    """Fresh inputs, and mutations of the seeds, one to one."""
    return st.one_of(fresh, mutated(seeds, words)) if seeds else fresh
