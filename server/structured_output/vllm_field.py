"""vLLM's field `structured_outputs`: a schema, an expression, choices or a grammar."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, model_validator

from grammars import compiler
from grammars.constraint import Constraint
from grammars.errors import GrammarError
from server.errors import InvalidRequest
from server.model.tokenizer import Tokenizer

ANY_OBJECT: dict[str, Any] = {"type": "object"}


class StructuredOutputs(BaseModel):
    """Exactly one kind of constraint."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    json_: Any = Field(None, alias="json")
    json_object: StrictBool | None = None
    regex: StrictStr | None = None
    choice: list[StrictStr] | None = None
    grammar: StrictStr | None = None
    structural_tag: Any = None

    @model_validator(mode="after")
    def _is_one(self) -> StructuredOutputs:
        kinds = (self.json_, self.json_object, self.regex, self.choice, self.grammar)
        if self.structural_tag is not None:
            raise ValueError("must come without structural_tag, which is not supported")
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("must hold exactly one of json, json_object, regex, choice, grammar")
        return self

    @property
    def _kind(self) -> str:
        return next(iter(self.model_fields_set)).rstrip("_")

    def schema_(self) -> tuple[Any, str] | None:
        """The same as `schema_of`, or None for the other kinds."""
        if self.json_object:
            return ANY_OBJECT, "structured_outputs.json_object"
        if self.json_ is not None:
            return self.json_, "structured_outputs.json"
        return None

    def to_constraint(self, tokenizer: Tokenizer) -> Constraint:
        """Compiled. Raises `InvalidRequest`."""
        try:
            if self.json_object:
                return compiler.from_json_object()
            if self.json_ is not None:
                return compiler.from_json_schema(self.json_)
            if self.regex is not None:
                return compiler.from_regex(self.regex)
            if self.choice is not None:
                return compiler.from_choices(self.choice)
            return compiler.from_gbnf(self.grammar or "", tokenizer)
        except GrammarError as error:
            param = f"structured_outputs.{self._kind}"
            raise InvalidRequest(f"'{param}' can't be used: {error}", param=param) from error
