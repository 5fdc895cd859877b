"""The benchmark of the API process, in short: every event is right, in every dialect and pace.

A scripted engine process sends faster than the API process writes, so that tokens are joined.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
import pytest

from loadtests.harness.client import stream
from loadtests.harness.prompts import ordinary_tokens
from loadtests.harness.servers import Server, running
from loadtests.reception import script
from loadtests.reception.__main__ import API, main
from loadtests.reception.script import Orders, logprob_at
from loadtests.reception.streams import KINDS, expected_text, problem, request
from loadtests.vocabulary import token_attributes, token_pieces
from tests.support.paths import DEMO_TARGET

DEADLINE = 120.0
PIECES = token_pieces(DEMO_TARGET) if DEMO_TARGET.exists() else []

pytestmark = [
    pytest.mark.skipif(not PIECES, reason="the demo model has not been built"),
    pytest.mark.skipif(sys.platform != "linux", reason="the benchmark needs Linux"),
]


@contextmanager
def serving(num_streams: int, pace: float) -> Iterator[tuple[Server, Orders]]:
    """A server whose engine begins when so many sequences wait."""
    normal = ordinary_tokens(token_attributes(DEMO_TARGET))
    orders = script.orders(num_streams, pace, PIECES, normal)
    before = os.environ.get(script.VARIABLE)
    os.environ[script.VARIABLE] = msgspec.json.encode(orders).decode()
    try:
        with running(API, ["-m", str(DEMO_TARGET), "-c", "4096", "-np", "1"]) as server:
            asyncio.run(server.wait_ready())
            yield server, orders
    finally:
        os.environ.pop(script.VARIABLE)
        if before is not None:
            os.environ[script.VARIABLE] = before


@pytest.mark.parametrize("pace", [script.AS_TAKEN, script.STEP_BY_STEP])
def test_every_dialect_streams_the_whole_text(pace: float) -> None:
    """Two streams of each kind at once."""
    streams = [(kind, number) for number, kind in enumerate([*KINDS, *KINDS])]

    async def read_all(server: Server) -> list[Any]:
        sent = [whole(server, kind, n) for kind, n in streams]
        return await asyncio.wait_for(asyncio.gather(*sent), DEADLINE)

    async def whole(server: Server, kind: str, number: int) -> Any:
        record = await stream(server.address, request(kind, number, 600))
        assert not record.error, f"{kind}: {record.error}"  # or the others wait for ever
        return record

    with serving(len(streams), pace) as (server, orders):
        records = asyncio.run(read_all(server))
    for (kind, number), record in zip(streams, records, strict=True):
        assert problem(record, number, orders, PIECES) == "", kind
        if pace == script.AS_TAKEN:
            assert len(record.arrivals) < 500, kind  # they were joined


def events_of(server: Server, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a stream, read as a whole; the seed is the number of its first sequence."""
    whole = {"temperature": 0, "ignore_eos": True, "stream": True, **body}
    answer = httpx.post(f"http://{server.address}{path}", json=whole, timeout=DEADLINE)
    assert answer.status_code == 200, answer.text
    data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    return [json.loads(one) for one in data if one != "[DONE]"]


N = 300
CHAT = {"messages": [{"role": "user", "content": "Say it."}]}


@pytest.fixture(scope="module")
def one() -> Iterator[tuple[Server, Orders]]:
    """A server whose engine answers each request at once."""
    with serving(1, script.AS_TAKEN) as parts:
        yield parts


