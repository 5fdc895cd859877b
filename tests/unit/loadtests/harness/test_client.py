"""The client against a correct server and against broken ones."""

from __future__ import annotations

import asyncio

import pytest

from loadtests.harness.client import Address, KeptConnection, get, stream
from loadtests.harness.scenario import Record, Request, completion
from tests.support.fake_load_target import Script, StartServer, chunked

TOKENS = 5


def token_event(index: int) -> bytes:
    return b'data: {"content":"t%d","tokens":[%d],"stop":false}\n\n' % (index, index)


def last_event(predicted: int = TOKENS) -> bytes:
    return (
        b'data: {"content":"","tokens":[],"stop":true,"tokens_predicted":%d,'
        b'"tokens_evaluated":3,"stop_type":"limit"}\n\n' % predicted
    )


WHOLE = [*(token_event(i) for i in range(TOKENS)), last_event()]


def send(address: Address, request: Request | None = None) -> Record:
    return asyncio.run(stream(address, request or completion([1, 2, 3], TOKENS)))


def test_a_whole_stream(start_server: StartServer) -> None:
    script = Script(chunked(WHOLE), pause_s=0.01)
    record = send(start_server(script))
    assert record.error == ""
    assert record.tokens == [0, 1, 2, 3, 4]
    assert (record.predicted, record.prompt, record.reason) == (TOKENS, 3, "limit")
    assert record.started < record.arrivals[0] < record.arrivals[-1] <= record.finished
    assert len(record.arrivals) == TOKENS


def test_what_is_sent(start_server: StartServer) -> None:
    script = Script(chunked(WHOLE))
    send(start_server(script), completion([1, 2, 3], TOKENS))
    head, _, body = script.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /completion HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b'"prompt":[1,2,3]' in body
    assert b'"n_predict":5' in body
    assert b'"stream":true' in body
    assert b'"ignore_eos":true' in body


@pytest.mark.parametrize("size", [1, 7, 64])
def test_pieces_cut_anywhere(start_server: StartServer, size: int) -> None:
    data = b"".join(chunked(WHOLE))
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    record = send(start_server(Script(pieces)))
    assert record.error == ""
    assert record.tokens == [0, 1, 2, 3, 4]


def test_too_few_tokens(start_server: StartServer) -> None:
    record = send(start_server(Script(chunked([token_event(0), last_event(1)]))))
    assert record.error == "1 tokens instead of 5 (limit)"


def test_a_stream_that_breaks_off(start_server: StartServer) -> None:
    record = send(start_server(Script(chunked(WHOLE)[:3])))
    assert record.error == "the stream ended without its last chunk"
    assert record.tokens == [0, 1]


def test_an_error_in_the_stream(start_server: StartServer) -> None:
    error = b'data: {"error":{"code":500,"message":"Compute error","type":"server_error"}}\n\n'
    record = send(start_server(Script(chunked([token_event(0), error]))))
    assert "Compute error" in record.error


def test_an_error_status(start_server: StartServer) -> None:
    body = [b'{"error":{"message":"busy"}}']
    record = send(start_server(Script(chunked(body, "429 Too Many Requests"))))
    assert record.error == 'HTTP 429: {"error":{"message":"busy"}}'


def test_an_answer_without_tokens(start_server: StartServer) -> None:
    record = send(start_server(Script(chunked([last_event(TOKENS)]))))
    assert record.error == "the answer is empty"


def test_nonsense_is_reported(start_server: StartServer) -> None:
    assert "DecodeError" in send(start_server(Script(chunked([b"data: {nonsense\n\n"])))).error
    assert "Http" in send(start_server(Script([b"nonsense\r\n\r\n"]))).error


def test_nobody_listens() -> None:
    assert "ConnectionRefusedError" in send(Address("127.0.0.1", 1)).error


def test_first_token_is_told_once_even_if_none_comes(start_server: StartServer) -> None:
    told: list[str] = []
    for pieces in (chunked(WHOLE), []):
        address = start_server(Script(pieces))
        request = completion([1], TOKENS)
        asyncio.run(stream(address, request, lambda: told.append("first")))
    assert told == ["first", "first"]


def test_openai_stream(start_server: StartServer) -> None:
    events = [
        b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n',
        b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[],"usage":{"completion_tokens":2,"prompt_tokens":4}}\n\n',
        b"data: [DONE]\n\n",
    ]
    request = Request("/v1/chat/completions", b"{}", None, 1.0, dialect="openai")
    record = send(start_server(Script(chunked(events))), request)
    assert record.error == ""
    assert (record.predicted, record.prompt, record.reason) == (2, 4, "stop")


def test_get(start_server: StartServer) -> None:
    address = start_server(Script(chunked([b"ok ", b"then"])))
    assert asyncio.run(get(address, "/health")) == (200, b"ok then")


def send_on_one(address: Address, requests: int) -> tuple[list[Record], int]:
    """The records of requests on a kept connection, and the number of connections made."""

    async def run() -> tuple[list[Record], int]:
        connection = KeptConnection(address)
        records = [await connection.stream(completion([1], TOKENS)) for _ in range(requests)]
        connection.close()
        return records, connection.opened

    return asyncio.run(run())


def test_a_connection_is_kept(start_server: StartServer) -> None:
    script = Script(chunked(WHOLE), answers=3)
    records, opened = send_on_one(start_server(script), 3)
    assert [record.error for record in records] == ["", "", ""]
    assert opened == 1
    assert not any(b"Connection: close" in request for request in script.requests)


def test_a_connection_that_the_server_closes_is_made_anew(start_server: StartServer) -> None:
    parting = [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + chunked(WHOLE)[0].partition(b"\r\n")[2]
    ]
    records, opened = send_on_one(start_server(Script(parting + chunked(WHOLE)[1:])), 2)
    assert [record.error for record in records] == ["", ""]
    assert opened == 2


def test_a_request_on_a_dying_connection_is_lost(start_server: StartServer) -> None:
    """The client doesn't send the request again, because that would hide the error."""
    script = Script(chunked(WHOLE)[:-3])
    records, _ = send_on_one(start_server(script), 1)
    assert records[0].error == "the stream ended without its last chunk"
    assert len(script.requests) == 1
