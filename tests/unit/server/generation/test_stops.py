"""What may become a stop string is held back: nothing else, and nothing less."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.generation.stops import StopMatcher

words = st.text("ab", min_size=1, max_size=6)


@given(st.lists(words, min_size=1, max_size=4), st.lists(st.text("abc", max_size=4), max_size=8))
def test_the_longest_possible_beginning_is_held(stops: list[str], pieces: list[str]) -> None:
    matcher, text, released = StopMatcher(tuple(stops)), "", ""
    for piece in pieces:
        cut = matcher.feed(piece)
        text, released = text + piece, released + cut.text
        found = [at for word in stops if (at := text.find(word)) >= 0]
        assert bool(cut.stopping_word) == bool(found)
        if found:
            return
        beginnings = {word[:length] for word in stops for length in range(1, len(word))}
        held = max((len(part) for part in beginnings if text.endswith(part)), default=0)
        assert released == text[: len(text) - held]
