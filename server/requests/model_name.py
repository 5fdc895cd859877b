"""What a request's `model` means: the served model, or one of its adapters."""

from __future__ import annotations

from pathlib import Path

from server.context import ServerContext
from server.errors import NotFound


def check_model(name: str | None, context: ServerContext) -> None:
    """Raise `NotFound` when a request names a model that isn't served, with `--strict-model`.

    Without it any name is taken: one model is served, so every name can mean that model only. The
    model's names are its aliases, its path, its file name and the stem of its file name; adapters
    have names too. A request without a name means the served model.
    """
    if not context.settings.strict_model:
        return
    if not name or name in _names(context) or asked_adapter(name, context):
        return
    message = f"there is no model {name!r} here; this server serves {context.model_name!r}"
    raise NotFound(message, param="model")


def asked_adapter(name: str | None, context: ServerContext) -> str | None:
    """The name of the adapter that a request asks for by its `model`; None for the model itself,
    whose names come first."""
    if not name or name not in context.adapter_scales.names or name in _names(context):
        return None
    return name


def _names(context: ServerContext) -> set[str]:
    path = Path(context.model_path)
    aliases = context.settings.alias
    return {context.model_name, *aliases, str(path), path.name, path.stem}
