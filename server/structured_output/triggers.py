"""llama-server's lazy grammars: the triggers at which a constraint begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, StrictStr, model_validator

from grammars import compiler
from grammars.constraint import Constraint
from server.bodies.bounds import TRIGGER_CHARS
from server.bodies.request_model import RequestModel
from server.errors import InvalidRequest
from server.model.tokenizer import Tokenizer
from server.structured_output.refusing import refusing

TOKEN, WORD = 0, 1
"""llama.cpp's numbers for the kinds of triggers. 2 and 3 are patterns, which are refused."""


class GrammarTrigger(RequestModel):
    """A word or a token at which the grammar begins. The grammar describes the trigger, too."""

    type: Literal[0, 1]
    value: Annotated[StrictStr, Field(max_length=TRIGGER_CHARS.most)] = ""
    token: Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)] | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> GrammarTrigger:
        if self.type == TOKEN and self.token is None:
            raise ValueError("must give the id of its token in 'token'")
        if self.type == WORD and not self.value:
            raise ValueError("must give its word in 'value'")
        return self


def lazy_constraint(
    constraint: Constraint, triggers: Sequence[GrammarTrigger], tokenizer: Tokenizer
) -> Constraint:
    """The constraint from a trigger on. Before the trigger the answer is free.

    Raises `InvalidRequest` without triggers, and for triggers that can't be used.
    """
    if not triggers:
        raise InvalidRequest("'grammar_lazy' needs 'grammar_triggers'", param="grammar_triggers")
    tokens = [trigger.token for trigger in triggers if trigger.token is not None]
    for token in tokens:
        if token >= tokenizer.n_vocab:
            message = f"'grammar_triggers' names the token {token}, which the vocabulary hasn't"
            raise InvalidRequest(message, param="grammar_triggers")
    words = tuple(trigger.value for trigger in triggers if trigger.type == WORD)
    with refusing("grammar_triggers"):
        return compiler.lazy(constraint, words=words, tokens=tuple(tokens))
