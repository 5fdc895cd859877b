"""Reading bodies: the messages for a body that can't be used."""

from __future__ import annotations

import asyncio
import logging
import time
import tracemalloc
from typing import Annotated, Any, Literal

import msgspec
import pytest
from pydantic import BaseModel, Field, model_validator
from starlette.requests import Request

from server.bodies.json_bounds import MAX_DEPTH
from server.errors import InvalidRequest
from server.http.json_body import decode_json
from server.http.large_bodies import (
    LARGE_BODY,
    MEDIUM_BODY,
    SMALL_BODY,
    lane_for,
    noted_lane,
)
from server.requests import body as body_module
from server.requests.body import (
    MAX_NAME,
    MAX_REPORTED,
    parse_body,
    read_body,
)


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class ImagePart(BaseModel):
    type: Literal["image"]
    url: str


class Message(BaseModel):
    role: str
    content: str | list[TextPart]


class Tagged(BaseModel):
    part: Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Body(BaseModel):
    messages: list[Message] = []
    count: Annotated[int, Field(ge=1, le=9)] = 1
    tagged: list[Tagged] = []
    flags: Annotated[list[bool], Field(max_length=2)] = []


def refusal(body: Any) -> InvalidRequest:
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    with pytest.raises(InvalidRequest) as caught:
        parse_body(data, Body)
    return caught.value


def test_a_good_body() -> None:
    body = parse_body(b'{"messages": [{"role": "user", "content": "a"}], "count": 3}', Body)
    assert body.messages[0].content == "a"
    assert body.count == 3


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"count": 0}, "count", "'count' must be at least 1 (got 0)"),
        ({"count": 10}, "count", "'count' must be at most 9 (got 10)"),
        ({"count": 1.5}, "count", "'count' must be a whole number (got 1.5)"),
        ({"count": {}}, "count", "'count' must be a whole number"),
        ({"messages": 1}, "messages", "'messages' must be a list (got 1)"),
        ({"messages": [1]}, "messages.0", "'messages.0' must be an object (got 1)"),
        (
            {"messages": [{"role": "user"}]},
            "messages.0.content",
            "'messages.0.content' is required",
        ),
        (
            {"messages": [{"role": "a", "content": "b"}, {"role": "user", "content": 5}]},
            "messages.1.content",
            "'messages.1.content' must be a string or a list (got 5)",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages.0.content.0.text",
            "'messages.0.content.0.text' is required",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "x", "text": "a"}]}]},
            "messages.0.content.0.type",
            "'messages.0.content.0.type' must be 'text' (got \"x\")",
        ),
        (
            {"tagged": [{"part": {"type": "image"}}]},
            "tagged.0.part.url",
            "'tagged.0.part.url' is required",
        ),
        ({"tagged": [{"part": {"type": "x"}}]}, "tagged.0.part", "one of 'text', 'image'"),
        ({"tagged": [{"part": {}}]}, "tagged.0.part", "must have the field 'type'"),
        ({"flags": [True, True, True]}, "flags", "'flags' must have 2 or fewer items"),
    ],
)
def test_the_message_names_field_and_reason(body: Any, param: str, message: str) -> None:
    error = refusal(body)
    assert error.param == param
    assert message in error.message


def test_a_long_value_is_not_repeated() -> None:
    assert "got" not in refusal({"count": "x" * 100}).message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the body is empty"),
        (b"  \n", "the body is empty"),
        (b"null", "must be a JSON object"),
        (b"{'a': 1}", "line 1, column 2"),
        (b'{\n  "a": 1,\n  "b": tru}', "line 3, column"),
        (b'{\n"a": [1', "ends too early (line 2)"),
        (b'{"a": NaN}', "line 1, column 7"),
        (b'{"a": "\xc3\x28"}', "must be UTF-8"),
        (b"\xff", "line 1, column 1"),
    ],
)
def test_broken_json_is_located(data: bytes, message: str) -> None:
    error = refusal(data)
    assert error.param is None
    assert message in error.message


def test_depth_is_bounded() -> None:
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert decode_json(deep)
    for data in (b"[" + deep + b"]", b"[" * 100_000, b'{"a":' * 500 + b"1" + b"}" * 500):
        with pytest.raises(InvalidRequest, match="nests more than"):
            decode_json(data)


def test_many_brackets_are_not_deep() -> None:
    assert len(decode_json(b"[" + b"[]," * 1000 + b"{}]")) == 1001


def test_unknown_fields_are_mentioned_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="server.requests"):
        parse_body(b'{"surely_unknown": 1}', Body)
        parse_body(b'{"surely_unknown": 1}', Body)
    assert len([line for line in caplog.messages if "surely_unknown" in line]) == 1


