"""The check of a request's `model` against the names of the served model."""

from __future__ import annotations

from server.context import ServerContext
from server.pool.names import matching, names_of, no_such_model


def check_model(name: str | None, context: ServerContext) -> None:
    """Raise `NotFound` when a request names a model that isn't served, with `--strict-model`.

    Without it any name is taken: one model is served, so every name can mean that model only. The
    model's names are its aliases, its path, its file name and the stem of its file name. A
    request without a name means the served model.
    """
    if not context.settings.strict_model or not name:
        return
    known = names_of(context.model_name, context.settings.alias, context.model_path)
    if matching(name, known) is None:
        raise no_such_model(name, [context.model_name])
