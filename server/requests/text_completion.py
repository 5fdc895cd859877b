"""The body of a text completion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Annotated

from pydantic import Field, StrictStr

from server.bodies.bounds import CHOICES, LOGPROBS
from server.bodies.label import Label
from server.context import ServerContext
from server.errors import InvalidRequest
from server.generation.types import GenerationRequest
from server.model.tokenizer import Tokenizer
from server.requests.field_types import Flag, Whole
from server.requests.infill import infill_prompt
from server.requests.model_name import check_model
from server.requests.prompt_fields import PromptFields
from server.requests.prompt_size import check_parts
from server.requests.prompts import Prompt, split_parts
from server.requests.unsupported_fields import LLAMA_SERVER_FIELDS
from server.structured_output.output_format import OutputFormat
from server.structured_output.response_format import ResponseFormat, response_output_format


class TextCompletionRequest(PromptFields):
    """`POST /v1/completions`: OpenAI's fields and llama-server's."""

    unsupported = LLAMA_SERVER_FIELDS

    logprobs: Annotated[Whole, Field(ge=0, le=LOGPROBS.most)] | None = None
    echo: Flag = False
    suffix: StrictStr = ""
    """The text that follows the answer, for models that fill in the middle."""
    best_of: Annotated[Whole, Field(ge=1, le=CHOICES.most)] | None = None
    user: Label | None = None
    response_format: ResponseFormat | None = None
    """Many servers have this field for completions; OpenAI doesn't."""

    @property
    def user_hint(self) -> str:
        """Whom the request is for."""
        return self.user or ""

    @property
    def num_logprobs(self) -> int:
        """Alternatives to report with each token; -1 reports nothing."""
        return self.logprobs if self.logprobs is not None else (self.n_probs or -1)

    def sequences(self, context: ServerContext) -> list[GenerationRequest]:
        """`n` sequences for each prompt. Raises `NotFound` for another model, too."""
        check_model(self.model, context)
        self._check()
        return super().sequences(context)

    def rendered(self, context: ServerContext) -> list[list[int]]:
        """The tokens of each prompt. Raises what `sequences` raises for prompts."""
        check_model(self.model, context)
        self._check()
        return [list(tokens) for tokens in self._prompts(context)]

    @property
    def scores_prompt(self) -> bool:
        """Whether the log-probabilities of the prompt are reported too."""
        return self.echo and self.num_logprobs >= 0

    def echoes(self, tokenizer: Tokenizer) -> list[str]:
        """The text at the beginning of each choice: its prompt with `echo`, else nothing."""
        if not self.echo:
            return [""] * (len(self.prompt) * self.n)
        texts = [_text(prompt, tokenizer) for prompt in self.prompt]
        return [text for text in texts for _ in range(self.n)]

    def _prompts(self, context: ServerContext) -> Iterable[Sequence[int]]:
        if not self.suffix:
            return super()._prompts(context)
        return (self._with_suffix(prompt, context) for prompt in self.prompt)

    def _with_suffix(self, prompt: Prompt, context: ServerContext) -> list[int]:
        tokenizer = context.tokenizer
        check_parts((*prompt, self.suffix), tokenizer, context.engine.model.n_ctx_slot)
        split = partial(split_parts, tokenizer=tokenizer, add_special=False)
        return infill_prompt(
            split(prompt, param="prompt", parse_special=True),
            split((self.suffix,), param="suffix", parse_special=False),
            tokenizer,
            suffix_first=context.settings.spm_infill,
        )

    def _formats(self) -> Iterator[OutputFormat]:
        yield response_output_format(self.response_format)
        yield from super()._formats()

    def _check(self) -> None:
        if self.best_of is not None and self.best_of != self.n:
            message = f"'best_of' must equal 'n' ({self.n}): every answer that is made is returned"
            raise InvalidRequest(message, param="best_of")


def _text(prompt: Prompt, tokenizer: Tokenizer) -> str:
    """The prompt as text, control tokens included."""
    parts = [
        part.encode() if isinstance(part, str) else tokenizer.piece(part, special=True)
        for part in prompt
    ]
    return b"".join(parts).decode(errors="replace")
