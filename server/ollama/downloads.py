"""Pulls models and removes them: `/api/pull` and `/api/delete`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from server.app_state import state_of
from server.catalog.changes import changes_models
from server.catalog.pulls import Pull, api_error
from server.catalog.removal import remove_model
from server.errors import ApiError, Forbidden, InvalidRequest, NotFound, NotSupported
from server.http.disconnect import while_connected
from server.http.json_response import JsonResponse
from server.http.sse import EventStream
from server.ollama.answer import LINES, encoded_line
from server.ollama.errors import error_body
from server.ollama.names import untagged
from server.ollama.recipes import Recipe
from server.ollama.request import NamedModel
from server.ollama.serving import served_model
from server.requests.body import read_body
from server.requests.field_types import Flag
from server.store.progress import PullProgress, PullStatus

_HUBS = ("hf.co/", "huggingface.co/")
_REGISTRY = "registry.ollama.ai/"
_SHORT = 12
"""Digits of a digest that people see."""


class PullRequest(NamedModel):
    """`POST /api/pull`."""

    stream: Flag = True
    insecure: Flag = False


class DeleteRequest(NamedModel):
    """`DELETE /api/delete`."""


def reference_of(name: str) -> str:
    """What a name of Ollama's stands for: a repository of Hugging Face, an address, or a model of
    Ollama's registry."""
    if "://" in name or name.startswith(_HUBS):
        return name
    return f"ollama://{name.removeprefix(_REGISTRY).removeprefix('library/')}"


@changes_models
async def pull_model(request: Request) -> Response:
    """Pull a model from Ollama's registry, from Hugging Face, or from an address."""
    body = await read_body(request, PullRequest)
    if body.insecure:
        raise InvalidRequest(
            "'insecure' is not supported: name the address of the file", param="insecure"
        )
    if _is_there(request, body.model):
        return _done(body)
    pulls = state_of(request).pulls
    pull = pulls.start(reference_of(body.model), keeps_on=False)
    if body.stream:
        resources = AsyncExitStack()
        resources.enter_context(pulls.listening(pull))
        lines = _lines(request, body.model, pull)
        return EventStream(lines, resources, ping_seconds=0, ping=b"", media_type=LINES)
    with pulls.listening(pull):
        await while_connected(request.receive, pulls.wait(pull))
    await _serve_as(request, body.model, pull)
    return _done(body)


@changes_models
async def delete_model(request: Request) -> Response:
    """Forget a made model, or remove a model's files."""
    body = await read_body(request, DeleteRequest)
    if await to_thread.run_sync(state_of(request).recipes.remove, body.model):
        return Response()
    served, pool = served_model(request, body.model), state_of(request).pool
    if pool.only is not None:
        raise NotSupported("this server was started for one model, which stays")
    if not served.can_remove:
        raise Forbidden("the model's file lies in a folder of the operator's; remove it there")
    await remove_model(request, served.name)
    return Response()


async def _lines(request: Request, name: str, pull: Pull) -> AsyncIterator[bytes]:
    """The reports of a pull as lines."""
    async for progress in state_of(request).pulls.reports(pull):
        yield encoded_line(_report(progress))
    try:
        await _serve_as(request, name, pull)
    except ApiError as error:
        yield encoded_line(error_body(error))
        return
    for status in ("verifying sha256 digest", "writing manifest", "success"):
        yield encoded_line({"status": status})


def _report(progress: PullProgress) -> dict[str, object]:
    match progress.status:
        case PullStatus.RESOLVING:
            return {"status": "pulling manifest"}
        case PullStatus.WAITING | PullStatus.RETRYING:
            return {"status": progress.reason or progress.status.value}
    digest = progress.digest.removeprefix("sha256:")
    line: dict[str, object] = {"status": f"pulling {digest[:_SHORT] or progress.file}"}
    if digest:
        line["digest"] = f"sha256:{digest}"
    if progress.total is not None:
        line |= {"total": progress.total, "completed": progress.completed}
    return line


async def _serve_as(request: Request, name: str, pull: Pull) -> None:
    """Let the model be known by the name that it was asked for. Raises what the pull failed by."""
    if pull.error is not None:
        raise api_error(pull.error)
    if _is_there(request, name) or pull.model is None:
        return
    path = str(pull.model.path)
    served = next((one for one in state_of(request).pool.models() if one.path == path), None)
    if served is not None:
        recipe = Recipe(name=untagged(name), base=served.name, modified=time.time())
        await to_thread.run_sync(state_of(request).recipes.put, recipe)


def _is_there(request: Request, name: str) -> bool:
    try:
        served_model(request, name)
    except NotFound:
        return False
    return True


def _done(body: PullRequest) -> Response:
    if not body.stream:
        return JsonResponse({"status": "success"})
    return Response(encoded_line({"status": "success"}), media_type=LINES)
