"""Reads the bytes of a request's body, and the JSON in them."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from starlette.requests import Request

from server.bodies.json_bounds import MAX_DEPTH, MAX_VALUE_BYTES, is_too_deep, value_bytes
from server.errors import InvalidRequest


def _finite(text: str) -> float:
    """The number. msgspec's own reader takes 38 microseconds for a number such as 1e308."""
    number = float(text)
    if math.isinf(number):
        raise ValueError("Number out of range")
    return number


_decode = msgspec.json.Decoder(float_hook=_finite).decode


async def read_bytes(request: Request) -> bytearray:
    """The whole body. Raises `BodyTooLarge` and `InvalidRequest`, from the middleware."""
    # `request.body()` would need twice the memory, and keep the bytes until the request ends.
    data = bytearray()
    async for part in request.stream():
        data += part
    return data


def decode_json(data: bytes | bytearray) -> Any:
    """Parse JSON. Raises `InvalidRequest` with the place of the error, or for too deep nesting."""
    if not data or data.isspace():
        raise InvalidRequest("the body is empty; it must be a JSON object")
    if value_bytes(data) > MAX_VALUE_BYTES:
        raise InvalidRequest("the body has too many values: their memory is bounded")
    try:
        value = _decode(data)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the body is not valid JSON: {_located(error, data)}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest("the body is not valid JSON: it must be UTF-8") from error
    except RecursionError as error:
        raise _too_deep() from error
    if is_too_deep(data, value):
        raise _too_deep()
    return value


def _too_deep() -> InvalidRequest:
    return InvalidRequest(f"the body nests more than {MAX_DEPTH} arrays and objects")


def _located(error: msgspec.DecodeError, data: bytes | bytearray) -> str:
    """The error with a line and a column. msgspec tells a byte offset."""
    text = str(error).removeprefix("JSON is malformed: ")
    reason, found, offset = text.rpartition(" (byte ")
    if not found:
        last_line = data.count(b"\n") + 1
        return f"it ends too early (line {last_line})" if "truncated" in text else text
    end = int(offset.rstrip(")"))
    line, column = data.count(b"\n", 0, end) + 1, end - data.rfind(b"\n", 0, end)
    return f"{reason} (line {line}, column {column})"
