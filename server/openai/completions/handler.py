"""`POST /v1/completions`, OpenAI's older endpoint."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.answers.respond import respond
from server.answers.verbose import verbose_records
from server.context import context_of
from server.openai.completions.answer import TextChoice
from server.openai.completions.stream import TextStream
from server.openai.identity import TEXT_COMPLETION, new_identity
from server.openai.whole_answer import WholeCompletion
from server.requests.body import read_body
from server.requests.text_completion import TextCompletionRequest
from server.requests.threads import in_thread


async def create_completion(request: Request) -> Response:
    """Continue one or several prompts, with `n` choices each, streamed or in one piece."""
    context = context_of(request)
    body = await read_body(request, TextCompletionRequest)
    sequences = await in_thread(request, body.sequences, context, is_structured=body.is_structured)
    choices = [
        TextChoice(
            index,
            echo,
            context.tokenizer,
            with_logprobs=body.num_logprobs >= 0,
            with_tokens=body.return_tokens,
            scored=sequences[index].spec.prompt if body.scores_prompt else (),
        )
        for index, echo in enumerate(body.echoes(context.tokenizer))
    ]

    records = verbose_records(body, sequences, context)

    def whole() -> WholeCompletion:
        return WholeCompletion(
            choices,
            context.model_name,
            choices_per_prompt=body.n,
            prefix="cmpl",
            kind=TEXT_COMPLETION,
            records=records,
        )

    def streamed() -> TextStream:
        return TextStream(choices, body, new_identity("cmpl", context.model_name), records)

    return await respond(request, body, sequences, context, whole=whole, streamed=streamed)
