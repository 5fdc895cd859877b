"""Makes models of other models: `/api/create` and `/api/copy`; refuses what can't be done here."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any

from anyio import to_thread
from pydantic import AliasChoices, Field, StrictStr
from starlette.requests import Request
from starlette.responses import Response

from server.app_state import state_of
from server.bodies.bounds import MESSAGES
from server.bodies.few import few
from server.bodies.label import Label
from server.bodies.request_model import RequestModel
from server.catalog.changes import changes_models
from server.catalog.facts import facts_of_one
from server.errors import InvalidRequest, NotFound, NotSupported
from server.http.json_response import JsonResponse
from server.ollama.answer import LINES, encoded_line
from server.ollama.modelfile import Modelfile, read_modelfile
from server.ollama.names import untagged
from server.ollama.options import Options
from server.ollama.plan import check_template
from server.ollama.recipes import Recipe
from server.ollama.request import Message, NamedModel
from server.ollama.serving import recipe_of, served_model
from server.requests.body import read_body, validated
from server.requests.field_types import Flag

_NAME = re.compile(r"[A-Za-z0-9_][\w.\-]*(/[\w.\-]+){0,3}(:[\w.\-]+)?")
_MAX_NAME = 256


class CreateRequest(NamedModel):
    """`POST /api/create`: the fields of a Modelfile, or its text."""

    from_: Label = Field("", validation_alias="from")
    modelfile: StrictStr = ""
    system: StrictStr = ""
    template: StrictStr = ""
    license: StrictStr | list[StrictStr] = ""
    parameters: Options = Options()
    messages: Annotated[list[Message], Field(max_length=MESSAGES.most), few(MESSAGES)] = Field(
        default_factory=list
    )
    stream: Flag = True
    files: dict[Label, Label] = Field(default_factory=dict)
    adapters: dict[Label, Label] = Field(default_factory=dict)
    quantize: Label = Field("", validation_alias=AliasChoices("quantize", "quantization"))

    def check(self) -> None:
        """Raise `InvalidRequest` for what a model can't be made of here."""
        reasons = {
            "files": "a file becomes a model with `llamapack import`",
            "adapters": "adapters are loaded with --lora",
            "quantize": "pull a model that has the quantization",
        }
        for name, reason in reasons.items():
            if getattr(self, name):
                raise InvalidRequest(f"'{name}' is not supported: {reason}", param=name)


class CopyRequest(RequestModel):
    """`POST /api/copy`."""

    source: Annotated[Label, Field(min_length=1)]
    destination: Annotated[Label, Field(min_length=1)]


class PushRequest(NamedModel):
    """`POST /api/push`."""


@changes_models
async def create_model(request: Request) -> Response:
    """Make a model of another one: with parameters, a system message, a template, messages."""
    body = await read_body(request, CreateRequest)
    body.check()
    _check_name(request, body.model, "model")
    file = read_modelfile(body.modelfile)
    base = body.from_ or file.base
    if not base:
        raise InvalidRequest("'from' must name the model to make this one of", param="from")
    parent, served = recipe_of(request, base), served_model(request, base)
    template = body.template or file.template
    if template:
        facts = await facts_of_one(state_of(request).pool, served)
        # The text that /api/show gives is the model's own template.
        template = "" if facts.template and template.endswith(facts.template) else template
        check_template(template)
    recipe = _recipe(body, file, parent, template)
    recipe.parameters.check(state_of(request).context.settings, "parameters")
    await to_thread.run_sync(state_of(request).recipes.put, recipe)
    return _statuses(body, "writing manifest", "success")


@changes_models
async def copy_model(request: Request) -> Response:
    """Give a model a further name."""
    body = await read_body(request, CopyRequest)
    served_model(request, body.source)
    _check_name(request, body.destination, "destination")
    source = recipe_of(request, body.source)
    copied = source.model_copy(update={"name": body.destination, "modified": time.time()})
    recipe = Recipe.model_validate(copied.model_dump(exclude_unset=True))
    await to_thread.run_sync(state_of(request).recipes.put, recipe)
    return Response()


@changes_models
async def push_model(request: Request) -> Response:
    """Refuse to publish a model: this server only serves models."""
    await read_body(request, PushRequest)
    raise NotSupported("models are not pushed from here; upload the file where others find it")


@changes_models
async def create_blob(request: Request) -> Response:
    """Refuse the upload of a file."""
    raise NotSupported("files are not uploaded here: `llamapack import FILE` on the server does it")


async def has_blob(request: Request) -> Response:
    """Say that an uploaded file isn't there: none ever is."""
    raise NotFound(f"blob {request.path_params['digest'][:100]!r} not found")


def _recipe(body: CreateRequest, file: Modelfile, parent: Recipe, template: str) -> Recipe:
    """The recipe, with what the parent has and the request leaves out."""
    license_text = body.license if isinstance(body.license, str) else "\n".join(body.license)
    given = Options() if not file.parameters else validated(file.parameters, Options)
    messages = body.messages or [validated(dict(one), Message) for one in file.messages]
    fields: dict[str, Any] = {
        "name": body.model,
        "base": parent.base,
        "system": body.system or file.system or parent.system,
        "template": template or parent.template,
        "license": license_text or file.license or parent.license,
        "parameters": body.parameters.over(given.over(parent.parameters)),
        "messages": messages or parent.messages,
        "modified": time.time(),
    }
    return Recipe.model_validate(fields)


def _check_name(request: Request, name: str, param: str) -> None:
    """Raise `InvalidRequest` for a name that no model can have, or that another one has."""
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise InvalidRequest(f"'{param}' is no name of a model (got {name[:100]!r})", param=param)
    try:
        state_of(request).pool.find(untagged(name))
    except NotFound:
        return
    raise InvalidRequest(f"'{param}' is the name of a model that is served", param=param)


def _statuses(body: CreateRequest, *statuses: str) -> Response:
    if not body.stream:
        return JsonResponse({"status": statuses[-1]})
    lines = b"".join(encoded_line({"status": status}) for status in statuses)
    return Response(lines, media_type=LINES)
