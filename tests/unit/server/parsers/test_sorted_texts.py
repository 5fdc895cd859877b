"""Texts with a common beginning are found as a search through all of them would find them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from server.parsers.sorted_texts import SortedTexts
from tests.support.steps import count_steps


def plain_first(texts: set[str], begin: str, end: str) -> list[str]:
    """What `first_beginning_with` finds, told by comparing all pairs."""
    found = [text for text in texts if text.startswith(begin)]
    return sorted(
        text
        for text in found
        if not any(text.startswith(other + end) for other in found if other != text)
    )


@pytest.mark.parametrize("seed", range(30))
def test_all_that_begin_with_a_text_are_found(seed: int) -> None:
    chance = random.Random(seed)
    alphabet = 'a">' + chr(0x10FFFF)
    texts = {
        "".join(chance.choices(alphabet, k=chance.randrange(7)))
        for _ in range(chance.choice([3, 40, 300]))
    }
    ordered = SortedTexts(texts)
    for begin in ["", "a", '"', 'a"', 'a">', chr(0x10FFFF), *itertools.islice(texts, 20)]:
        expected = sorted(text for text in texts if text.startswith(begin))
        assert list(ordered.beginning_with(begin)) == expected
        assert sorted(ordered.first_beginning_with(begin, '"')) == plain_first(texts, begin, '"')


@pytest.mark.parametrize("seed", range(30))
def test_a_beginning_among_texts_is_found(seed: int) -> None:
    chance = random.Random(seed)
    rests = {"".join(chance.choices("ab", k=chance.randrange(6))) + "." for _ in range(40)}
    ordered = SortedTexts(rests)
    for _ in range(200):
        text = "".join(chance.choices("ab.", k=chance.randrange(9)))
        assert ordered.has_beginning_of(text) == text.startswith(tuple(rests))
    assert not SortedTexts(()).has_beginning_of("a")


FAMILIES: dict[str, Callable[[int], list[str]]] = {
    "strangers": lambda size: [f"{number:05}" for number in range(size)],
    "siblings": lambda size: ["a", *(f'a">{number:05}' for number in range(size))],
    "a chain": lambda size: ["a" + '">a' * number for number in range(size)],
    "a chain with siblings": lambda size: [
        "a" + '">a' * (number // 2) + "b" * (number % 2) for number in range(size)
    ],
}


@pytest.mark.parametrize("family", FAMILIES)
def test_searching_for_all_of_them_takes_linear_time(family: str) -> None:
    def steps(size: int) -> int:
        names = FAMILIES[family](size)

        def search() -> None:
            ordered = SortedTexts(names)
            for name in names:
                ordered.first_beginning_with(name + '">', '"')
                ordered.beginning_with(name + '">')

        return count_steps(search)

    assert steps(800) < 2.7 * steps(400)
