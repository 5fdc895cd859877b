"""JSON Schemas of request bodies, with every name that the server reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import AliasChoices, BaseModel, RootModel
from pydantic.json_schema import models_json_schema

REF = "#/components/schemas/{model}"

_RENAMED = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
}
"""Pydantic's own names for bounds, which stay in the schema where a validator comes first."""


def schemas(models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    """The schemas of the models and of the models that they contain, by name."""
    ordered = sorted(models, key=lambda model: model.__name__)
    _, top = models_json_schema(
        [(model, "validation") for model in ordered], ref_template=REF, by_alias=True
    )
    found: dict[str, Any] = _tidied(top.get("$defs", {}))
    for model in ordered:
        if issubclass(model, RootModel):
            continue
        _add_names(found[model.__name__], model)
    return found


def _tidied(value: Any) -> Any:
    """The schema without pydantic's titles, and with standard names for bounds."""
    if isinstance(value, list):
        return [_tidied(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        _RENAMED.get(name, name): _tidied(item)
        for name, item in value.items()
        if not (name == "title" and isinstance(item, str))
    }


def _add_names(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Add every name of each field."""
    properties = schema["properties"]
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        names = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else []
        names = names or [str(alias or name)]
        described = properties.pop(names[0])
        properties.update(dict.fromkeys(names, described))
