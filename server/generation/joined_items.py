"""Joins text that is there at the same time, so that it is sent at once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from server.generation.types import GeneratedToken, Item, TextDelta
from server.parsers.events import AnswerEvent, CallArguments, CallStarted, Content, Reasoning

MAX_JOINED = 64
"""A delta with this many tokens gets no more: events stay small, however long the client waits.
Tokens that a log-probability names count too."""


def joined(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, where deltas in a row become one if they tell of one kind of text.

    So the tokens of a delta are all of one kind, and so are their log-probabilities. A joined
    delta has the slot and the timings of its last part. Takes no more items than it needs.
    """
    parts: list[TextDelta] = []
    num_named = 0
    for item in items:
        if parts and (num_named >= MAX_JOINED or not _goes_on(parts[0], item)):
            yield _one(parts)
            parts, num_named = [], 0
        if isinstance(item, TextDelta):
            parts.append(item)
            num_named += sum(map(_num_named, item.tokens))
        else:
            yield item
    if parts:
        yield _one(parts)


def joined_events(events: Sequence[AnswerEvent]) -> tuple[AnswerEvent, ...]:
    """The same events, where pieces of one text in a row become one."""
    if len(events) < 2:
        return tuple(events)
    result: list[AnswerEvent] = []
    for event in events:
        last = result[-1] if result else None
        if isinstance(event, Content | Reasoning | CallArguments) and type(event) is type(last):
            assert isinstance(last, Content | Reasoning | CallArguments)
            result[-1] = replace(last, text=last.text + event.text)
        else:
            result.append(event)
    return tuple(result)


def _num_named(token: GeneratedToken) -> int:
    """The tokens that an event names because of this one."""
    return 1 + (len(token.logprobs.top) if token.logprobs is not None else 0)


def _goes_on(part: TextDelta, item: Item) -> bool:
    """Whether the item is a delta that tells of the same text as `part`, and of nothing else."""
    if not isinstance(item, TextDelta):
        return False
    kinds = [type(event) for event in (*part.events, *item.events)]
    is_one_text = len(part.events) == len(item.events) <= 1 and kinds[:1] == kinds[1:]
    return is_one_text and CallStarted not in kinds


def _one(parts: Sequence[TextDelta]) -> TextDelta:
    if len(parts) == 1:
        return parts[0]
    return TextDelta(
        text="".join([part.text for part in parts]),
        tokens=tuple([token for part in parts for token in part.tokens]),
        slot=parts[-1].slot,
        timings=parts[-1].timings,
        events=joined_events([event for part in parts for event in part.events]),
        content_tokens=tuple([token for part in parts for token in part.content_tokens]),
    )
