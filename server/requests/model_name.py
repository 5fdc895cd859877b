"""The check of a request's `model` against the names of the served model."""

from __future__ import annotations

from pathlib import Path

from server.context import ServerContext
from server.errors import NotFound


def check_model(name: str | None, context: ServerContext) -> None:
    """Raise `NotFound` when a request names a model that isn't served, with `--strict-model`.

    Without it any name is taken: one model is served, so every name can mean that model only. The
    model's names are its aliases, its path, its file name and the stem of its file name. A
    request without a name means the served model.
    """
    if not context.settings.strict_model:
        return
    if not name or name == context.model_name or name in _names(context):
        return
    message = f"there is no model {name!r} here; this server serves {context.model_name!r}"
    raise NotFound(message, param="model")


def _names(context: ServerContext) -> set[str]:
    path = Path(context.model_path)
    return {*context.settings.alias, str(path), path.name, path.stem}
