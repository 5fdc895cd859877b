"""What a request's `model` means: the served model, or one of its adapters."""

from __future__ import annotations

from server.context import ServerContext
from server.pool.names import matching, names_of, no_such_model


def check_model(name: str | None, context: ServerContext) -> None:
    """Raise `NotFound` when a request names a model that isn't served, with `--strict-model`.

    Without it any name is taken: one model is served, so every name can mean that model only. The
    model's names are its aliases, its path, its file name and the stem of its file name; adapters
    have names too. A request without a name means the served model.
    """
    if not context.settings.strict_model or not name:
        return
    if matching(name, _names(context)) is None and asked_adapter(name, context) is None:
        raise no_such_model(name, [context.model_name])


def asked_adapter(name: str | None, context: ServerContext) -> str | None:
    """The name of the adapter that a request asks for by its `model`; None for the model itself,
    whose names come first."""
    if not name or name not in context.adapter_scales.names or name in _names(context):
        return None
    return name


def _names(context: ServerContext) -> frozenset[str]:
    return names_of(context.model_name, context.settings.alias, context.model_path)
