"""What a client's process gets: its user's variables, its setup, and the files of the setup."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

from server.client.addresses import is_loopback
from server.launch.clients import Client, Setup, Target
from server.startup import CommandError

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
_DIRECT = ("NO_PROXY", "no_proxy")
_OWN_NAMES = "127.0.0.1,localhost,::1"


def completed(client: Client, target: Target, environment: Mapping[str, str]) -> Setup:
    """The client's setup with its files written, and no proxy before this machine.

    Raises `CommandError` if a file can't be written.
    """
    setup = client.setup(target)
    files = _written(client, setup.files, environment)
    direct = _direct(environment) if is_loopback(target.url) else {}
    return dataclasses.replace(setup, variables={**setup.variables, **files, **direct}, files={})


def variables(setup: Setup, environment: Mapping[str, str]) -> dict[str, str]:
    """The user's variables, changed by the setup."""
    kept = {name: value for name, value in environment.items() if name not in setup.unset}
    return {**kept, **setup.variables}


def _written(
    client: Client, files: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, str]:
    """The files' names by variable. The files lie in our cache, under names of their content."""
    home = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "llamapack" / "launch"
    names: dict[str, str] = {}
    for variable, text in files.items():
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        file = folder / f"{client.program}-{digest}.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        except OSError as error:
            raise CommandError(f"can't write {file}: {error.strerror}") from None
        names[variable] = str(file)
    return names


def _direct(environment: Mapping[str, str]) -> dict[str, str]:
    """This machine among the names that need no proxy, if the user has a proxy."""
    if not any(environment.get(name) for name in _PROXIES):
        return {}
    others = [environment[name] for name in _DIRECT if environment.get(name)][:1]
    return {name: ",".join([*others, _OWN_NAMES]) for name in _DIRECT}
