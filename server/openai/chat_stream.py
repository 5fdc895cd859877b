"""The chunks of a streamed chat completion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from server.generation import Ended, Progress, TextDelta
from server.json_response import encode_json
from server.openai.chat_answer import Delta, DeltaShaper
from server.openai.finish import finish_reason
from server.openai.identity import Identity
from server.openai.logprobs import chat_logprobs
from server.timings import progress_json, timings_json
from server.tokenizer import Tokenizer
from server.tool_calls.events import AnswerParser

KIND = "chat.completion.chunk"


class ChunkWriter:
    """Frames chunks; what is the same in all of them is encoded once.

    data: {…identity…,"choices":[{"index":0,"delta":{…},"logprobs":null,"finish_reason":null}]}
    └─────────── head ──────────────────────┘     └──────────────── plain tail ────────────┘
    """

    def __init__(self, identity: Identity, *, include_usage: bool) -> None:
        opening = encode_json(identity.fields(KIND))[:-1]
        self._opening = b"data: " + opening
        self._usage = b',"usage":null' if include_usage else b""
        self._plain_tail = b',"logprobs":null,"finish_reason":null}]' + self._usage + b"}\n\n"

    def delta(self, index: int, delta: Delta) -> bytes:
        """A chunk with nothing but news of one choice."""
        choice = b',"choices":[{"index":%d,"delta":' % index
        return self._opening + choice + encode_json(delta) + self._plain_tail

    def chunk(
        self,
        index: int,
        delta: Delta,
        *,
        logprobs: list[dict[str, Any]] | None = None,
        finish: str | None = None,
        extras: dict[str, Any] | None = None,
    ) -> bytes:
        """A chunk with more than that; `extras` are fields of the chunk itself."""
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": {"content": logprobs, "refusal": None} if logprobs is not None else None,
            "finish_reason": finish,
        }
        tail = b"".join(
            b',"%s":%s' % (name.encode(), encode_json(value))
            for name, value in (extras or {}).items()
        )
        choices = b',"choices":[' + encode_json(choice) + b"]"
        return self._opening + choices + self._usage + tail + b"}\n\n"

    def usage(self, usage: dict[str, Any], timings: dict[str, Any] | None) -> bytes:
        """The chunk after all choices have ended."""
        fields = encode_json(
            {"choices": [], "usage": usage} | ({"timings": timings} if timings else {})
        )
        return self._opening + b"," + fields[1:] + b"\n\n"


class ChatStream:
    """One choice that is answered in chunks."""

    def __init__(
        self,
        index: int,
        parser: AnswerParser,
        writer: ChunkWriter,
        shaper: DeltaShaper,
        tokenizer: Tokenizer,
        *,
        with_logprobs: bool,
        timings_per_token: bool,
    ) -> None:
        self._index = index
        self._parser = parser
        self._writer = writer
        self._shaper = shaper
        self._tokenizer = tokenizer
        self._timings_per_token = timings_per_token
        self._is_plain = not (with_logprobs or timings_per_token)
        self._logprobs: list[dict[str, Any]] | None = [] if with_logprobs else None

    def start(self) -> bytes:
        """The first chunk, which says whose message it is."""
        return self._writer.delta(self._index, {"role": "assistant", "content": None})

    def progress(self, progress: Progress) -> bytes:
        """A chunk about the prompt."""
        extras = {"prompt_progress": progress_json(progress)}
        return self._writer.chunk(self._index, {}, extras=extras)

    def add(self, delta: TextDelta) -> bytes:
        """The chunks for more text: none while it is held back."""
        deltas = self._shaper.deltas(self._parser.feed(delta.text))
        if self._is_plain:
            return b"".join(self._writer.delta(self._index, delta) for delta in deltas)
        if self._logprobs is not None:
            self._logprobs += chat_logprobs(delta.tokens, self._tokenizer)
        extras = {"timings": timings_json(delta.timings)} if self._timings_per_token else None
        return self._chunks(deltas, extras)

    def end(self, ended: Ended) -> bytes:
        """What was held back, and the chunk that says why the answer ended."""
        deltas = self._shaper.deltas(self._parser.finish())
        last = self._writer.chunk(
            self._index,
            {},
            logprobs=self._logprobs if self._logprobs and not deltas else None,
            finish=finish_reason(ended, called=self._shaper.has_called),
            extras={"timings": timings_json(ended.timings)},
        )
        return self._chunks(deltas, None) + last

    def _chunks(self, deltas: Iterable[Delta], extras: dict[str, Any] | None) -> bytes:
        """The first one carries all log-probabilities that have gathered."""
        chunks = b""
        for delta in deltas:
            logprobs = self._logprobs or None
            if self._logprobs:
                self._logprobs = []
            chunks += self._writer.chunk(self._index, delta, logprobs=logprobs, extras=extras)
        return chunks
