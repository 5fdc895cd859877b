"""`/api/tags`, `/api/ps`, `/api/show`: which models there are, what is loaded, what each is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from config.version import version
from server.app_state import state_of
from server.catalog.facts import ModelFacts, facts_of, facts_of_one
from server.errors import InvalidRequest, NotFound
from server.http.json_response import JsonResponse
from server.ollama.names import tagged
from server.ollama.recipes import Recipe
from server.ollama.request import NamedModel
from server.ollama.serving import recipe_of, served_model
from server.pool.interface import ModelState, ServedModel
from server.pool.sight import models_in_sight
from server.requests.body import read_body
from server.requests.field_types import Flag

COMPATIBLE_VERSION = "0.12.6"
"""The version of Ollama whose API this is: clients compare it with the one that they need."""

_FOR_EVER = timedelta(days=100 * 365)
"""The stay of models that never go. The field has to be a time."""

_WIDTH = 30

Json = dict[str, Any]


class ShowRequest(NamedModel):
    """`POST /api/show`."""

    verbose: Flag = False


async def get_version(request: Request) -> Response:
    """The version of Ollama's API, and our own."""
    return JsonResponse({"version": COMPATIBLE_VERSION, "server": f"llamapack {version()}"})


async def list_models(request: Request) -> Response:
    """All models, the latest first."""
    made = []
    for recipe in state_of(request).recipes.all():
        with suppress(NotFound):
            made.append((recipe, served_model(request, recipe.name)))
    found = await facts_of(state_of(request).pool, models_in_sight(request))
    return JsonResponse({"models": _all_models(found, made)})


async def list_loaded(request: Request) -> Response:
    """The models that are loaded, with the memory that they take."""
    seen = models_in_sight(request)
    loaded = [served for served in seen if served.state is ModelState.LOADED]
    found = await facts_of(state_of(request).pool, loaded)
    return JsonResponse({"models": [_running(served, facts) for served, facts in found]})


async def show_model(request: Request) -> Response:
    """What a model is: its parameters, template, abilities and metadata."""
    body = await read_body(request, ShowRequest)
    if body.verbose:
        raise InvalidRequest(
            "'verbose' is not supported: vocabularies and tensors are not shown", param="verbose"
        )
    recipe, served = recipe_of(request, body.model), served_model(request, body.model)
    facts = await facts_of_one(state_of(request).pool, served)
    return JsonResponse(_shown(body.model, recipe, facts))


def _all_models(
    models: Sequence[tuple[ServedModel, ModelFacts]],
    made: Sequence[tuple[Recipe, ServedModel]],
) -> list[Json]:
    """The entries of the models, and of those that were made of them."""
    found = {served.name: facts for served, facts in models}
    listed = [_listed(name, facts, facts.modified) for name, facts in found.items()]
    for recipe, served in made:
        entry = _listed(recipe.name, found[served.name], recipe.modified)
        entry["details"]["parent_model"] = tagged(served.name)
        listed.append(entry)
    return sorted(listed, key=lambda entry: str(entry["modified_at"]), reverse=True)


def _listed(name: str, facts: ModelFacts, modified: float) -> Json:
    return {
        "name": tagged(name),
        "model": tagged(name),
        "modified_at": _time_text(modified),
        "size": facts.size_bytes,
        "digest": facts.digest,
        "details": _details(facts),
        "capabilities": _capabilities(facts),
    }


def _running(served: ServedModel, facts: ModelFacts) -> Json:
    memory = served.memory
    size = facts.size_bytes if memory is None else memory.host + memory.device
    if served.expires_at is None:
        expires = datetime.now(UTC) + _FOR_EVER
    else:
        expires = datetime.fromtimestamp(served.expires_at, UTC)
    return {
        "name": tagged(served.name),
        "model": tagged(served.name),
        "size": size,
        "digest": facts.digest,
        "details": _details(facts),
        "expires_at": expires.isoformat(timespec="microseconds"),
        "size_vram": 0 if memory is None else memory.device,
        "context_length": facts.n_ctx or facts.context_length,
    }


def _shown(name: str, recipe: Recipe, facts: ModelFacts) -> Json:
    parameters = list(_parameters(recipe, facts))
    template = _template(recipe, facts)
    return {
        "license": recipe.license or facts.license,
        "modelfile": _modelfile(recipe, facts, template, parameters),
        "parameters": "\n".join(f"{key:{_WIDTH}} {value}" for key, value in parameters),
        "template": template,
        "system": recipe.system,
        "details": _details(facts),
        "messages": [{"role": one.role, "content": one.content} for one in recipe.messages],
        "model_info": dict(facts.metadata),
        "capabilities": _capabilities(facts),
        "modified_at": _time_text(facts.modified),
    }


def _details(facts: ModelFacts) -> Json:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": facts.architecture,
        "families": [facts.architecture],
        "parameter_size": facts.size_text,
        "quantization_level": facts.file_type,
        "context_length": facts.context_length,
        "embedding_length": facts.embedding_length,
    }


def _capabilities(facts: ModelFacts) -> list[str]:
    found = {
        "completion": facts.can_generate,
        "tools": facts.can_generate and facts.has_tools,
        "insert": facts.can_generate and facts.can_insert,
        "thinking": facts.can_generate and facts.can_think,
        "embedding": facts.can_embed,
    }
    return [name for name, has in found.items() if has]


def _parameters(recipe: Recipe, facts: ModelFacts) -> Iterator[tuple[str, str]]:
    """The parameters with their values as a Modelfile has them."""
    given = {name: getattr(recipe.parameters, name) for name in recipe.parameters.model_fields_set}
    if facts.n_ctx:
        given["num_ctx"] = min(given.get("num_ctx") or facts.n_ctx, facts.n_ctx)
    for name, value in sorted(given.items()):
        for one in value if isinstance(value, list) else [value]:
            yield name, json.dumps(one, ensure_ascii=False)


def _template(recipe: Recipe, facts: ModelFacts) -> str:
    """The chat template. Clients look for `.Suffix` in it to learn that the model fills gaps."""
    text = recipe.template or facts.template
    return f"{{{{- /* .Suffix */ -}}}}\n{text}" if facts.can_insert else text


def _modelfile(
    recipe: Recipe, facts: ModelFacts, template: str, parameters: list[tuple[str, str]]
) -> str:
    lines = [f"FROM {recipe.base}"]
    lines += [f'TEMPLATE """{template}"""'] if template else []
    lines += [f'SYSTEM """{recipe.system}"""'] if recipe.system else []
    lines += [f"PARAMETER {name} {value}" for name, value in parameters]
    lines += [f'MESSAGE {one.role} """{one.content}"""' for one in recipe.messages]
    license_text = recipe.license or facts.license
    lines += [f'LICENSE """{license_text}"""'] if license_text else []
    return "\n".join(lines) + "\n"


def _time_text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
