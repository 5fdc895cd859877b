"""Stop strings and log-probabilities are about the content that a parser finds, nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocol.commands import SequenceSpec
from protocol.events import Finished, FinishReason, Generated, TokenLogprobs
from protocol.sampling import SamplingParams
from server.engine.sequence_stream import TimedEvent
from server.generation.answer import Answer
from server.generation.types import Ended, GenerationRequest, Item, StopCause, TextDelta
from server.parsers.events import (
    AnswerEvent,
    AnswerParser,
    CallArguments,
    CallStarted,
    Content,
    PlainText,
    Reasoning,
)
from server.parsers.harmony import HarmonyAnswer
from server.parsers.named import NamedCalls
from server.parsers.reasoning import ReasoningMarkers, ReasoningSplitter
from server.parsers.tagged import TaggedCalls
from tests.support.fake_server import ByteTokenizer

THINK = ReasoningMarkers("<think>", "</think>")
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": "x\\ny"}}\n</tool_call>'
MISTRAL = r"(?P<name>.*?)(\[ARGS\])?\s*$"


def thinking() -> AnswerParser:
    return ReasoningSplitter(THINK, PlainText())


def tagged() -> AnswerParser:
    return ReasoningSplitter(THINK, TaggedCalls("<tool_call>", "</tool_call>"))


def named() -> AnswerParser:
    return NamedCalls("[TOOL_CALLS]", MISTRAL)


class Words(ByteTokenizer):
    """A vocabulary that an answer fills: one token for each piece of the answer."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def piece(self, token: int, *, special: bool = False) -> bytes:
        return self.pieces[token - 1000]


def answered(
    pieces: list[bytes],
    make_parser: Callable[[], AnswerParser],
    stop: tuple[str, ...] = (),
    *,
    per_event: int = 1,
) -> list[Item]:
    """The items of an answer of these tokens; the engine sends `per_event` of them together."""
    spec = SequenceSpec(prompt=(1,), sampling=SamplingParams(top_logprobs=0))
    request = GenerationRequest(spec=spec, stop=stop, make_parser=make_parser)
    answer = Answer(request, Words(pieces), 1 << 20)
    items: list[Item] = []
    for first in range(0, len(pieces), per_event):
        ids = [1000 + index for index in range(first, min(first + per_event, len(pieces)))]
        event = Generated(1, ids, [TokenLogprobs(-0.5, [])] * len(ids))
        items += answer.take(TimedEvent(event, 1.0, 2.0))
        if items and isinstance(items[-1], Ended):
            return items
    return items + answer.take(TimedEvent(Finished(1, FinishReason.STOP), 1.0, 2.0))


def events_of(items: list[Item]) -> list[AnswerEvent]:
    return [event for item in items if isinstance(item, TextDelta) for event in item.events]


def content_of(items: list[Item]) -> str:
    return "".join(event.text for event in events_of(items) if isinstance(event, Content))


def arguments_of(items: list[Item]) -> str:
    return "".join(event.text for event in events_of(items) if isinstance(event, CallArguments))


def content_tokens(items: list[Item]) -> list[bytes]:
    deltas = [item for item in items if isinstance(item, TextDelta)]
    return [token.piece for delta in deltas for token in delta.content_tokens]


