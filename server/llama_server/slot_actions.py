"""`POST /slots/{id}?action=...`: save, restore or erase the cache of a slot."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, StrictStr
from starlette.requests import Request
from starlette.responses import Response

from protocol.messages import SlotChanged
from server.access.access_record import access_record
from server.bodies.request_model import RequestModel
from server.context import Engine, context_of
from server.errors import InvalidRequest, NotFound, NotSupported
from server.http.json_response import JsonResponse
from server.requests.body import read_body

MAX_NAME = 200
"""Bytes of a file's name."""

_NAME = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|.][^\x00-\x1f\x7f/\\:*?\"<>|]*")
ACTIONS = ("save", "restore", "erase")


def _plain_name(value: str) -> str:
    """Check that a name is a plain, visible file name on every operating system."""
    if len(value.encode(errors="replace")) > MAX_NAME or not _NAME.fullmatch(value):
        raise ValueError(
            f"must be the name of a file, of at most {MAX_NAME} bytes, without a path, control "
            'characters or any of \\ : * ? " < > |, and not begin with a dot'
        )
    return value


class SlotFile(RequestModel):
    """The body of `save` and `restore`. `erase` needs no body."""

    filename: Annotated[StrictStr, AfterValidator(_plain_name)]
    format: Literal["llamapack", "llama.cpp"] | None = None
    """Of the file that `save` writes, ours by default. `restore` recognizes both."""


async def change_slot(request: Request) -> Response:
    """Save the cache of an idle slot to a file, restore it from a file, or erase it."""
    context = context_of(request)
    folder = context.settings.slot_save_path
    if folder is None:
        raise NotSupported("this server was started without --slot-save-path")
    slot = _slot(request.path_params["id"])
    action = request.query_params.get("action", "")
    if action not in ACTIONS:
        raise InvalidRequest(
            f"'action' must be one of {', '.join(ACTIONS)} (got {action[:50]!r})", param="action"
        )
    if action == "erase":
        changed = await context.engine.erase_slot(slot)
        return JsonResponse({"id_slot": slot, "n_erased": changed.num_tokens})
    file = await read_body(request, SlotFile)
    path = str(folder / file.filename)
    salt = access_record(request.scope).salt("")
    answer = {"id_slot": slot, "filename": file.filename}
    if action == "save":
        return JsonResponse(answer | await _save(context.engine, slot, path, file.format, salt))
    return JsonResponse(answer | await _restore(context.engine, slot, path, salt))


async def _save(
    engine: Engine, slot: int, path: str, format_: str | None, salt: str
) -> dict[str, Any]:
    is_for_llama_cpp = format_ == "llama.cpp"
    changed = await (
        engine.export_slot(slot, path, salt) if is_for_llama_cpp else engine.save_slot(slot, path)
    )
    timings = {"save_ms": _milliseconds(changed)}
    return {"n_saved": changed.num_tokens, "n_written": changed.num_bytes, "timings": timings}


async def _restore(engine: Engine, slot: int, path: str, salt: str) -> dict[str, Any]:
    changed = await engine.restore_slot(slot, path, salt)
    timings = {"restore_ms": _milliseconds(changed)}
    return {"n_restored": changed.num_tokens, "n_read": changed.num_bytes, "timings": timings}


def _slot(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise NotFound(f"there is no slot {text[:50]!r}")
    return int(text)


def _milliseconds(changed: SlotChanged) -> float:
    return changed.seconds * 1000
