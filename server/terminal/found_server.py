"""Finds the server that a command asks: the named one, or the one that the variables describe."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from config import load_settings
from server.launch.own_server import url_of
from server.launch.remote import base_url
from server.terminal.client import ServerClient


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags that name a server."""
    parser.add_argument("--url", help="a server that runs [port 8080 of this machine]")
    parser.add_argument("--api-key", metavar="KEY", help="a key of the server [LLAMA_API_KEY]")


def client_of(asked: Namespace, environ: Mapping[str, str]) -> ServerClient:
    """The server that the flags name. Raises `ConfigError` and `LaunchError`."""
    settings = load_settings((), with_key(asked, environ))
    url = base_url(asked.url) if asked.url else url_of(settings)
    return ServerClient(url, settings.api_key[0] if settings.api_key else "")


def with_key(asked: Namespace, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables, with the key that the flags name."""
    return {**environ, **({"LLAMA_API_KEY": asked.api_key} if asked.api_key else {})}
