"""The names by which a body may give a field."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from pydantic import AliasChoices, BaseModel

from server.errors import InvalidRequest


@functools.lru_cache(maxsize=64)
def known_names(model: type[BaseModel]) -> frozenset[str]:
    """Every name by which a body of this model may give a field."""
    return frozenset(_names(model))


def check_names(body: Mapping[str, Any], model: type[BaseModel]) -> None:
    """Raise `InvalidRequest` if a field is given twice, by two names and with two values."""
    for names in _names_of_one_field(model):
        first, *others = [name for name in names if name in body] or [""]
        for other in others:
            # As JSON, because in Python true is 1.
            if msgspec.json.encode(body[other]) != msgspec.json.encode(body[first]):
                message = f"give '{first}' or '{other}', not both: they mean the same"
                raise InvalidRequest(message, param=other)


def _names(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            yield from (str(choice) for choice in alias.choices)
        else:
            yield str(alias or name)


@functools.lru_cache(maxsize=64)
def _names_of_one_field(model: type[BaseModel]) -> list[list[str]]:
    """The names of each field that has several."""
    aliases = (field.validation_alias for field in model.model_fields.values())
    return [[str(n) for n in alias.choices] for alias in aliases if isinstance(alias, AliasChoices)]
