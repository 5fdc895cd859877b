"""The reader of request bodies: from bytes to a typed, validated value."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, RootModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request

from server.access.access_record import access_record
from server.errors import InvalidRequest
from server.http.json_body import decode_json, read_bytes
from server.http.large_bodies import lane_for, note_lane
from server.requests.field_names import known_names

MAX_ERRORS = 1000
"""Most errors that are described. With more errors, the refusal is about the first wrong field."""

LONG_LIST = 64
FIRST_ITEMS = (1, LONG_LIST)
"""Of longer lists, so many items are looked at on their own, to find the first wrong one."""

MAX_NAME = 100
"""Characters of an unknown field's name that the log shows."""

MAX_REPORTED = 1000
"""Names of unknown fields that are remembered, so that the log has each once."""

logger = logging.getLogger(__name__)
_reported: set[str] = set()

ModelT = TypeVar("ModelT", bound=BaseModel)

_PLAIN_WORDS = {
    "missing": "is required",
    "string_type": "must be a string",
    "string_unicode": "must be valid Unicode text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "mapping_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "string_pattern_mismatch": "must match {pattern}",
    "literal_error": "must be {expected}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "too_long": "must have {max_length} or fewer items",
    "too_short": "must have {min_length} or more items",
    "union_tag_not_found": "must have the field {discriminator}",
    "union_tag_invalid": "must have a known {discriminator}, one of {expected_tags}",
    "extra_forbidden": "is not a known field",
    "none_required": "must be null",
}
"""Pydantic's kinds of errors, in words for a reader who doesn't know pydantic."""


async def read_body(request: Request, model: type[ModelT]) -> ModelT:
    """Read the body as `model`. The content type of the request doesn't matter.

    Raises `InvalidRequest` naming the field, or the line and column of broken JSON, and
    `BodyTooLarge` (from the middleware, while reading).
    """
    data = await read_bytes(request)
    lane = lane_for(data)
    if lane is None:
        return parse_body(data, model)
    note_lane(request.scope, lane)
    held = [data]
    del data
    owner = access_record(request.scope).tenant
    return await lane.run(owner, partial(_parse_held, held, model))


def _parse_held(held: list[bytearray], model: type[ModelT]) -> ModelT:
    """Parse the bytes that a list holds, and let go of them as soon as their values are known."""
    return validated(decode_json(held.pop()), model)


def parse_body(data: bytes | bytearray, model: type[ModelT]) -> ModelT:
    """Parse bytes as `model`. Raises `InvalidRequest` as `read_body` does."""
    return validated(decode_json(data), model)


def validated(body: Any, model: type[ModelT]) -> ModelT:
    """Parsed JSON as `model`. Raises `InvalidRequest`."""
    if not issubclass(model, RootModel):
        if not isinstance(body, dict):
            raise InvalidRequest("the body must be a JSON object")
        _report_unknown(body, model)
    try:
        return model.model_validate(body)
    except ValidationError as error:
        # Describing each error would take seconds. Only an attack has so many errors.
        if error.error_count() > MAX_ERRORS:
            raise _of_many(error.error_count(), body, model) from None
        raise _plain_error(error.errors(include_url=False), body) from error


def _report_unknown(body: dict[str, Any], model: type[BaseModel]) -> None:
    """Log unknown fields. They are ignored, so that clients of other servers work unchanged."""
    if not logger.isEnabledFor(logging.DEBUG):
        return
    known = known_names(model)
    for name in body:
        if name not in known and len(_reported) < MAX_REPORTED and name[:MAX_NAME] not in _reported:
            _reported.add(name[:MAX_NAME])
            logger.debug("ignoring the unknown field %r of a request", name[:MAX_NAME])


def _of_many(count: int, body: Any, model: type[BaseModel]) -> InvalidRequest:
    """The refusal for too many errors. Parts of the body tell which field is wrong first."""
    for name, part in _parts(body):
        try:
            model.model_validate(part)
        except ValidationError as error:
            if error.error_count() > MAX_ERRORS:
                return InvalidRequest(f"'{name}' has more than {MAX_ERRORS} errors", param=name)
            errors = [e for e in error.errors(include_url=False) if _is_within(e)]
            if errors:
                return _plain_error(errors, part)
    return InvalidRequest(f"the body has {count} errors")


def _parts(body: Any) -> Iterator[tuple[str, Any]]:
    """Bodies with one field each, and the field's name; first those with the beginnings of long
    lists."""
    for name, value in body.items() if isinstance(body, dict) else ():
        yield from ((name, {name: _cut(value, size)}) for size in FIRST_ITEMS)
        yield name, {name: value}


def _cut(value: Any, size: int) -> Any:
    """The value with at most `size` items of each long list."""
    if isinstance(value, dict):
        return {name: _cut(below, size) for name, below in value.items()}
    if not isinstance(value, list):
        return value
    return [_cut(item, size) for item in (value[:size] if len(value) > LONG_LIST else value)]


def _is_within(error: ErrorDetails) -> bool:
    """Whether an error is about the one field of a part, and not about the fields left out."""
    return len(error["loc"]) > 1 or (len(error["loc"]) == 1 and error["type"] != "missing")


def _plain_error(errors: Sequence[ErrorDetails], body: Any) -> InvalidRequest:
    """One sentence about the deepest wrong place in the body.

    A union fails once for each of its members. The client meant the member whose error is deepest.
    Members with equally deep errors are alternatives.
    """
    paths = [_path(error, body) for error in errors]
    deepest = max(paths, key=len)
    first = paths[0]
    chosen = deepest if deepest[: len(first)] == first else first
    reasons = dict.fromkeys(
        _reason(error) for error, path in zip(errors, paths, strict=True) if path == chosen
    )
    param = ".".join(str(part) for part in chosen) or None
    subject = f"'{param}'" if param else "the body"
    got = _got(chosen, body)
    return InvalidRequest(f"{subject} {_alternatives(list(reasons))}{got}", param=param)


def _path(error: ErrorDetails, body: Any) -> tuple[int | str, ...]:
    """The parts of pydantic's location that exist in the body. Other parts name union members."""
    is_missing = error["type"] == "missing"
    location = error["loc"][:-1] if is_missing else error["loc"]
    path: list[int | str] = []
    value = body
    for part in location:
        if _has(value, part):
            value = value[part]
            path.append(part)
    # The tag of a union can have the name of a field. Then it leads to the field itself, if null.
    return (*path, error["loc"][-1]) if is_missing and value is not None else tuple(path)


def _has(value: Any, part: int | str) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, dict) and part in value


def _reason(error: ErrorDetails) -> str:
    if error["type"] in ("value_error", "assertion_error"):
        return str(error.get("ctx", {}).get("error", error["msg"]))
    template = _PLAIN_WORDS.get(error["type"])
    if template is None:
        return f"is not valid: {error['msg']}"
    return template.format(**error.get("ctx", {}))


def _alternatives(reasons: list[str]) -> str:
    if len(reasons) > 1 and all(reason.startswith("must be ") for reason in reasons):
        return "must be " + " or ".join(reason.removeprefix("must be ") for reason in reasons)
    return reasons[0]


def _got(path: Sequence[int | str], body: Any) -> str:
    """The offending value, if it is short enough to help."""
    value = body
    for part in path:
        if not _has(value, part):
            return ""
        value = value[part]
    if isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 40):
        return f" (got {msgspec.json.encode(value).decode()})"
    return ""
