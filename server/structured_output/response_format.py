"""OpenAI's field `response_format`, also in the spellings of llama-server."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictStr, model_validator

from server.bodies.label import Label
from server.bodies.request_model import RequestModel
from server.structured_output.output_format import (
    ANY_OBJECT,
    PLAIN_TEXT,
    OutputFormat,
    any_object_format,
    schema_format,
)


class TextFormat(RequestModel):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(RequestModel):
    """A JSON object. llama-server's `schema` describes the object, if given."""

    type: Literal["json_object"]
    schema_: Any = Field(None, alias="schema")


class SchemaWrapper(RequestModel):
    """OpenAI's named schema."""

    name: Label | None = None
    description: StrictStr | None = None
    strict: StrictBool | None = None
    schema_: Any = Field(None, alias="schema")


class JsonSchemaFormat(RequestModel):
    """JSON of a schema, in OpenAI's shape or in the shape of llama-server's README."""

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


def response_output_format(format_: ResponseFormat | None) -> OutputFormat:
    """The format that the field asks for."""
    match format_:
        case None | TextFormat():
            return PLAIN_TEXT
        case JsonSchemaFormat(json_schema=SchemaWrapper(schema_=schema)):
            param = "response_format.json_schema.schema"
        case JsonSchemaFormat(schema_=schema) | JsonObjectFormat(schema_=schema):
            param = "response_format.schema"
            schema = ANY_OBJECT if schema is None else schema
    return any_object_format(param) if schema == ANY_OBJECT else schema_format(schema, param)
