"""Asks a server that runs whether it is ready, and which model it serves."""

from __future__ import annotations

import http.client
import ipaddress
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

from server.launch.clients import Target
from server.launch.errors import LaunchError

TIMEOUT = 10.0
"""Seconds that one question may take."""
LOAD_TIMEOUT = 600.0
"""Seconds that a question may take for which a model is loaded."""
_POLL = 0.1
_LOADING = 503
_REFUSED = (401, 403)


def base_url(text: str) -> str:
    """The address without what clients append to it. Raises `LaunchError`."""
    url = text.rstrip("/").removesuffix("/v1")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LaunchError(f"--url must be an address such as http://127.0.0.1:8080, got {text}")
    return url


def is_loopback(url: str) -> bool:
    """Whether the address is this machine's own, by number or as localhost."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def answers(url: str) -> bool:
    """Whether a server is there, ready or not."""
    try:
        return _status(url) is not None
    except LaunchError:
        return False


def wait_ready(url: str, check: Callable[[], None] = lambda: None) -> None:
    """Return when the server's model is loaded. `check` raises if there is no hope.

    Raises `LaunchError` if something else than a server of models answers, or `check` does.
    """
    while _status(url) != 200:
        check()
        time.sleep(_POLL)


def find(url: str, key: str, model: str | None) -> Target:
    """The model of that name, else one that is loaded, else the first one. Raises `LaunchError`.

    A model of several that isn't loaded is loaded, because only then its context is known.
    """
    entries = _models(url, key)
    names = [str(entry.get("id")) for entry in entries]
    found = [entry for entry in entries if model is None or model in _names(entry)]
    if not found:
        raise LaunchError(f"the server at {url} has no model {model}; it has: {', '.join(names)}")
    entry = next((one for one in found if "max_input_tokens" in one), found[0])
    name = model or str(entry.get("id"))
    context = entry.get("max_input_tokens")
    if "status" in entry and context is None:
        context = _context_of(url, key, name)
    if not isinstance(context, int):
        raise LaunchError(f"the server at {url} doesn't tell its context: no llamapack?")
    return Target(url, key, name, context)


def _names(entry: dict[str, Any]) -> tuple[str, ...]:
    return (str(entry.get("id")), *entry.get("aliases", ()))


def _models(url: str, key: str) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = _read(url, "/v1/models", key, TIMEOUT, "data")
    return data


def _context_of(url: str, key: str, model: str) -> Any:
    """The context of a model, which is loaded for this answer."""
    path = f"/props?model={quote(model, safe='')}"
    settings: dict[str, Any] = _read(url, path, key, LOAD_TIMEOUT, "default_generation_settings")
    return settings.get("n_ctx")


def _read(url: str, path: str, key: str, seconds: float, name: str) -> Any:
    """A value of the JSON at this path. Raises `LaunchError`."""
    try:
        with opener(url).open(_request(f"{url}{path}", key), timeout=seconds) as answer:
            return json.load(answer)[name]
    except urllib.error.HTTPError as error:
        if error.code in _REFUSED:
            raise LaunchError(f"the server at {url} wants another key: see --api-key") from None
        raise LaunchError(f"{url}{path} answers {error.code}") from None
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        raise LaunchError(f"{url}{path} can't be read: {error}") from None


def _status(url: str) -> int | None:
    """200 if the model is loaded, 503 if not yet, None if nobody listens."""
    try:
        with opener(url).open(_request(f"{url}/health", ""), timeout=TIMEOUT):
            return 200
    except urllib.error.HTTPError as error:
        if error.code == _LOADING:
            return _LOADING
        raise LaunchError(f"{url}/health answers {error.code}: no llamapack?") from None
    except http.client.HTTPException:
        raise LaunchError(f"what listens on {url} does not speak HTTP") from None
    except OSError:
        return None


def _request(url: str, key: str) -> urllib.request.Request:
    return urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})


def opener(url: str) -> urllib.request.OpenerDirector:
    """Proxies are for other machines."""
    proxies: dict[str, str] | None = {} if is_loopback(url) else None
    return urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
