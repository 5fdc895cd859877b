"""The shapes of `response_format` and `structured_outputs`, and the schema or text they ask for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, model_validator

from grammars import compiler
from grammars.constraint import Constraint
from grammars.errors import GrammarError
from server.errors import InvalidRequest
from server.tokenizer import Tokenizer

ANY_OBJECT: dict[str, Any] = {"type": "object"}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class TextFormat(_Strict):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(_Strict):
    """A JSON object, of llama-server's `schema` if that is given."""

    type: Literal["json_object"]
    schema_: Any = Field(None, alias="schema")


class SchemaWrapper(_Strict):
    """OpenAI's named schema."""

    name: StrictStr | None = None
    description: StrictStr | None = None
    strict: StrictBool | None = None
    schema_: Any = Field(None, alias="schema")


class JsonSchemaFormat(_Strict):
    """JSON of a schema, in OpenAI's shape or in that of llama-server's README."""

    type: Literal["json_schema"]
    json_schema: SchemaWrapper | None = None
    schema_: Any = Field(None, alias="schema")

    @model_validator(mode="after")
    def _has_schema(self) -> JsonSchemaFormat:
        if self.schema_ is None and (self.json_schema is None or self.json_schema.schema_ is None):
            raise ValueError("must give the schema in json_schema.schema")
        return self


ResponseFormat = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")
]


def schema_of(format_: ResponseFormat) -> tuple[Any, str] | None:
    """(the JSON Schema, the path of the field that holds it), or None for text."""
    if isinstance(format_, TextFormat):
        return None
    if isinstance(format_, JsonSchemaFormat) and format_.json_schema is not None:
        return format_.json_schema.schema_, "response_format.json_schema.schema"
    return (ANY_OBJECT if format_.schema_ is None else format_.schema_), "response_format.schema"


class StructuredOutputs(_Strict):
    """vLLM's field: exactly one kind of constraint."""

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

    def schema_(self) -> tuple[Any, str] | None:
        """The same as `schema_of`, or None for the other kinds."""
        if self.json_object:
            return ANY_OBJECT, "structured_outputs.json_object"
        if self.json_ is not None:
            return self.json_, "structured_outputs.json"
        return None

    def to_constraint(self, tokenizer: Tokenizer) -> Constraint | None:
        """The constraint of the kinds that are no schema. Raises `InvalidRequest`."""
        try:
            if self.regex is not None:
                return compiler.from_regex(self.regex)
            if self.choice is not None:
                return compiler.from_choices(self.choice)
            if self.grammar is not None:
                return compiler.from_gbnf(self.grammar, tokenizer)
        except GrammarError as error:
            param = f"structured_outputs.{next(iter(self.model_fields_set))}"
            raise InvalidRequest(f"'{param}' can't be used: {error}", param=param) from error
        return None
