"""Long texts are split piece by piece, and the pieces are the text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.native.piecewise_tokenize import PIECE_BYTES, pieces

parts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["a", " ", "漢", "\N{GRINNING FACE}", "é "]).flatmap(
        lambda part: st.integers(1, 3000).map(lambda count: part * count)
    ),
)


@given(st.lists(parts, max_size=6).map("".join))
def test_pieces_are_the_text(text: str) -> None:
    found = pieces(text.encode())
    assert b"".join(found) == text.encode()
    assert all(len(piece) <= PIECE_BYTES for piece in found)
    assert "".join(piece.decode() for piece in found) == text


@given(st.binary(max_size=4 * PIECE_BYTES))
def test_bytes_that_are_no_text_have_pieces_too(data: bytes) -> None:
    assert b"".join(pieces(data)) == data
    assert all(len(piece) <= PIECE_BYTES for piece in pieces(data))
