"""Which origins of web pages `--cors-origins` allows."""

from __future__ import annotations

import re
from collections.abc import Iterable

LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""The hosts that the word `localhost` stands for."""

_PORT = re.compile(r":[0-9]+$")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class AllowedOrigins:
    """Full origins match exactly; a host matches over http and https, on any port unless it has
    one."""

    def __init__(self, words: Iterable[str]) -> None:
        names = {word.lower() for word in words}
        self._any = "*" in names
        self._origins = {_plain(name) for name in names if "://" in name}
        self._hosts = {name for name in names if "://" not in name}
        if "localhost" in names:
            self._hosts |= LOCAL

    def __bool__(self) -> bool:
        """Whether any page of another origin may use the server."""
        return self._any or bool(self._origins) or bool(self._hosts)

    def allows(self, origin: str) -> bool:
        """Whether pages of this origin, as a browser names it, may use the server."""
        name = origin.lower()
        scheme, _, place = name.partition("://")
        is_web = scheme in _DEFAULT_PORTS
        is_host = is_web and not self._hosts.isdisjoint((place, _PORT.sub("", place)))
        return self._any or is_host or _plain(name) in self._origins


def _plain(origin: str) -> str:
    """The origin without the port that its scheme implies: browsers leave it out."""
    scheme = origin.partition("://")[0]
    return origin.removesuffix(_DEFAULT_PORTS.get(scheme, "\n"))
