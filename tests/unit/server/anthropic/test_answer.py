"""Whole and streamed messages: Anthropic's own accumulator makes the same of both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from server.anthropic.answer import MessageOptions, MessageStream, WholeMessage
from server.generation.types import Ended, Progress, StopCause, TextDelta, Timings
from server.parsers.events import AnswerEvent, CallArguments, CallStarted, Content, Reasoning

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)

words = st.text(min_size=1, max_size=5)
calls = st.builds(
    lambda name, arguments, cut: [
        CallStarted(name),
        *(CallArguments(piece) for piece in _pieces(json.dumps(arguments), cut)),
    ],
    words,
    st.dictionaries(
        words, words | st.integers() | st.none() | st.lists(words, max_size=2), max_size=3
    ),
    st.integers(1, 9),
)
runs: st.SearchStrategy[list[AnswerEvent]] = st.one_of(
    words.map(lambda text: [Content(text)]), words.map(lambda text: [Reasoning(text)]), calls
)
answers = st.lists(runs, max_size=6).map(lambda found: [event for run in found for event in run])


def _pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def options(max_calls: int | None = None, *, shows_thinking: bool = True) -> MessageOptions:
    return MessageOptions("m", 10, False, max_calls, shows_thinking)


def streamed(stream: MessageStream, deltas: Sequence[TextDelta], ended: Ended) -> Message:
    """What the official client makes of a stream."""
    frames = stream.progress(0, Progress(10, 2, 2, 0.0))
    frames += b"".join(stream.delta(0, delta) for delta in deltas) + stream.end(0, ended)
    message: Any = None
    buffers: dict[int, bytes] = {}
    for frame in frames.decode().strip().split("\n\n"):
        name, data = frame.split("\n", 1)
        event = EVENT.validate_json(data.removeprefix("data: "))
        assert name == f"event: {event.type}"
        message = accumulate_event(event=event, current_snapshot=message, json_bufs=buffers)
    return Message.construct(**message.to_dict())


def comparable(message: Any) -> Any:
    """Without ids, which are random."""
    fields = message if isinstance(message, dict) else message.to_dict()
    blocks = [
        {name: value for name, value in block.items() if name != "id" and value is not None}
        for block in fields["content"]
    ]
    usage = {name: value for name, value in fields["usage"].items() if value is not None}
    return {"content": blocks, "usage": usage} | {
        name: fields[name] for name in ("role", "model", "stop_reason", "stop_sequence", "type")
    }


@settings(deadline=None)
@given(
    events=answers,
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    cause=st.sampled_from([StopCause.EOS, StopCause.LIMIT, StopCause.WORD]),
    max_calls=st.sampled_from([None, 1]),
    shows_thinking=st.booleans(),
    cut=st.integers(0, 3),
)
def test_a_stream_is_the_same_message(
    events: list[AnswerEvent],
    sizes: list[int],
    cause: StopCause,
    max_calls: int | None,
    shows_thinking: bool,
    cut: int,
) -> None:
    events = events[: len(events) - cut] if cut else events  # a limit can cut a call's arguments
    deltas, at, count = [], 0, 0
    while at < len(events):
        size = sizes[count % len(sizes)]
        count += 1
        timings = Timings(2, 8, 1.0, count, 1.0)
        deltas.append(TextDelta("t", (), 0, timings, tuple(events[at : at + size])))
        at += size
    word = "stop" if cause is StopCause.WORD else ""
    ended = Ended(cause, word, None, False, 0, 10, 10, Timings(2, 8, 1.0, count, 1.0))
    chosen = options(max_calls, shows_thinking=shows_thinking)
    whole = WholeMessage(chosen)
    for delta in deltas:
        whole.add(0, delta)
    whole.end(0, ended)
    body = json.loads(json.dumps(whole.body()))
    assert comparable(streamed(MessageStream(chosen), deltas, ended)) == comparable(body)


@pytest.mark.parametrize("truncated", [False, True])
def test_a_full_context_is_told_from_a_limit(truncated: bool) -> None:
    whole = WholeMessage(options())
    whole.end(0, Ended(StopCause.LIMIT, "", None, truncated, 0, 10, 10, Timings(2, 8, 1.0, 1, 1.0)))
    expected = "model_context_window_exceeded" if truncated else "max_tokens"
    assert whole.body()["stop_reason"] == expected
