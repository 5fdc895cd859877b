"""The chunks of a streamed chat completion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from server.answers.shape import StreamedAnswer
from server.answers.verbose import NO_RECORDS, VerboseRecords
from server.chat.logprobs import chat_logprobs
from server.chat.options import AnswerOptions
from server.generation.timings import progress_json, timings_json
from server.generation.types import Ended, Progress, TextDelta, Timings
from server.http.json_response import encode_json
from server.http.sse import DONE
from server.model.tokenizer import Tokenizer
from server.openai.chat.answer import Delta, DeltaShaper
from server.openai.finish import finish_reason
from server.openai.identity import Identity
from server.openai.usage import Usage

KIND = "chat.completion.chunk"


class ChunkWriter:
    """Writes chunks. The parts that all chunks share are encoded once.

    data: {…identity…,"choices":[{"index":0,"delta":{…},"logprobs":null,"finish_reason":null}]}
    └─────────── head ──────────────────────┘     └──────────────── plain tail ────────────┘
    """

    def __init__(self, identity: Identity, *, include_usage: bool) -> None:
        opening = encode_json(identity.fields(KIND))[:-1]
        self._opening = b"data: " + opening
        self._usage = b',"usage":null' if include_usage else b""
        self._plain_tail = b',"logprobs":null,"finish_reason":null}]' + self._usage + b"}\n\n"

    def head(self, index: int) -> bytes:
        """The bytes at the beginning of every plain chunk of one choice."""
        return self._opening + b',"choices":[{"index":%d,"delta":' % index

    def delta(self, head: bytes, delta: Delta) -> bytes:
        """A plain chunk: a delta of the choice that has this head."""
        return head + encode_json(delta) + self._plain_tail

    def chunk(
        self,
        index: int,
        delta: Delta,
        *,
        details: Mapping[str, Any] = MappingProxyType({}),
        finish: str | None = None,
        extras: Mapping[str, Any] = MappingProxyType({}),
    ) -> bytes:
        """A chunk with more fields: `details` of the choice, and `extras` of the chunk itself."""
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        tail = b"".join(
            b',"%s":%s' % (name.encode(), encode_json(value)) for name, value in extras.items()
        )
        choices = b',"choices":[' + encode_json({**choice, **details}) + b"]"
        return self._opening + choices + self._usage + tail + b"}\n\n"

    def usage(self, usage: dict[str, Any], timings: dict[str, Any] | None) -> bytes:
        """The chunk after all choices have ended."""
        fields = encode_json(
            {"choices": [], "usage": usage} | ({"timings": timings} if timings else {})
        )
        return self._opening + b"," + fields[1:] + b"\n\n"


class ChoiceStream:
    """Writes the chunks of one choice."""

    def __init__(
        self,
        index: int,
        writer: ChunkWriter,
        tokenizer: Tokenizer,
        options: AnswerOptions,
    ) -> None:
        self._index = index
        self._head = writer.head(index)
        self._writer = writer
        self._tokenizer = tokenizer
        self._options = options
        self._shaper = DeltaShaper(options.max_calls)
        self._is_plain = options == AnswerOptions(max_calls=options.max_calls)
        self._logprobs: list[dict[str, Any]] = []
        self._tokens: list[int] = []

    @property
    def num_reasoning_tokens(self) -> int:
        """Tokens in which the model was thinking."""
        return self._shaper.num_reasoning_tokens

    def start(self) -> bytes:
        """The first chunk, with the role of the message."""
        return self._writer.delta(self._head, {"role": "assistant", "content": None})

    def progress(self, progress: Progress) -> bytes:
        """A chunk with the progress of the prompt."""
        return self._writer.chunk(self._index, {}, extras=progress_json(progress))

    def add(self, delta: TextDelta) -> bytes:
        """The chunks for more text: none while the parser holds the text back."""
        deltas = self._shaper.deltas(delta.events, len(delta.tokens))
        if self._is_plain:
            return b"".join(self._writer.delta(self._head, delta) for delta in deltas)
        if self._options.with_logprobs:
            self._logprobs += chat_logprobs(delta.content_tokens, self._tokenizer)
        if self._options.with_tokens:
            self._tokens += [token.id for token in delta.tokens]
        with_timings = self._options.timings_per_token
        return self._chunks(
            deltas, {"timings": timings_json(delta.timings)} if with_timings else {}
        )

    def end(self, ended: Ended, extras: Mapping[str, Any] = MappingProxyType({})) -> bytes:
        """The chunk with the finish reason, which carries the `extras`."""
        return self._writer.chunk(
            self._index,
            {},
            details=self._take_details(),
            finish=finish_reason(ended, called=self._shaper.has_called),
            extras={"timings": timings_json(ended.timings), **extras},
        )

    def _chunks(self, deltas: Iterable[Delta], extras: dict[str, Any]) -> bytes:
        """The chunks of some deltas. The first chunk carries the details since the last chunk."""
        return b"".join(
            self._writer.chunk(self._index, delta, details=self._take_details(), extras=extras)
            for delta in deltas
        )

    def _take_details(self) -> dict[str, Any]:
        """The choice's fields besides its text, since the last chunk."""
        details: dict[str, Any] = {}
        if self._logprobs:
            details["logprobs"] = {"content": self._logprobs, "refusal": None}
        if self._tokens:
            details["tokens"] = self._tokens
        self._logprobs, self._tokens = [], []
        return details


class ChatStream(StreamedAnswer):
    """Writes the chunks of all choices, and the usage if the request asks for it."""

    def __init__(
        self,
        choices: Sequence[ChoiceStream],
        writer: ChunkWriter,
        *,
        include_usage: bool,
        records: VerboseRecords = NO_RECORDS,
    ) -> None:
        self._choices = choices
        self._records = records
        self._writer = writer
        self._include_usage = include_usage
        self._usage = Usage(len(choices))
        self._timings: Timings | None = None

    def start(self) -> bytes:
        return b"".join(choice.start() for choice in self._choices)

    def delta(self, index: int, delta: TextDelta) -> bytes:
        self._records.add(index, delta)
        return self._choices[index].add(delta)

    def progress(self, index: int, progress: Progress) -> bytes:
        return self._choices[index].progress(progress)

    def end(self, index: int, ended: Ended) -> bytes:
        choice = self._choices[index]
        self._usage.add(index, ended, choice.num_reasoning_tokens)
        self._timings = ended.timings
        return choice.end(ended, self._records.fields(index, ended))

    def finish(self) -> bytes:
        if not self._include_usage:
            return DONE
        timings = timings_json(self._timings) if self._timings else None
        return self._writer.usage(self._usage.to_json(), timings) + DONE