def cut(text: str, size: int) -> list[bytes]:
    data = text.encode()
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("per_event", [1, 4])
@pytest.mark.parametrize(
    ("make_parser", "text", "stop", "content", "arguments", "word"),
    [
        (thinking, "<think>\nHm.\n</think>\n\nIt is.", ("\n",), "It is.", "", ""),
        (thinking, "<think>END</think>a ENDE END b", ("END",), "a ", "", "END"),
        (thinking, "<think>a</think>b", ("think", "</"), "b", "", ""),
        (thinking, "<think>x</think>aXbYc", ("Yc", "Xb"), "a", "", "Xb"),
        (thinking, "<think>stop", ("stop",), "", "", ""),
        (tagged, CALL, ("\n",), "", '{"a": "x\\ny"}', ""),
        (tagged, CALL, ("{", "arguments", "tool"), "", '{"a": "x\\ny"}', ""),
        (tagged, "<think>{</think>\n" + CALL, ("{", '"'), "", '{"a": "x\\ny"}', ""),
        (tagged, "Hi\n" + CALL, ("\n",), "Hi", '{"a": "x\\ny"}', ""),
        (tagged, "Hi.\nYes" + CALL, ("\n",), "Hi.", "", "\n"),
        (tagged, "Hi <b>" + CALL, ("<t",), "Hi <b>", '{"a": "x\\ny"}', ""),
        (tagged, "Hi <<t> x", ("<t",), "Hi <", "", "<t"),
        (tagged, "a é€ 😀", ("€ 😀!", "€"), "a é", "", "€"),
        (tagged, "Hi\n", ("\n",), "Hi", "", "\n"),
        (named, "Well[TOOL_CALLS]f[ARGS]{}", ("[", "f"), "Well", "{}", ""),
        (named, "We[ll[TOOL_CALLS]f[ARGS]{}", ("[",), "We", "", "["),
        (
            HarmonyAnswer,
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>A|B",
            (".", "|"),
            "A",
            "",
            "|",
        ),
    ],
)
def test_stop_strings_count_in_the_content_alone(
    make_parser: Callable[[], AnswerParser],
    text: str,
    stop: tuple[str, ...],
    content: str,
    arguments: str,
    word: str,
    size: int,
    per_event: int,
) -> None:
    items = answered(cut(text, size), make_parser, stop, per_event=per_event)
    ended = items[-1]
    assert isinstance(ended, Ended)
    assert (content_of(items), arguments_of(items)) == (content, arguments)
    assert ended.stopping_word == word
    assert ended.cause is (StopCause.WORD if word else StopCause.EOS)


def test_the_answer_ends_with_the_token_that_completes_the_stop_string() -> None:
    pieces = [b"<think>", b"x", b"</think>", b"a", b"E", b"N", b"D", b"more", b"more"]
    items = answered(pieces, tagged, ("END",))
    assert isinstance(items[-1], Ended)
    assert items[-1].timings.predicted_n == 7
    tokens = [t.piece for item in items[:-1] if isinstance(item, TextDelta) for t in item.tokens]
    assert tokens == pieces[:4]
    assert content_tokens(items) == [b"a"]


@pytest.mark.parametrize("per_event", [1, 3, 100])
@pytest.mark.parametrize(
    ("make_parser", "pieces", "expected"),
    [
        (PlainText, [b"A", b" b"], [b"A", b" b"]),
        (thinking, [b"<think>", b"t", b"</think>", b"\n\n", b"t", b"."], [b"t", b"."]),
        (thinking, [b"<think>", b"no", b"</", b"think", b">", b"think"], [b"think"]),
        (thinking, [b"<think>", b"a", b"</think>\n\nB", b"c"], [b"</think>\n\nB", b"c"]),
        (thinking, [b"\xf0\x9f", b"\x98", b"\x80", b"!"], [b"\xf0\x9f", b"\x98", b"\x80", b"!"]),
        (thinking, [b"<think>", b"never ends"], []),
        (tagged, [CALL.encode()], []),
        (tagged, [b"So", b"\n", *cut(CALL, 3)], [b"So"]),
        (tagged, [b"So", b"\n", b"on", b" ", b"<tool_call>"], [b"So", b"\n", b"on"]),
        (tagged, [b"<", b"<", b"b", b"", b">"], [b"<", b"<", b"b", b">"]),
        (tagged, [*cut(CALL, 2), b"f", b"x"], [b"f", b"x"]),
        (named, [b"f", b"[TOOL_CALLS]", b"f", b"[ARGS]", b"{", b"}"], [b"f"]),
    ],
)
def test_the_tokens_of_content(
    make_parser: Callable[[], AnswerParser],
    pieces: list[bytes],
    expected: list[bytes],
    per_event: int,
) -> None:
    assert content_tokens(answered(pieces, make_parser, per_event=per_event)) == expected


def test_events_come_as_the_parser_makes_them() -> None:
    items = answered(cut("<think>Hm</think>Yes " + CALL, 4), tagged)
    kinds = {type(event) for event in events_of(items)}
    assert kinds == {Reasoning, Content, CallStarted, CallArguments}
    assert content_of(items) == "Yes"
