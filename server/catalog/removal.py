"""Removes stored models for clients: unloaded first, and no longer served afterwards."""

from __future__ import annotations

from anyio import to_thread
from starlette.requests import Request

from server.app_state import state_of
from server.errors import Forbidden, InvalidRequest, NotFound
from server.pool.interface import ModelPool, ModelState, PoolEvent, PoolEventKind
from server.store.errors import AmbiguousName, NotOurs, StoreError, UnknownModel
from server.store.folders import Folders
from server.store.model import StoredModel
from server.store.names import find
from server.store.removal import check_ours, remove
from server.store.stored_models import stored_models


async def remove_model(request: Request, name: str) -> None:
    """Remove the files of a stored model, after unloading it. Raises `ApiError`."""
    pool, folders = state_of(request).pool, state_of(request).downloads.folders
    model = await to_thread.run_sync(_removable, name, folders)
    await _let_go(pool, model)
    try:
        await to_thread.run_sync(remove, model, folders)
    except StoreError as error:
        raise InvalidRequest(str(error), param="model") from None
    pool.publish(PoolEvent(PoolEventKind.REMOVE, model.name))
    await pool.refresh()


def _removable(name: str, folders: Folders) -> StoredModel:
    """The model of this name. Raises `NotFound`, `Forbidden` and `InvalidRequest`."""
    try:
        model = find(name, stored_models(folders))
        check_ours(model)
    except UnknownModel:
        raise NotFound(f"there is no stored model {name!r}", param="model") from None
    except NotOurs:
        raise Forbidden(f"{name!r} belongs to another program", param="model") from None
    except AmbiguousName as error:
        raise InvalidRequest(str(error), param="model") from None
    return model


async def _let_go(pool: ModelPool, model: StoredModel) -> None:
    """Unload what is served out of the model's files. Raises `NotSupported` if that must stay."""
    files = {str(file.resolve()) for file in model.files}
    for served in pool.models():
        is_here = served.path in {str(model.path), *files}
        if is_here and served.state not in (ModelState.UNLOADED, ModelState.FAILED):
            await pool.unload(served.name)
