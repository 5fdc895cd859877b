"""Text that is there at the same time is joined, and nothing of it is lost, doubled or mixed up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.events import TokenLogprobs
from server.generation.joined_items import MAX_JOINED, joined, joined_events
from server.generation.types import (
    Ended,
    GeneratedToken,
    Item,
    Progress,
    StopCause,
    TextDelta,
    Timings,
)
from server.parsers.events import AnswerEvent, CallArguments, CallStarted, Content, Reasoning

TEXT_EVENTS = (Content, Reasoning, CallArguments)


def timings(predicted: int) -> Timings:
    return Timings(0, 1, 1.0, predicted, float(predicted))


def delta(number: int, events: Sequence[AnswerEvent] = (), num_tokens: int = 1) -> TextDelta:
    """A delta whose text, tokens and timings tell its number."""
    tokens = tuple(
        GeneratedToken(number * 10 + i, b"x", TokenLogprobs(-float(number), []))
        for i in range(num_tokens)
    )
    content = tokens if any(isinstance(event, Content) for event in events) else ()
    return TextDelta(f"<{number}>", tokens, 3, timings(number), tuple(events), content)


def ended(number: int) -> Ended:
    return Ended(StopCause.EOS, "", None, False, 3, 1, 1, timings(number))


events: st.SearchStrategy[AnswerEvent] = st.one_of(
    st.sampled_from(TEXT_EVENTS).map(lambda kind: kind("ab")), st.just(CallStarted("f"))
)


@st.composite
def answers(draw: st.DrawFn) -> list[Item]:
    """Items of an answer that has a parser, or none."""
    has_parser = draw(st.booleans())
    items: list[Item] = []
    for number in range(draw(st.integers(0, 150))):
        if draw(st.integers(0, 9)) == 0:
            items.append(Progress(10, 0, number, 0.0))
        else:
            parsed = draw(st.lists(events, max_size=3 if has_parser else 0))
            items.append(delta(number, parsed, draw(st.integers(0, 3))))
    return [*items, ended(len(items))]


def texts_of(parsed: Sequence[AnswerEvent]) -> list[tuple[str, str]]:
    """What a client puts together: the text of each run of one kind."""
    runs: list[tuple[str, str]] = []
    for event in parsed:
        kind = type(event).__name__
        text = event.name if isinstance(event, CallStarted) else event.text
        if runs and runs[-1][0] == kind and kind != "CallStarted":
            runs[-1] = (kind, runs[-1][1] + text)
        else:
            runs.append((kind, text))
    return runs


@given(answers())
def test_the_client_puts_together_the_same(items: list[Item]) -> None:
    before = [item for item in items if isinstance(item, TextDelta)]
    result = list(joined(items))
    after = [item for item in result if isinstance(item, TextDelta)]
    assert "".join(one.text for one in after) == "".join(one.text for one in before)
    for name in ("tokens", "content_tokens"):
        assert [t for one in after for t in getattr(one, name)] == [
            t for one in before for t in getattr(one, name)
        ]
    assert texts_of([e for one in after for e in one.events]) == texts_of(
        [e for one in before for e in one.events]
    )
    others = [item for item in items if not isinstance(item, TextDelta)]
    assert [item for item in result if not isinstance(item, TextDelta)] == others


@given(answers())
def test_a_joined_delta_is_of_one_kind_and_ends_with_its_last_part(items: list[Item]) -> None:
    parts = {item.timings.predicted_n: item for item in items if isinstance(item, TextDelta)}
    for one in joined(items):
        if not isinstance(one, TextDelta) or one in parts.values():
            continue
        last = parts[one.timings.predicted_n]
        assert one.text.endswith(last.text)
        assert len(one.events) <= 1
        assert len(one.tokens) < MAX_JOINED + 3
        is_content = isinstance(one.events[0], Content) if one.events else False
        assert len(one.content_tokens) == (len(one.tokens) if is_content else 0)


@given(answers())
def test_what_can_be_joined_is(items: list[Item]) -> None:
    result = list(joined(items))
    for one, two in pairwise(result):
        if isinstance(one, TextDelta) and isinstance(two, TextDelta):
            kinds = [type(e) for e in one.events], [type(e) for e in two.events]
            is_one_text = (
                kinds[0] == kinds[1] and len(kinds[0]) <= 1 and CallStarted not in kinds[0]
            )
            assert not is_one_text or len(one.tokens) >= MAX_JOINED


def test_items_are_taken_when_they_are_needed() -> None:
    """A slow client's answer is not made ready as a whole."""
    taken = []

    def items() -> Iterator[Item]:
        for number in range(1000):
            taken.append(number)
            yield delta(number)

    first = next(iter(joined(items())))
    assert isinstance(first, TextDelta)
    assert len(first.tokens) == MAX_JOINED
    assert len(taken) == MAX_JOINED + 1


@pytest.mark.parametrize(("num_top", "count"), [(0, 64), (5, 11), (20, 4), (256, 1)])
def test_tokens_that_log_probabilities_name_count_too(num_top: int, count: int) -> None:
    named = TokenLogprobs(-1.0, [(1, -1.0)] * num_top)
    part = TextDelta("x", (GeneratedToken(1, b"x", named),), 3, timings(1))
    sizes = [len(one.tokens) for one in joined([part] * 200) if isinstance(one, TextDelta)]
    assert sizes[:-1] == [count] * (len(sizes) - 1)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], []),
        ([Content("a")], [Content("a")]),
        ([Content("a"), Content("b"), Reasoning("c")], [Content("ab"), Reasoning("c")]),
        ([Reasoning("a"), Content("b"), Reasoning("c")], None),
        ([CallStarted("f"), CallStarted("f")], None),
        (
            [CallStarted("f"), CallArguments("{"), CallArguments("}"), CallStarted("g")],
            [CallStarted("f"), CallArguments("{}"), CallStarted("g")],
        ),
        ([CallArguments("1"), CallStarted("f"), CallArguments("2")], None),
    ],
)
def test_pieces_of_one_text_become_one(
    pieces: list[AnswerEvent], expected: list[AnswerEvent] | None
) -> None:
    assert list(joined_events(pieces)) == (pieces if expected is None else expected)
