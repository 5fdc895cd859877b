"""The fields that native completions and OpenAI's text completions share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import BeforeValidator

from server.context import ServerContext
from server.generation.types import GenerationRequest
from server.requests.field_types import Count
from server.requests.kept_logprobs import with_room
from server.requests.prompts import (
    Prompt,
    PromptInput,
    check_sequences,
    parse_prompts,
    prompt_tokens,
)
from server.requests.sampling_fields import SamplingFields
from server.requests.sequence import resolve_sampling, sequences_of
from server.structured_output.compile import compile_request_format


class PromptFields(SamplingFields):
    """Prompts to continue, and how."""

    prompt: Annotated[
        tuple[Prompt, ...], BeforeValidator(parse_prompts, json_schema_input_type=PromptInput)
    ]

    n_indent: Count = 0
    """The answer ends at the first line with fewer spaces and tabs at its beginning."""

    @property
    def num_logprobs(self) -> int:
        """Alternatives to report with each token; -1 reports nothing."""
        return self.n_probs or -1

    @property
    def scores_prompt(self) -> bool:
        """Whether the log-probabilities of the prompt are reported too."""
        return False

    def sequences(self, context: ServerContext) -> list[GenerationRequest]:
        """`n` sequences for each prompt, in the order of the choices.

        Tokenizes and compiles, so callers keep it off the event loop. Raises `InvalidRequest`,
        `ContextExceeded`, and `Unavailable` while the model loads.
        """
        check_sequences(len(self.prompt), self.n)
        sampling = resolve_sampling(self, context, top_logprobs=self.num_logprobs)
        constraint = compile_request_format(self.output_format(), context.tokenizer)
        sequences = sequences_of(
            self,
            self._prompts(context),
            context,
            sampling=sampling,
            constraint=constraint or context.default_constraint,
        )
        if self.n_indent:
            sequences = [replace(sequence, min_indent=self.n_indent) for sequence in sequences]
        if self.scores_prompt:
            sequences = [sequence.with_spec(score_prompt=True) for sequence in sequences]
        return with_room(self, sequences, context.engine.model.n_ctx_slot)

    def _prompts(self, context: ServerContext) -> Iterable[Sequence[int]]:
        """The tokens of each prompt."""
        n_ctx = context.engine.model.n_ctx_slot
        return (prompt_tokens(prompt, context.tokenizer, n_ctx) for prompt in self.prompt)
