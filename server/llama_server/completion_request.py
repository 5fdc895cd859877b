"""The body of a native completion, and the sequences that it asks for."""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, BeforeValidator, Field, StrictStr

from server.context import ServerContext
from server.generation.types import GenerationRequest
from server.requests.field_types import MAX_LOGPROBS, Whole
from server.requests.prompts import (
    Prompt,
    PromptInput,
    check_sequences,
    parse_prompts,
    prompt_tokens,
)
from server.requests.sampling_fields import SamplingFields, nth_choice

MAX_RESPONSE_FIELDS = 256


class CompletionRequest(SamplingFields):
    """`POST /completion`; llama-server's names and meanings."""

    prompt: Annotated[
        tuple[Prompt, ...], BeforeValidator(parse_prompts, json_schema_input_type=PromptInput)
    ]
    n_probs: Annotated[Whole, Field(ge=0, le=MAX_LOGPROBS)] = Field(
        0, validation_alias=AliasChoices("n_probs", "logprobs")
    )
    response_fields: Annotated[tuple[StrictStr, ...], Field(max_length=MAX_RESPONSE_FIELDS)] = ()

    def sequences(self, context: ServerContext) -> list[GenerationRequest]:
        """`n` sequences for each prompt, in the order of the answer's `index`.

        Tokenizes and compiles, so not for the event loop. Raises `InvalidRequest` and
        `Unavailable`.
        """
        check_sequences(len(self.prompt), self.n)
        sampling = self.to_sampling_params(context, top_logprobs=self.n_probs or -1)
        constraint = self.to_constraint(context)
        sequences = []
        for prompt in self.prompt:
            tokens = prompt_tokens(prompt, context)
            first = self.to_request(context, tokens, sampling, constraint)
            sequences += [nth_choice(first, index) for index in range(self.n)]
        return sequences
