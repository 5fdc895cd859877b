"""An answer ends at the first line that is indented less than wanted."""

from __future__ import annotations

import pytest

from server.generation.indented_text import IndentedText


@pytest.mark.parametrize(
    ("text", "least", "kept"),
    [
        ("a\n  b\n  c", 2, None),
        ("a\n  b\n c\nd", 2, "a\n  b\n "),
        ("a\nb", 1, "a\n"),
        ("a\n\n  b", 2, "a\n"),
        ("a\n\t\tb\n\tc", 2, "a\n\t\tb\n\t"),
        ("  a\n", 4, None),
        ("é\n   \n  x", 3, "é\n   \n  "),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_where_it_ends(text: str, least: int, kept: str | None, size: int) -> None:
    reader, shown, is_outdented = IndentedText(least), "", False
    data = text.encode()
    for at in range(0, len(data), size):
        released = reader.feed(data[at : at + size])
        shown += released.text
        if released.is_outdented:
            is_outdented = True
            break
    if not is_outdented:
        shown += reader.finish().text
    assert (shown, is_outdented) == (text if kept is None else kept, kept is not None)
    assert reader.num_released == len(shown)


@pytest.mark.parametrize(
    ("stop", "shown", "word"),
    [("b", "a\n  ", "b"), ("x", "a\n  b\n", "x"), ("xy", "a\n  b\n", ""), ("\nx", "a\n  b", "\nx")],
)
def test_what_comes_first_ends_it(stop: str, shown: str, word: str) -> None:
    reader = IndentedText(2, (stop,))
    released = reader.feed(b"a\n  b\nxz")
    rest = released if released.is_outdented or released.stopping_word else reader.finish()
    text = released.text if rest is released else released.text + rest.text
    assert (text, rest.stopping_word) == (shown, word)
