"""Finds the server that a command asks: the named one, or the one that the variables describe."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence

from config import load_settings
from server.client.addresses import base_url, url_of
from server.client.server_client import ServerClient


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags that name a server."""
    parser.add_argument("--url", help="a server that runs [port 8080 of this machine]")
    parser.add_argument("--api-key", metavar="KEY", help="a key of the server [LLAMA_API_KEY]")


def client_of(url: str | None, key: str | None, environ: Mapping[str, str]) -> ServerClient:
    """The server that the flags name. Raises `ConfigError` and `CommandError`."""
    settings = load_settings((), with_key(key, environ))
    found = url_of(settings) if url is None else base_url(url)
    return ServerClient(found, settings.api_key[0] if settings.api_key else "")


def running_server(
    url: str | None, key: str | None, options: Sequence[str], environ: Mapping[str, str]
) -> ServerClient | None:
    """The server that the flags name, once it is ready; None if a server is to be started.

    That is so if `options` say how, or if no server is named and none runs. Raises `ConfigError`
    and `CommandError`.
    """
    client = client_of(url, key, environ)
    if url is None and (options or not client.is_there()):
        return None
    client.wait_ready()
    return client


def with_key(key: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables, with the key that a flag names."""
    return {**environ, **({"LLAMA_API_KEY": key} if key else {})}
