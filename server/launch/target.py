"""Finds the model that a client gets, and how large its context is."""

from __future__ import annotations

from server.client.server_client import Entry, ServerClient
from server.launch.clients import Target
from server.startup import CommandError

NO_KEY = "none"
"""What clients send that insist on a key."""


def find_target(client: ServerClient, model: str | None) -> Target:
    """The model of that name, else one that is loaded, else the first one. Raises `CommandError`.

    A model of several that isn't loaded is loaded, because only then its context is known.
    """
    entry = _any(client) if model is None else client.get(model)
    name = model or str(entry["id"])
    context = entry.get("max_input_tokens")
    if "status" in entry and context is None:
        context = client.context_of(name)
    if not isinstance(context, int):
        raise CommandError(f"the server at {client.url} doesn't tell its context: no llamapack?")
    return Target(client.url, client.key or NO_KEY, name, context)


def _any(client: ServerClient) -> Entry:
    entries = client.models()
    if not entries:
        raise CommandError(f"the server at {client.url} has no models")
    return next((one for one in entries if "max_input_tokens" in one), entries[0])