class TestDetailsOfJoinedTokens:
    """What belongs to single tokens is right where an event has many of them."""

    def test_native_probabilities_and_tokens(self, one: tuple[Server, Orders]) -> None:
        server, orders = one
        body = {"prompt": "a", "n_predict": N, "seed": 3, "n_probs": 1}
        *events, last = events_of(server, "/completion", body)
        tokens = orders.tokens(3, N)
        assert [token for event in events for token in event["tokens"]] == tokens
        entries = [e for event in events for e in event["completion_probabilities"]]
        assert [entry["id"] for entry in entries] == tokens
        assert [entry["logprob"] for entry in entries] == [logprob_at(n) for n in range(N)]
        assert last["tokens_predicted"] == N
        assert len(events) < N

    def test_timings_per_token(self, one: tuple[Server, Orders]) -> None:
        server, orders = one
        body = {"prompt": "a", "n_predict": N, "seed": 4, "timings_per_token": True}
        *events, _ = events_of(server, "/completion", body)
        counts = [event["timings"]["predicted_n"] for event in events]
        so_far = 0
        for event, count in zip(events, counts, strict=True):
            so_far += len(event["tokens"])
            assert count >= so_far  # a token may wait for the rest of its character
        assert counts == sorted(set(counts))
        assert expected_text(orders.tokens(4, N), PIECES) == "".join(e["content"] for e in events)

    def test_chat_logprobs_and_tokens(self, one: tuple[Server, Orders]) -> None:
        server, orders = one
        fields = {"logprobs": True, "top_logprobs": 0, "return_tokens": True}
        body = {**CHAT, "max_tokens": N, "seed": 5}
        events = events_of(server, "/v1/chat/completions", {**body, **fields})
        choices = [choice for event in events for choice in event["choices"]]
        entries = [e for choice in choices for e in (choice["logprobs"] or {}).get("content", [])]
        assert [e["id"] for e in entries] == orders.tokens(5, N)
        assert [e["logprob"] for e in entries] == [logprob_at(n) for n in range(N)]
        assert [t for choice in choices for t in choice.get("tokens", [])] == orders.tokens(5, N)
        assert len(choices) < N

    def test_text_logprobs_and_offsets(self, one: tuple[Server, Orders]) -> None:
        server, orders = one
        body = {"prompt": "a", "max_tokens": N, "seed": 6, "logprobs": 0}
        events = events_of(server, "/v1/completions", body)
        choices = [choice for event in events for choice in event["choices"]]
        text = "".join(choice["text"] for choice in choices)
        lists = [choice["logprobs"] for choice in choices if choice["logprobs"]]
        values = [value for one in lists for value in one["token_logprobs"]]
        assert values == [logprob_at(n) for n in range(N)]
        offsets = [offset for one in lists for offset in one["text_offset"]]
        for token, offset in zip(orders.tokens(6, N), offsets, strict=True):
            piece = PIECES[token].decode(errors="replace")
            assert "\ufffd" in piece or text.startswith(piece, offset)

    def test_a_stop_string_ends_joined_text(self, one: tuple[Server, Orders]) -> None:
        server, orders = one
        text = expected_text(orders.tokens(7, N), PIECES)
        stop = text[150:162]
        body = {"prompt": "a", "n_predict": N, "seed": 7, "stop": [stop]}
        *events, last = events_of(server, "/completion", body)
        assert "".join(event["content"] for event in events) == text[: text.index(stop)]
        assert last["stopping_word"] == stop


def test_choices_stay_apart() -> None:
    with serving(3, script.AS_TAKEN) as (server, orders):
        body = {**CHAT, "n": 3, "max_tokens": N, "seed": 8}
        events = events_of(server, "/v1/chat/completions", body)
    texts: dict[int, str] = {}
    for choice in (choice for event in events for choice in event["choices"]):
        delta = choice["delta"]
        text = (delta.get("reasoning_content") or "") + (delta.get("content") or "")
        texts[choice["index"]] = texts.get(choice["index"], "") + text
    expected = [expected_text(orders.tokens(8 + n, N), PIECES) for n in range(3)]
    assert [texts[index] for index in range(3)] == expected


def test_the_command_in_short(capsys: pytest.CaptureFixture[str]) -> None:
    """The figures are printed; goals that no machine misses are met, and others are not."""
    short = ["--streams", "4", "--tokens", "40", "--rounds", "1", "--model", str(DEMO_TARGET)]
    before = os.sched_getaffinity(0)
    try:
        easy = ["--goal-rate", "1", "--goal-cpu", "1000", "--pace", "as-taken"]
        assert main([*short, *easy]) == 0
        assert "every event was right; the goals are met" in capsys.readouterr().out
        hard = ["--goal-cpu", "0", "--pace", "2000", "--kind", "chat"]
        assert main([*short, *hard]) == 1
        assert "goal missed: chat, 2000" in capsys.readouterr().out
    finally:
        os.sched_setaffinity(0, before)


def test_a_refused_request_ends_the_benchmark(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that the engine would wait for, so that the others never got an answer."""
    path, dialect, limit, own = KINDS["chat"]
    monkeypatch.setitem(KINDS, "chat", (path, dialect, limit, {**own, "messages": 5}))
    before = os.sched_getaffinity(0)
    short = ["--streams", "2", "--tokens", "5", "--rounds", "1", "--kind", "chat"]
    try:
        assert main([*short, "--pace", "as-taken", "--model", str(DEMO_TARGET)]) == 2
    finally:
        os.sched_setaffinity(0, before)
    assert "/v1/chat/completions: HTTP 400" in capsys.readouterr().err


def test_a_missing_model_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "nothing.gguf"]) == 2
    assert "nothing.gguf" in capsys.readouterr().err
