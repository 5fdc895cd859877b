"""What counts as an equal answer, and what as a near tie."""

from __future__ import annotations

import pytest

from loadtests.greedy import Answer, Place
from loadtests.parity import differences, distances, gaps_in_logprob


def answer(*places: tuple[int, float, dict[int, float]]) -> Answer:
    tokens = tuple(token for token, _, _ in places)
    return Answer("text", tokens, tuple(Place(t, p, {t: p, **top}) for t, p, top in places))


SAME = answer((1, -0.1, {}), (2, -0.2, {}))


def test_equal_tokens_are_equal_answers() -> None:
    other = answer((1, -0.1, {}), (2, -0.25, {}))
    assert differences([SAME], [other]) == []
    assert gaps_in_logprob([SAME], [other]) == pytest.approx([0.0, 0.05])


@pytest.mark.parametrize(
    ("theirs", "ours", "is_tie"),
    [
        ((2, -0.7, {3: -0.705}), (3, -0.7, {2: -0.701}), True),
        ((2, -0.7, {3: -0.705}), (3, -0.6, {2: -0.8}), False),
        ((2, -0.1, {3: -3.0}), (3, -0.7, {2: -0.701}), False),
        ((2, -0.7, {4: -0.705}), (3, -0.7, {2: -0.701}), False),
        ((2, -0.7, {3: -0.7}), (3, -0.7, {5: -0.7}), False),
    ],
)
def test_a_tie_is_near_for_both(
    theirs: tuple[int, float, dict[int, float]],
    ours: tuple[int, float, dict[int, float]],
    is_tie: bool,
) -> None:
    (found,) = differences([answer((1, -0.1, {}), theirs)], [answer((1, -0.1, {}), ours)])
    assert found.at == 1
    assert found.is_tie(0.01) == is_tie


def test_an_answer_that_ends_early_differs_without_a_tie() -> None:
    (found,) = differences([SAME], [answer((1, -0.1, {}))])
    assert found.at == 1
    assert not found.is_tie(1.0)
    assert len(found.lines("theirs", "ours")) == 3


def test_the_token_that_ends_an_answer_may_have_no_place() -> None:
    ended = Answer("text", (1, 9), SAME.places[:1])
    going_on = answer((1, -0.1, {}), (2, -0.7, {9: -0.702}))
    (found,) = differences([going_on], [ended])
    assert found.is_tie(0.01)
    assert "of 9: -0.70200" in "\n".join(found.lines("theirs", "ours"))


def test_tokens_behind_a_difference_are_not_compared() -> None:
    other = answer((7, -0.1, {}), (2, -9.0, {}))
    assert gaps_in_logprob([SAME], [other]) == []


def test_distances_are_over_tokens_that_all_sets_share() -> None:
    short = answer((1, -0.15, {}), (5, -0.2, {}))
    found = distances([SAME], {"on": [short], "off": [SAME]})
    assert found == {"on": pytest.approx([0.05]), "off": [0.0]}
