"""Whole and streamed responses: OpenAI's own accumulator makes the same of both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from server.errors import EngineFailed
from server.generation.types import Ended, StopCause, TextDelta, Timings
from server.openai.responses.answer import ResponseObject, ResponseStream, WholeResponse
from server.openai.responses.conversation import OwnName, seal, unseal
from server.openai.responses.output import OutputOptions
from server.openai.responses.request import ResponseRequest
from server.parsers.events import AnswerEvent, CallArguments, CallStarted, Content, Reasoning
from tests.support.fake_server import ByteTokenizer

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

words = st.text(min_size=1, max_size=5)
calls = st.builds(
    lambda name, arguments, size: [
        CallStarted(name),
        *(CallArguments(arguments[at : at + size]) for at in range(0, len(arguments), size)),
    ],
    words,
    st.dictionaries(words, words, max_size=3).map(json.dumps),
    st.integers(1, 9),
)
runs: st.SearchStrategy[list[AnswerEvent]] = st.one_of(
    words.map(lambda text: [Content(text)]), words.map(lambda text: [Reasoning(text)]), calls
)
answers = st.lists(runs, max_size=6).map(lambda found: [event for run in found for event in run])


def parts(options: OutputOptions, kept: list[dict[str, Any]]) -> tuple[Any, ...]:
    made = ResponseObject(ResponseRequest(input="x"), "m")
    return made, options, ByteTokenizer(), kept.append


def events_of(frames: bytes) -> list[dict[str, Any]]:
    found = []
    for frame in frames.decode().strip().split("\n\n"):
        name, data = frame.split("\n", 1)
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


def without_ids(output: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in item.items() if name not in ("id", "call_id")}
        for item in output
    ]


def grown_text(item: Any) -> Any:
    """What the client's deltas added up to; it doesn't follow thinking."""
    match item.type:
        case "message":
            return "".join(part.text for part in item.content)
        case "function_call":
            return item.arguments
    return None


def said(item: dict[str, Any]) -> Any:
    match item["type"]:
        case "message":
            return item["content"][0]["text"]
        case "function_call":
            return item["arguments"]
    return None


@settings(deadline=None)
@given(
    events=answers,
    size=st.integers(1, 4),
    cause=st.sampled_from([StopCause.EOS, StopCause.LIMIT]),
    max_calls=st.sampled_from([None, 1]),
    is_summary=st.booleans(),
    is_sealed=st.booleans(),
)
def test_a_stream_is_the_same_response(
    events: list[AnswerEvent],
    size: int,
    cause: StopCause,
    max_calls: int | None,
    is_summary: bool,
    is_sealed: bool,
) -> None:
    names = {"a": OwnName("a", "space")}
    options = OutputOptions(names, max_calls, is_summary, is_sealed)
    timings = Timings(2, 8, 1.0, 3, 1.0)
    deltas = [
        TextDelta("t", (), 0, timings, tuple(events[at : at + size]))
        for at in range(0, len(events), size)
    ]
    ended = Ended(cause, "", None, False, 0, 10, 10, timings)
    kept: list[dict[str, Any]] = []
    whole = WholeResponse(*parts(options, kept))
    for delta in deltas:
        whole.add(0, delta)
    whole.end(0, ended)
    stream = ResponseStream(*parts(options, kept))
    frames = stream.start() + b"".join(stream.delta(0, delta) for delta in deltas)
    told = events_of(frames + stream.end(0, ended))
    assert [event["sequence_number"] for event in told] == list(range(len(told)))

    body = json.loads(json.dumps(whole.body()))
    last = told[-1]["response"]
    assert without_ids(last["output"]) == without_ids(body["output"])
    assert (last["status"], last["usage"]) == (body["status"], body["usage"])
    assert kept[0]["output"] == whole.body()["output"]
    Response.model_validate(last)

    # What the deltas add up to is what the last event says.
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=[], text_format=omit)
    done: list[Any] = []
    for event in told[:-1]:
        done += [event["item"]] if event["type"] == "response.output_item.done" else []
        state.handle_event(EVENT.validate_python(event))
    assert done == last["output"]
    grown = state._ResponseStreamState__current_snapshot  # type: ignore[attr-defined]
    assert [grown_text(item) for item in grown.output] == [said(item) for item in last["output"]]


def test_a_failure_ends_the_stream_with_its_code() -> None:
    options = OutputOptions({}, None, False, False)
    stream = ResponseStream(*parts(options, []))
    stream.start()
    [last] = events_of(stream.error(EngineFailed("the engine is gone")))
    assert last["type"] == "response.failed"
    assert last["response"]["error"] == {"code": "server_error", "message": "the engine is gone"}
    assert last["sequence_number"] == 2


@given(st.text())
def test_sealed_thinking_comes_back(thinking: str) -> None:
    thinking = thinking.encode(errors="replace").decode()
    assert unseal(seal(thinking)) == thinking


@pytest.mark.parametrize("text", ["", "gAAAAB", "llamapack:!", "llamapack:AAAA", "llamapack:é"])
def test_what_others_sealed_is_no_thinking(text: str) -> None:
    assert unseal(text) == ""


def test_a_sealed_bomb_is_cut() -> None:
    assert len(unseal(seal("a" * (1 << 24)))) <= 1 << 22
