"""Bytes to text: the text does not depend on how the bytes were cut into pieces."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.generation.detokenizer import Detokenizer

few_letters = st.text("ab\u00e9\u20ac\U0001f600", max_size=30)
stops = st.lists(st.text("ab\u00e9\u20ac", min_size=1, max_size=5), max_size=4).map(tuple)


def naive(text: str, stop: tuple[str, ...]) -> tuple[str, str]:
    """The text before the stop string that is complete first, the longest if several are."""
    for end in range(1, len(text) + 1):
        words = [word for word in stop if text[:end].endswith(word)]
        if words:
            word = max(words, key=len)
            return text[: end - len(word)], word
    return text, ""


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data in pieces that end at these offsets, some of them empty."""
    edges = [0, *sorted(min(at, len(data)) for at in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def released(pieces: list[bytes], stop: tuple[str, ...]) -> tuple[list[str], str]:
    """What is handed out piece by piece, and the stop string that ended it."""
    detokenizer = Detokenizer(stop)
    texts = []
    for piece in pieces:
        result = detokenizer.feed(piece)
        texts.append(result.text)
        if result.stopping_word:
            return texts, result.stopping_word
    result = detokenizer.finish()
    return [*texts, result.text], result.stopping_word


@given(few_letters, stops, st.lists(st.integers(0, 60), max_size=40))
@example("abcd", ("abcd", "bc"), [1, 2, 3])
@settings(max_examples=400, deadline=None)
def test_pieces_do_not_matter(text: str, stop: tuple[str, ...], cuts: list[int]) -> None:
    texts, word = released(cut(text.encode(), cuts), stop)
    assert ("".join(texts), word) == naive(text, stop)


@given(st.binary(max_size=40), stops, st.lists(st.integers(0, 40), max_size=40))
@settings(max_examples=300, deadline=None)
def test_pieces_of_broken_utf8_do_not_matter(
    data: bytes, stop: tuple[str, ...], cuts: list[int]
) -> None:
    texts, word = released(cut(data, cuts), stop)
    assert ("".join(texts), word) == naive(data.decode(errors="replace"), stop)


@given(few_letters, st.lists(st.integers(0, 60), max_size=40))
@settings(deadline=None)
def test_characters_are_whole_and_come_at_once(text: str, cuts: list[int]) -> None:
    detokenizer = Detokenizer()
    data = b""
    seen = ""
    for piece in cut(text.encode(), cuts):
        data += piece
        seen += detokenizer.feed(piece).text
        assert seen == data.decode(errors="ignore")
    assert detokenizer.finish().text == ""


@given(few_letters, stops, st.lists(st.integers(0, 60), max_size=40))
@settings(deadline=None)
def test_only_what_may_become_a_stop_string_is_held(
    text: str, stop: tuple[str, ...], cuts: list[int]
) -> None:
    detokenizer = Detokenizer(stop)
    for piece in cut(text.encode(), cuts):
        if detokenizer.feed(piece).stopping_word:
            return
        held = text[detokenizer.num_released : detokenizer.num_received]
        assert not held or any(word.startswith(held) and word != held for word in stop)


@pytest.mark.parametrize("stop", [(), ("",)])
def test_an_empty_stop_string_stops_nothing(stop: tuple[str, ...]) -> None:
    assert released([b"abc"], stop) == (["abc", ""], "")


def test_an_incomplete_character_at_the_end_becomes_a_replacement() -> None:
    detokenizer = Detokenizer()
    assert detokenizer.feed("é".encode()[:1]).text == ""
    assert detokenizer.finish().text == "\ufffd"
