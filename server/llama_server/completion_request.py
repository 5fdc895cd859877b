"""The body of a native completion."""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, Field, StrictStr

from server.requests.field_types import MAX_LOGPROBS, Whole
from server.requests.prompt_fields import PromptFields

MAX_RESPONSE_FIELDS = 256


class CompletionRequest(PromptFields):
    """`POST /completion`; llama-server's names and meanings."""

    n_probs: Annotated[Whole, Field(ge=0, le=MAX_LOGPROBS)] = Field(
        0, validation_alias=AliasChoices("n_probs", "logprobs")
    )
    response_fields: Annotated[tuple[StrictStr, ...], Field(max_length=MAX_RESPONSE_FIELDS)] = ()
