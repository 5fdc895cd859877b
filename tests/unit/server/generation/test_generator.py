"""Tokens to text on the engine's real loop, whose fake model follows a script."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.commands import ContextShift, SequenceSpec
from protocol.events import (
    Event,
    Finished,
    FinishReason,
    Generated,
    Prefilled,
    Scored,
    Started,
    TokenLogprobs,
)
from protocol.sampling import SamplingParams
from server.engine.sequence_stream import TimedEvent
from server.errors import ContextExceeded, EngineFailed, Overloaded
from server.generation.admission_queue import AdmissionQueue
from server.generation.answer import Answer
from server.generation.generator import EngineGenerator
from server.generation.types import (
    Ended,
    GenerationRequest,
    Item,
    Progress,
    PromptScores,
    StopCause,
    TextDelta,
)
from server.model.tokenizer import Tokenizer
from server.parsers.events import Content, PlainText
from tests.support.fake_backend import END_TOKEN, FakeBackend
from tests.support.inprocess import Pair, engine_pair, wait_until

pytestmark = pytest.mark.anyio

PROMPT = (200, 201, 202)
FIRST_PIECE = 10
N_CTX_SLOT = 64


class Script(Tokenizer):
    """A model that always says `pieces`, one token each, and the vocabulary for it."""

    n_vocab = 256
    bos: int | None = None
    eos: int | None = END_TOKEN
    end_tokens = frozenset((END_TOKEN,))
    longest_piece = 8

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = [*pieces]

    def backend(self) -> FakeBackend:
        return FakeBackend(n_ctx_slot=N_CTX_SLOT, next_token=self._next)

    def _next(self, tokens: list[int]) -> int:
        index = len(tokens) - len(PROMPT)
        return FIRST_PIECE + index if index < len(self.pieces) else END_TOKEN

    def metadata(self, key: str) -> str | None:
        return None

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return list(PROMPT)

    def join_pair(self, first: list[int], second: list[int]) -> list[int]:
        return [*first, *second]

    def piece(self, token: int, *, special: bool = False) -> bytes:
        return b"" if token == END_TOKEN else self.pieces[token - FIRST_PIECE]


@asynccontextmanager
async def speaking(*pieces: bytes) -> AsyncIterator[tuple[EngineGenerator, Pair]]:
    """A generator over an engine that says these pieces."""
    script = Script(pieces)
    async with engine_pair(script.backend) as pair:
        yield EngineGenerator(pair.client, script, AdmissionQueue(max_queue=1)), pair


OWN_FIELDS = {"stop", "max_seconds", "visible_tokens", "make_parser"}


def make_request(**fields: Any) -> GenerationRequest:
    """A greedy request; `fields` are those of the request or of its sequence."""
    own = {name: fields.pop(name) for name in OWN_FIELDS & fields.keys()}
    fields = {"sampling": SamplingParams(temperature=0.0), "prompt": PROMPT, **fields}
    return GenerationRequest(spec=SequenceSpec(**fields), **own)


async def items_of(generator: EngineGenerator, **fields: Any) -> list[Item]:
    async with generator.open(make_request(**fields)) as items:
        return [item async for item in items]


def text_of(items: list[Item]) -> str:
    return "".join(item.text for item in items if isinstance(item, TextDelta))


def ids_of(items: list[Item]) -> list[int]:
    deltas = (item for item in items if isinstance(item, TextDelta))
    return [token.id - FIRST_PIECE for item in deltas for token in item.tokens]


def end_of(items: list[Item]) -> Ended:
    assert sum(isinstance(item, Ended) for item in items) == 1
    assert isinstance(items[-1], Ended)
    return items[-1]


async def test_the_model_ends_its_answer() -> None:
    async with speaking(b"Hello", b" world") as (generator, _):
        items = await items_of(generator)
    assert text_of(items) == "Hello world"
    assert ids_of(items) == [0, 1]
    end = end_of(items)
    assert (end.cause, end.truncated, end.num_prompt_tokens) == (StopCause.EOS, False, 3)
    assert end.timings.predicted_n == 3  # with the end token


async def test_max_tokens_end_the_answer() -> None:
    async with speaking(b"a", b"b", b"c") as (generator, _):
        items = await items_of(generator, max_tokens=2)
    assert (text_of(items), end_of(items).cause) == ("ab", StopCause.LIMIT)


async def test_a_full_context_ends_the_answer() -> None:
    async with speaking(*[b"x"] * 100) as (generator, _):
        items = await items_of(generator)
    end = end_of(items)
    assert (end.cause, end.truncated) == (StopCause.LIMIT, True)
    assert text_of(items) == "x" * (N_CTX_SLOT - len(PROMPT))


@pytest.mark.parametrize(
    ("max_tokens", "is_truncated"),
    [(N_CTX_SLOT - 4, False), (N_CTX_SLOT - 3, True), (N_CTX_SLOT, True)],
)
async def test_an_answer_that_fills_its_slot_is_truncated(
    max_tokens: int, is_truncated: bool
) -> None:
    async with speaking(*[b"x"] * 100) as (generator, _):
        end = end_of(await items_of(generator, max_tokens=max_tokens))
    assert (end.truncated, end.timings.predicted_n) == (is_truncated, min(max_tokens, 61))


async def test_an_answer_without_a_limit_of_time_does_not_end_at_line_breaks() -> None:
    async with speaking(b"a\n", b"b\n") as (generator, _):
        items = await items_of(generator)
    assert text_of(items) == "a\nb\n"


async def test_an_answer_out_of_time_ends_with_its_line() -> None:
    async with speaking(b"a", b"b", b"c\n", b"d") as (generator, pair):
        items = await items_of(generator, max_seconds=0.0)
        assert not pair.client.streams
    assert (text_of(items), end_of(items).cause) == ("abc\n", StopCause.LIMIT)


async def test_no_time_limit_cuts_a_line() -> None:
    async with speaking(b"a", b"b", b"c") as (generator, _):
        items = await items_of(generator, max_seconds=0.0)
    assert (text_of(items), end_of(items).cause) == ("abc", StopCause.EOS)


async def test_an_answer_goes_on_beyond_its_slot_if_the_context_is_shifted() -> None:
    async with speaking(*[b"x"] * 100) as (generator, _):
        shift = ContextShift(keep=2, discard=0)
        items = await items_of(generator, context_shift=shift, max_tokens=3 * N_CTX_SLOT)
    end = end_of(items)
    assert (end.cause, end.truncated) == (StopCause.LIMIT, True)
    assert text_of(items) == "x" * (3 * N_CTX_SLOT)


async def test_no_tokens_are_generated_if_none_are_wanted() -> None:
    async with speaking(b"a") as (generator, _):
        items = await items_of(generator, max_tokens=0)
    timings = end_of(items).timings
    assert (items, timings.predicted_n, timings.prompt_n) == ([end_of(items)], 0, 3)
    assert timings.prompt_ms > 0
    assert timings.predicted_ms == 0


async def test_a_stop_string_across_tokens_ends_the_answer_and_the_work() -> None:
    async with speaking(b"one", b" t", b"wo", *[b"x"] * 40) as (generator, pair):
        items = await items_of(generator, stop=(" two",))
        assert (text_of(items), ids_of(items)) == ("one", [0])
        assert (end_of(items).cause, end_of(items).stopping_word) == (StopCause.WORD, " two")
        await wait_until(lambda: not pair.engine.has_work)


async def test_what_only_began_like_a_stop_string_is_sent() -> None:
    async with speaking(b"one", b" t", b"hree") as (generator, _):
        items = await items_of(generator, stop=(" two",))
    assert (text_of(items), ids_of(items)) == ("one three", [0, 1, 2])


async def test_what_is_held_at_the_end_is_sent() -> None:
    async with speaking(b"one", b" t") as (generator, _):
        items = await items_of(generator, stop=(" two",))
    assert (text_of(items), end_of(items).cause) == ("one t", StopCause.EOS)


async def test_tokens_of_the_stop_string_are_not_handed_out_with_text_held_before() -> None:
    async with speaking(b"xa", b"b", b"2") as (generator, _):
        items = await items_of(generator, stop=("ab1", "b2"))
    assert (text_of(items), ids_of(items)) == ("xa", [0])


async def test_a_character_across_tokens_comes_whole() -> None:
    euro = "€".encode()
    async with speaking(euro[:1], euro[1:2], euro[2:], b"!") as (generator, _):
        items = await items_of(generator)
    texts = [item.text for item in items if isinstance(item, TextDelta)]
    assert texts in (["€", "!"], ["€!"])  # joined, if the reader comes late
    assert ids_of(items) == [0, 1, 2, 3]


@pytest.mark.parametrize("make_parser", [None, PlainText])
@pytest.mark.parametrize("stop", [(), ("f",)])
async def test_a_reader_who_comes_late_gets_the_text_at_once(
    make_parser: Callable[[], PlainText] | None, stop: tuple[str, ...]
) -> None:
    pieces = [bytes([97 + n]) for n in range(12)]
    end = 12 if not stop else 5
    sampling = SamplingParams(temperature=0.0, top_logprobs=1)
    async with speaking(*pieces) as (generator, pair):
        request = make_request(make_parser=make_parser, stop=stop, sampling=sampling)
        async with generator.open(request) as stream:
            await wait_until(lambda: not pair.client.streams)
            items = [item async for item in stream]
    delta, *rest = [item for item in items if isinstance(item, TextDelta)]
    assert len(rest) == bool(stop and make_parser)  # the parser's text ends with the stop string
    assert delta.text[:end] == "abcdefghijkl"[:end]
    assert [token.id - FIRST_PIECE for token in delta.tokens][:end] == list(range(end))
    assert all(token.logprobs for token in delta.tokens)
    assert end_of(items).timings.predicted_n == (6 if stop else 13)
    if make_parser is not None:
        assert delta.events == (Content("abcdefghijkl"[:end]),)
        assert delta.content_tokens == delta.tokens[:end]


async def test_logprobs_come_with_their_tokens() -> None:
    sampling = SamplingParams(temperature=0.0, top_logprobs=1)
    async with speaking(b"a", b"b") as (generator, _):
        items = await items_of(generator, sampling=sampling)
    tokens = [t for item in items if isinstance(item, TextDelta) for t in item.tokens]
    assert [token.logprobs is not None for token in tokens] == [True, True]


async def test_progress_is_counted_against_the_whole_prompt() -> None:
    async with speaking(b"a") as (generator, _):
        items = await items_of(generator, report_progress=True)
    first, last = [item for item in items if isinstance(item, Progress)]
    assert (first.total, first.cache, first.processed, first.time_ms) == (3, 0, 0, 0.0)
    assert (last.total, last.cache, last.processed) == (3, 0, 3)


@pytest.mark.parametrize("num_cached", [0, 1, 2])
def test_the_first_progress_is_what_was_cached(num_cached: int) -> None:
    spec = SequenceSpec(prompt=(1, 2, 3), sampling=SamplingParams(), report_progress=True)
    answer = Answer(GenerationRequest(spec=spec), Script([b"a"]), n_ctx=99)
    events: list[Event] = [Started(1, 2, num_cached), Prefilled(1, 3)]
    timed = [TimedEvent(event, 10.0, 10.5) for event in events]
    items = [item for event in timed for item in answer.take(event)]
    assert items == [Progress(3, num_cached, num_cached, 0.0), Progress(3, num_cached, 3, 500.0)]


async def test_a_repeated_prompt_is_counted_as_cached() -> None:
    async with speaking(b"a") as (generator, _):
        await items_of(generator)
        timings = end_of(await items_of(generator)).timings
    assert (timings.cache_n, timings.prompt_n) == (2, 1)


async def test_a_prompt_that_cannot_fit_is_refused_before_the_queue() -> None:
    async with speaking(b"a") as (generator, pair):
        with pytest.raises(ContextExceeded) as error:
            await items_of(generator, prompt=tuple(range(10, 10 + N_CTX_SLOT)))
        assert error.value.details == {"n_prompt_tokens": N_CTX_SLOT, "n_ctx": N_CTX_SLOT}
        assert not pair.client.streams


async def test_a_full_queue_refuses_and_queues_nothing() -> None:
    async with speaking(b"a") as (generator, pair), AsyncExitStack() as stack:
        pair.gate.allow(0)
        for _ in range(4 + 1):  # the slots, and the queue's one place
            await stack.enter_async_context(generator.open(make_request()))
        with pytest.raises(Overloaded):
            await items_of(generator)
        assert len(pair.client.streams) == 5


async def test_the_engine_is_told_how_many_are_still_being_read() -> None:
    async with speaking(b"a") as (generator, pair), AsyncExitStack() as stack:
        await stack.enter_async_context(generator.open(make_request()))
        stack.enter_context(generator.enter_queue("who is slow"))
        stack.enter_context(generator.enter_queue("who is at it"))
        await stack.enter_async_context(generator.open(make_request()))
        told = [stream.request.num_requests_being_read for stream in pair.client.streams.values()]
        assert told == [0, 1]


async def test_leaving_early_aborts() -> None:
    async with speaking(*[b"x"] * 60) as (generator, pair):
        pair.gate.allow(2)
        async with generator.open(make_request()) as items:
            assert isinstance(await anext(items), TextDelta)
        pair.gate.allow(None)
        await wait_until(lambda: not pair.engine.has_work)
        assert not pair.client.streams


async def test_a_failure_of_the_engine_is_raised() -> None:
    async with speaking(b"a") as (generator, _):
        with pytest.raises(EngineFailed, match="no slot 9"):
            await items_of(generator, slot=9)


async def test_a_restart_of_the_engine_is_not_seen() -> None:
    async with speaking(*[b"%d" % (index % 10) for index in range(20)]) as (generator, pair):
        pair.gate.allow(7)
        async with generator.open(make_request(stop=("no",))) as items:
            first = await anext(items)
            await pair.kill_engine()
            await pair.start_engine()
            rest = [item async for item in items]
    assert text_of([first, *rest]) == "01234567890123456789"
    assert end_of(rest).timings.predicted_n == 21


pieces = st.lists(st.sampled_from([b"a", b"b", b"ab", b"ba", b"aab", b"\xe2", b"\x82\xac", b""]))


@given(pieces.filter(lambda p: len(p) < 30), st.lists(st.sampled_from(["ab", "bb", "aba", "b€"])))
@settings(max_examples=200, deadline=None)
def test_tokens_handed_out_are_those_in_which_the_text_begins(
    said: list[bytes], stop: list[str]
) -> None:
    answer = Answer(make_request(stop=tuple(stop)), Script(said), N_CTX_SLOT)
    items: list[Item] = []
    for index in range(len(said)):
        event = Generated(1, [FIRST_PIECE + index], [])
        items += answer.take(TimedEvent(event, 1.0, 2.0))
        if items and isinstance(items[-1], Ended):
            break
    else:
        items += answer.take(TimedEvent(Finished(1, FinishReason.STOP), 1.0, 2.0))
    ids = ids_of(items)
    assert ids == list(range(len(ids)))  # in order, none twice, none left out
    covered = b"".join(said[index] for index in ids).decode(errors="replace")
    assert covered.startswith(text_of(items).rstrip("\ufffd"))
    if end_of(items).cause is StopCause.EOS:
        assert len(ids) == len(said)


def test_drafts_are_counted_whatever_becomes_of_their_tokens() -> None:
    answer = Answer(make_request(stop=("c",)), Script([b"a", b"b", b"c", b"d"]), N_CTX_SLOT)
    first = Generated(1, [FIRST_PIECE, FIRST_PIECE + 1], [], 3, 1)
    # The engine may have died in between: the next engine continues, and the counts too.
    second = Generated(1, [FIRST_PIECE + 2, FIRST_PIECE + 3], [], 4, 1)
    items = answer.take(TimedEvent(first, 1.0, 2.0)) + answer.take(TimedEvent(second, 2.0, 3.0))
    [delta, ended] = items
    assert isinstance(delta, TextDelta)
    assert (delta.timings.draft_n, delta.timings.draft_n_accepted) == (3, 1)
    assert isinstance(ended, Ended)
    assert (ended.timings.draft_n, ended.timings.draft_n_accepted) == (7, 2)


@pytest.mark.parametrize(
    ("events", "fresh"),
    [
        ([(1, 3), (4, 2)], [3, 2]),
        ([(1, 3), (1, 5)], [3, 2]),
        ([(1, 5), (1, 2), (3, 4)], [5, 1]),
        ([(1, 2), (1, 2), (3, 1)], [2, 1]),
    ],
)
def test_scores_that_an_engine_repeats_are_dropped(
    events: list[tuple[int, int]], fresh: list[int]
) -> None:
    answer = Answer(make_request(), Script([]), N_CTX_SLOT)
    items: list[Item] = []
    for start, count in events:
        scores = [TokenLogprobs(-float(start + index), []) for index in range(count)]
        items += answer.take(TimedEvent(Scored(1, start, scores), 1.0, 2.0))
    found = [item.logprobs for item in items if isinstance(item, PromptScores)]
    assert [len(scores) for scores in found] == fresh
    assert [s.logprob for scores in found for s in scores] == [-1.0 - i for i in range(sum(fresh))]