@pytest.mark.parametrize("length", [MAX_NAME, 10_000, 1_000_000])
def test_names_of_unknown_fields_are_not_kept_whole(
    length: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: set[str] = set()
    monkeypatch.setattr(body_module, "_reported", reported)
    with caplog.at_level(logging.DEBUG, logger="server.requests"):
        parse_body(b'{"%b": 1}' % (b"a" * length), Body)
        parse_body(msgspec.json.encode({f"name {i}": 1 for i in range(2 * MAX_REPORTED)}), Body)
    assert len(reported) == len(caplog.messages) == MAX_REPORTED
    assert max(len(name) for name in reported) == MAX_NAME


class TestBodiesThatWouldTakeSeconds:
    @pytest.mark.parametrize(
        "unit",
        [b"5,", b"[[],[]],", b'{"a":{}},', b'"",', b'{"role":"user","content":"a, b"},', b"[" * 99],
    )
    def test_too_many_values(self, unit: bytes) -> None:
        with pytest.raises(InvalidRequest, match="too many values"):
            decode_json(b"[" + unit * (12_000_000 // len(unit)) + b"5]")

    def test_large_bodies_that_are_needed(self) -> None:
        """Arrays of token ids, long chats, and texts full of brackets, commas and quotes."""
        arrays = [[70_000 + i for i in range(512)] for _ in range(2048)]
        assert decode_json(msgspec.json.encode(arrays)) == arrays
        chat = [{"role": "user", "content": f'{{"a": [{i}, 2]}}'} for i in range(10_000)]
        assert decode_json(msgspec.json.encode(chat)) == chat
        code = ["[{,:" * 500_000, '"{\\"' * 500_000, "\\" * 3_000_001, "[]" * 1_500_000]
        assert decode_json(msgspec.json.encode(code)) == code

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({"numbers": ["x"] * 1001}, "'numbers.0' must be a whole number (got \"x\")"),
            ({"name": "a", "numbers": [1] * 9 + [None] * 2000}, "'numbers.9' must be a whole num"),
            ({"numbers": [1] * 2000 + [{}] * 9000}, "'numbers' has more than 1000 errors"),
            ({"name": [], "numbers": ["x"] * 20_000}, "'name' must be a string"),
            ({"numbers": [1] * 90, "parts": [{}] * 1500}, "'parts.0.kind' is required"),
            ({"parts": [{"kind": "a", "below": [1] * 5000}]}, "'parts.0.below.0' must be a str"),
            ({"table": {"a": [1, "x"], "b": ["y"] * 3000}}, "'table.a.1' must be a whole"),
        ],
    )
    def test_the_first_of_many_mistakes_is_named(self, body: Any, message: str) -> None:
        class Part(BaseModel):
            kind: str
            below: list[str] = []

        class Body(BaseModel):
            name: str
            numbers: list[int] = []
            parts: list[Part] = []
            table: dict[str, list[int]] = {}

        with pytest.raises(InvalidRequest) as caught:
            parse_body(msgspec.json.encode(body), Body)
        assert message in caught.value.message
        assert caught.value.param is not None
        assert message.startswith(f"'{caught.value.param}'")


@pytest.mark.parametrize("number", ["1e308", "-1.7976931348623157e308", "5e-324", "1e300", "0.1"])
def test_numbers_of_every_size_are_read(number: str) -> None:
    assert decode_json(f"[{number}]".encode()) == [float(number)]


@pytest.mark.parametrize("number", ["1e309", "-1e999", "1" * 400 + ".0"])
def test_infinite_numbers_are_refused(number: str) -> None:
    with pytest.raises(InvalidRequest, match="out of range"):
        decode_json(f"[{number}]".encode())


def in_parts(data: bytes, size: int) -> Request:
    """A request whose body comes in parts."""
    parts = [data[start : start + size] for start in range(0, len(data), size)]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


@pytest.mark.anyio
@pytest.mark.parametrize("num_bytes", [SMALL_BODY, MEDIUM_BODY, LARGE_BODY, 4 * LARGE_BODY])
async def test_the_bytes_of_a_large_body_are_gone_once_its_values_are_known(num_bytes: int) -> None:
    class Watching(BaseModel):
        text: str

        @model_validator(mode="before")
        @classmethod
        def look(cls, body: Any) -> Any:
            taken.append(tracemalloc.get_traced_memory()[0])
            return body

    taken: list[int] = []
    request = in_parts(msgspec.json.encode({"text": "x" * num_bytes}), 10_000)
    tracemalloc.start()
    try:
        assert (await read_body(request, Watching)).text == "x" * num_bytes
    finally:
        tracemalloc.stop()
    assert num_bytes < taken[0] < 1.5 * num_bytes + SMALL_BODY


@pytest.mark.anyio
@pytest.mark.parametrize("num_bytes", [SMALL_BODY, MEDIUM_BODY, 2 * LARGE_BODY])
async def test_large_bodies_are_read_one_after_another(num_bytes: int) -> None:
    class Crowding(BaseModel):
        text: str

        @model_validator(mode="before")
        @classmethod
        def look(cls, body: Any) -> Any:
            now.append(1)
            most.append(len(now))
            time.sleep(0.005)  # others may come
            now.pop()
            return body

    now: list[int] = []
    most: list[int] = []
    data = msgspec.json.encode({"text": "x" * num_bytes})
    requests = [in_parts(data, 100_000) for _ in range(5)]
    await asyncio.gather(*(read_body(request, Crowding) for request in requests))
    assert most == [1] * 5
    assert all(noted_lane(request.scope) is lane_for(data) for request in requests)
