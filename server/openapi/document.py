"""The OpenAPI document: an operation for each path and method, and shared components."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from config.version import version
from server.endpoints import JSON, Endpoint, Query
from server.openapi.answers import RATE_HEADERS, answers, error_answers
from server.openapi.bodies import REF, schemas
from server.pool.routing import Handler

Json = dict[str, Any]

_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
_SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}]


def document(endpoints: Sequence[Endpoint], prefix: str, *, needs_key: bool) -> Json:
    """All endpoints as one OpenAPI object."""
    models = {model for endpoint in endpoints for model in endpoint.bodies.values()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "llamapack",
            "version": version(),
            "description": "Inference on a GGUF model: llama-server's and OpenAI's API.",
        },
        "servers": [{"url": prefix or "/"}],
        "security": _SECURITY if needs_key else [{}, *_SECURITY],
        "paths": dict(_paths(endpoints)),
        "components": {
            "schemas": schemas(models),
            "responses": error_answers(),
            "headers": RATE_HEADERS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            },
        },
    }


def _paths(endpoints: Iterable[Endpoint]) -> Iterable[tuple[str, Json]]:
    for endpoint in endpoints:
        for path in endpoint.paths:
            names = _PARAMETER.findall(path)
            item: Json = {
                method.lower(): _operation(endpoint, method, handler, path)
                for method, handler in endpoint.handlers.items()
            }
            if names:
                item["parameters"] = [_parameter(name) for name in names]
            yield _PARAMETER.sub(r"{\1}", path), item


def _operation(endpoint: Endpoint, method: str, handler: Handler, path: str) -> Json:
    summary = (inspect.getdoc(handler) or handler.__name__).partition("\n")[0]
    name = re.sub(r"\W+", "_", _PARAMETER.sub(r"\1", path)).strip("_")
    operation: Json = {
        "operationId": f"{method.lower()}_{name}",
        "summary": summary,
        "responses": answers(endpoint, method, has_parameters="{" in path),
    }
    if endpoint.query:
        operation["parameters"] = [_query(query) for query in endpoint.query]
    body = endpoint.bodies.get(method)
    if body is not None:
        operation["requestBody"] = _request_body(body)
    return operation


def _request_body(model: type[BaseModel]) -> Json:
    schema = {"$ref": REF.format(model=model.__name__)}
    return {"required": True, "content": {JSON: {"schema": schema}}}


def _parameter(name: str) -> Mapping[str, Any]:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query(query: Query) -> Json:
    schema: Json = {"type": "string"}
    if query.values:
        schema["enum"] = list(query.values)
    return {
        "name": query.name,
        "in": "query",
        "required": query.is_required,
        "description": query.description,
        "schema": schema,
    }
