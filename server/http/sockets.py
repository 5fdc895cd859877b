"""The sockets that the server listens on, bound before anything slow happens."""

from __future__ import annotations

import errno
import ipaddress
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

from server.startup import StartupError

_REASONS = {
    errno.EADDRINUSE: "it is in use already",
    errno.EACCES: "this user may not",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""What reaches a socket that listens on all addresses, from its own machine."""


def bind_all(hosts: Sequence[str], port: int, *, reuse_port: bool = False) -> list[socket.socket]:
    """One bound socket for each address; a path that ends in .sock is a UNIX socket.

    Port 0 takes one free port for all addresses. With `reuse_port`, other servers may bind the
    same port, and the system spreads connections over them. Raises `StartupError`.
    """
    sockets: list[socket.socket] = []
    try:
        for host in hosts:
            is_path = host.endswith(".sock")
            bound = _bind_path(Path(host)) if is_path else _bind_host(host, port, reuse_port)
            sockets += bound
            port = port or _port_of(bound)
    except BaseException:
        close_all(sockets)
        raise
    return sockets


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Close the sockets, and remove the files of UNIX sockets."""
    for sock in sockets:
        sock.close()
        if isinstance(sock, _UnixSocket):
            sock.path.unlink(missing_ok=True)


def url_of(sock: socket.socket, *, tls: bool) -> str:
    """The URL at which clients find the server behind this socket."""
    scheme = "https" if tls else "http"
    if sock.family == socket.AF_UNIX:
        return f"{scheme}+unix://{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return f"{scheme}://{_in_url(host)}:{port}"


def local_url_of(sock: socket.socket, *, tls: bool) -> str:
    """`url_of`, for a browser of this machine: where a socket listens on all addresses, loopback's.
    No browser of Windows opens 0.0.0.0."""
    url = url_of(sock, tls=tls)
    if sock.family == socket.AF_UNIX:
        return url
    host = sock.getsockname()[0]
    loopback = _LOOPBACK.get(host)
    return url if loopback is None else url.replace(_in_url(host), _in_url(loopback), 1)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def is_exposed(sock: socket.socket) -> bool:
    """Whether other machines may reach the socket: it listens beyond the loopback address."""
    if sock.family == socket.AF_UNIX:
        return False
    return not ipaddress.ip_address(sock.getsockname()[0].partition("%")[0]).is_loopback


class _UnixSocket(socket.socket):
    """A UNIX socket that remembers its file, because a closed socket can't name the file any
    more."""

    def __init__(self, path: Path) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self.path = path


def _bind_host(host: str, port: int, reuse_port: bool) -> list[socket.socket]:
    """Bind all addresses of a name, such as 127.0.0.1 and ::1 for localhost."""
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise StartupError(f"can't listen on {host}: {error.strerror or error}") from error
    sockets: list[socket.socket] = []
    for family, _, protocol, _, address in dict.fromkeys(found):
        name = f"{address[0]!s} port {address[1]!s}"
        sock = socket.socket(family, socket.SOCK_STREAM, protocol)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sockets.append(_bind(sock, address, name))
    return sockets


def _bind_path(path: Path) -> list[socket.socket]:
    _remove_stale(path)
    return [_bind(_UnixSocket(path), str(path), str(path))]


def _bind(sock: socket.socket, address: tuple[object, ...] | str, name: str) -> socket.socket:
    try:
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            # Otherwise [::] would take IPv4 too and block 0.0.0.0 on the same port.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise StartupError(f"can't listen on {name}: {reason}") from error
    sock.setblocking(False)
    return sock


def _remove_stale(path: Path) -> None:
    """Remove the socket file of a server that is gone; refuse a socket that answers."""
    try:
        is_socket = stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return
    if not is_socket:
        raise StartupError(f"can't listen on {path}: it is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(str(path)) == 0:
            raise StartupError(f"can't listen on {path}: {_REASONS[errno.EADDRINUSE]}")
    path.unlink()


def _port_of(sockets: Sequence[socket.socket]) -> int:
    ports = [sock.getsockname()[1] for sock in sockets if sock.family != socket.AF_UNIX]
    return ports[0] if ports else 0
