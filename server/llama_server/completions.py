"""`POST /completion`: llama-server's native completion, streamed or in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from server.answers.respond import respond
from server.answers.shape import StreamedAnswer, WholeAnswer
from server.context import context_of
from server.generation.types import Ended, Progress, TextDelta
from server.http.sse import frame
from server.llama_server.completion_answer import CompletionAnswer
from server.llama_server.completion_request import CompletionRequest
from server.requests.body import read_body
from server.requests.threads import in_thread


async def create_completion(request: Request) -> Response:
    """Answer one or several prompts."""
    return await complete(request, CompletionRequest)


async def complete(request: Request, model: type[CompletionRequest]) -> Response:
    """The answer to a body of this kind. Several answers come as an array, or as interleaved
    events."""
    context = context_of(request)
    body = await read_body(request, model)
    sequences = await in_thread(request, body.sequences, context, is_structured=body.is_structured)
    answers = [
        CompletionAnswer(index, body, sequence, context) for index, sequence in enumerate(sequences)
    ]
    return await respond(
        request,
        body,
        sequences,
        context,
        whole=lambda: WholeCompletion(answers),
        streamed=lambda: CompletionStream(answers),
    )


class WholeCompletion(WholeAnswer):
    """The final object of one sequence, or an array with the final object of each sequence."""

    def __init__(self, answers: Sequence[CompletionAnswer]) -> None:
        self._answers = answers
        self._finals: list[dict[str, Any]] = [{}] * len(answers)

    def add(self, index: int, delta: TextDelta) -> None:
        self._answers[index].add(delta)

    def end(self, index: int, ended: Ended) -> None:
        self._finals[index] = self._answers[index].final(ended)

    def body(self) -> Any:
        return self._finals if len(self._finals) > 1 else self._finals[0]


class CompletionStream(StreamedAnswer):
    """Writes one event for each delta. The last event of a sequence is its final object."""

    def __init__(self, answers: Sequence[CompletionAnswer]) -> None:
        self._answers = answers

    def delta(self, index: int, delta: TextDelta) -> bytes:
        answer = self._answers[index]
        answer.add(delta)
        return frame(answer.chunk(delta))

    def progress(self, index: int, progress: Progress) -> bytes:
        return frame(self._answers[index].progress_chunk(progress))

    def end(self, index: int, ended: Ended) -> bytes:
        return frame(self._answers[index].final(ended))
