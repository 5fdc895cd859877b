"""Which names of this server a request may use: `--allowed-hosts`, and this machine's own names."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

LOCAL_NAMES = frozenset({"localhost", "*.localhost"})

ANY = "*"

_PORT = re.compile(r":[0-9]*$")


class AllowedHosts:
    """Names match exactly; `*.example.com` matches all names below example.com; `*` matches all."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """`names` are allowed besides this machine's own."""
        self._names = LOCAL_NAMES | {_plain(name) for name in names}

    def allows(self, host: str, *, own_address: str = "") -> bool:
        """Whether a Host header may have this value.

        `own_address` is the IP address that the client connected to. A page of another site has a
        name in its Host header, so the server's own address is allowed.
        """
        if ANY in self._names:
            return True
        name = host_name(host)
        if is_loopback(name) or name in self._names:
            return True
        if name == own_address.lower() and _address(name):
            return True
        return any(f"*.{parent}" in self._names for parent in _parents(name))


def host_name(host: str) -> str:
    """The name in a Host header, without port, brackets and the dot of a root."""
    return _plain(_PORT.sub("", host.strip()))


def is_loopback(name: str) -> bool:
    """Whether a name is a loopback address, written as browsers write it."""
    address = _address(name)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    found = mapped or address
    return found is not None and found.is_loopback


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _plain(name: str) -> str:
    lower = name.lower()
    if lower.startswith("[") and lower.endswith("]"):
        return lower[1:-1]
    return lower.removesuffix(".")


def _parents(name: str) -> Iterable[str]:
    """`a.b.c` as b.c and c."""
    parts = name.split(".")
    return (".".join(parts[start:]) for start in range(1, len(parts)))
