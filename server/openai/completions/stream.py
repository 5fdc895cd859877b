"""The events of a streamed text completion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from server.answers.shape import StreamedAnswer
from server.answers.verbose import NO_RECORDS, VerboseRecords
from server.generation.timings import progress_json, timings_json
from server.generation.types import Ended, Progress, PromptScores, TextDelta
from server.http.sse import DONE, frame
from server.openai.completions.answer import TextChoice
from server.openai.identity import TEXT_COMPLETION, Identity
from server.openai.usage import Usage
from server.requests.text_completion import TextCompletionRequest


class TextStream(StreamedAnswer):
    """Writes one event for each delta. All events of one answer have the same identity."""

    def __init__(
        self,
        choices: Sequence[TextChoice],
        body: TextCompletionRequest,
        identity: Identity,
        records: VerboseRecords = NO_RECORDS,
    ) -> None:
        self._records = records
        self._choices = choices
        self._fields = identity.fields(TEXT_COMPLETION)
        self._include_usage = body.stream_options.include_usage
        self._common = self._fields | ({"usage": None} if self._include_usage else {})
        self._with_timings = body.timings_per_token
        self._usage = Usage(body.n)

    def start(self) -> bytes:
        """The prompts, if they are echoed."""
        pieces = (choice.start() for choice in self._choices)
        return b"".join(self._event(piece) for piece in pieces if piece)

    def delta(self, index: int, delta: TextDelta) -> bytes:
        self._records.add(index, delta)
        echo, piece = self._echo(index), self._choices[index].piece(delta)
        if self._with_timings:
            return echo + self._event(piece, timings=timings_json(delta.timings))
        return echo + self._event(piece)

    def scored(self, index: int, scores: PromptScores) -> bytes:
        self._choices[index].scored(scores)
        return b""

    def progress(self, index: int, progress: Progress) -> bytes:
        piece = self._choices[index].empty()
        return self._event(piece, **progress_json(progress))

    def end(self, index: int, ended: Ended) -> bytes:
        self._usage.add(index, ended)
        extras = self._records.fields(index, ended)
        timings = timings_json(ended.timings)
        last = self._event(self._choices[index].end(ended), timings=timings, **extras)
        return self._echo(index) + last

    def finish(self) -> bytes:
        """The usage, if it is asked for, and the end."""
        if not self._include_usage:
            return DONE
        return frame(self._fields | {"choices": [], "usage": self._usage.to_json()}) + DONE

    def _echo(self, index: int) -> bytes:
        """The echoed prompt with its scores, once they are complete."""
        piece = self._choices[index].take_echo()
        return self._event(piece) if piece else b""

    def _event(self, piece: dict[str, Any], **extras: Any) -> bytes:
        return frame(self._common | {"choices": [piece]} | extras)
