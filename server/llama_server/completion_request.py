"""The body of a native completion."""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, Field, StrictStr

from server.bodies.bounds import LOGPROBS, RESPONSE_FIELD_CHARS, RESPONSE_FIELDS
from server.bodies.few import few
from server.requests.field_types import Whole
from server.requests.prompt_fields import PromptFields

ResponseField = Annotated[StrictStr, Field(max_length=RESPONSE_FIELD_CHARS.most)]


class CompletionRequest(PromptFields):
    """`POST /completion`; llama-server's names and meanings."""

    n_probs: Annotated[Whole, Field(ge=0, le=LOGPROBS.most)] = Field(
        0, validation_alias=AliasChoices("n_probs", "logprobs")
    )
    response_fields: Annotated[
        tuple[ResponseField, ...], Field(max_length=RESPONSE_FIELDS.most), few(RESPONSE_FIELDS)
    ] = ()
