"""Which hosts a pull may talk to."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

ANY = "*"


class PullHosts:
    """Names match exactly; `*.example.com` matches all names below example.com; `*` matches all.

    A name without a port stands for all ports. `NAME:PORT` stands for this port only.
    """

    def __init__(self, names: Iterable[str] = (ANY,)) -> None:
        self._names = frozenset(name.lower() for name in names)

    def allow(self, url: str) -> bool:
        """Whether a pull may ask the host of this address."""
        if ANY in self._names:
            return True
        parts = urlsplit(url)
        host = (parts.hostname or "").removesuffix(".")
        labels = host.split(".")
        patterns = {f"*.{'.'.join(labels[start:])}" for start in range(1, len(labels))}
        forms = {host, *patterns}
        with_port = {f"{form}:{parts.port}" for form in forms} if parts.port else set()
        return not self._names.isdisjoint(forms | with_port)
