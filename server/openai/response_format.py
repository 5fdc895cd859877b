"""The shapes of `response_format`, and the schema that they ask for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, model_validator

from server.structured_output.vllm_field import ANY_OBJECT


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
