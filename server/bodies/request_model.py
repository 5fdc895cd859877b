"""The base of every object in a request's body: a field that is null is a field left out."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class RequestModel(BaseModel):
    """An object that a client sends. Unknown fields are ignored; null asks for the default.

    Maps whose keys the client chooses, such as a template's variables, are no such objects: their
    nulls stay.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, body: Any) -> Any:
        """Drop nulls before aliases are resolved, since a null must not hide a later alias."""
        return without_nulls(body) if isinstance(body, dict) else body

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe that each field with a default may be null."""
        schema = handler(core_schema)
        described = handler.resolve_ref_schema(schema)
        properties = described.get("properties", {})
        for name in properties.keys() - set(described.get("required", ())):
            properties[name] = _or_null(properties[name])
        return schema


def without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that aren't null."""
    return {name: value for name, value in fields.items() if value is not None}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if not schema.keys() - {"default", "description"}:
        return schema  # anything at all
    if any(option == {"type": "null"} for option in schema.get("anyOf", [])):
        return schema
    kept = {name: item for name, item in schema.items() if name in ("default", "description")}
    bare = {name: item for name, item in schema.items() if name not in kept}
    return {"anyOf": [bare, {"type": "null"}], **kept}
