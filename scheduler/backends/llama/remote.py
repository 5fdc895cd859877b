"""Devices of other machines, over llama.cpp's RPC.

llama.cpp ends the process if an RPC server can't be reached or speaks another version. So each
server is greeted here first, and waited for: it may be starting again after it took the last engine
with it.
"""

from __future__ import annotations

import ctypes
import logging
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

from scheduler.backends.base import LoadError
from scheduler.backends.llama import devices

logger = logging.getLogger(__name__)

PROTOCOL = (7, 0)
"""Version of the protocol of the pinned llama.cpp, without the part that may differ."""

WAIT_SECONDS = 30.0
"""How long a server may take to answer. It serves one engine at a time."""

PAUSE_SECONDS = 0.5
GREETING_SECONDS = 3.0
"""How long one greeting may take."""

NO_RPC = (
    "--rpc: this build of llama.cpp has no RPC; build llama-cpp-python with "
    "CMAKE_ARGS=-DGGML_RPC=ON, or the image with --build-arg GGML_RPC=ON"
)

_HELLO = 14
_CAPABILITIES = 24
_GREETING = struct.pack("<BQ", _HELLO, _CAPABILITIES) + bytes(_CAPABILITIES)
_ANSWER = struct.Struct(f"<Q3Bx{_CAPABILITIES}x")


class _NotYet(Exception):
    """The server may answer later."""


def add_remote_devices(endpoints: Sequence[str]) -> None:
    """Make the devices of RPC servers known, as RPC0, RPC1, ... The backends must be loaded.

    Raises `LoadError` if a server does not answer in time, or is of another version.
    """
    if not endpoints:
        return
    address = procedure("ggml_backend_rpc_add_server")
    add_server = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)(address)
    register = devices.ggml_function("ggml_backend_register", None, ctypes.c_void_p)
    for endpoint in endpoints:
        wait_for(endpoint)
        registry = add_server(endpoint.encode())
        if not registry:
            raise LoadError(f"--rpc: the RPC server at {endpoint} has no device")
        register(registry)


def procedure(name: str) -> int:
    """The address of a function of the RPC backend. Raises `LoadError` without this backend."""
    get_backend: Any = devices.ggml_function(
        "ggml_backend_reg_by_name", ctypes.c_void_p, ctypes.c_char_p
    )
    backend = get_backend(b"RPC")
    if not backend:
        raise LoadError(NO_RPC)
    get_address: Any = devices.ggml_function(
        "ggml_backend_reg_get_proc_address", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p
    )
    address = get_address(backend, name.encode())
    if not address:
        raise LoadError(f"this build of llama.cpp has no {name}")
    return int(address)


def wait_for(endpoint: str, seconds: float = WAIT_SECONDS) -> None:
    """Wait until an RPC server answers. Raises `LoadError` after that time, or for another version.

    `seconds` is how long to try.
    """
    deadline = time.monotonic() + seconds
    is_told = False
    while True:
        try:
            return _greet(endpoint)
        except _NotYet as reason:
            if time.monotonic() >= deadline:
                raise LoadError(f"--rpc: no RPC server answers at {endpoint}: {reason}") from None
            if not is_told:
                logger.warning("waiting for the RPC server at %s: %s", endpoint, reason)
                is_told = True
        time.sleep(PAUSE_SECONDS)


def _greet(endpoint: str) -> None:
    """Raises `_NotYet`, and `LoadError` for another version."""
    host, _, port = endpoint.partition(":")
    try:
        with socket.create_connection((host, int(port)), GREETING_SECONDS) as sock:
            sock.sendall(_GREETING)
            answer = _read(sock, _ANSWER.size)
    except TimeoutError:
        raise _NotYet("it is silent; it serves one engine at a time") from None
    except OSError as error:
        raise _NotYet(error.strerror or str(error)) from None
    size, major, minor, patch = _ANSWER.unpack(answer)
    if size != _ANSWER.size - 8:
        raise _NotYet("it is no RPC server of this version of llama.cpp")
    if major != PROTOCOL[0] or minor > PROTOCOL[1]:
        ours = ".".join(map(str, PROTOCOL))
        raise LoadError(
            f"--rpc: the RPC server at {endpoint} speaks version {major}.{minor}.{patch} and this "
            f"build {ours}: both must be of the same llama.cpp"
        )


def _read(sock: socket.socket, size: int) -> bytes:
    """Exactly this many bytes. Raises `_NotYet` if the server closes the connection before."""
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise _NotYet("it closed the connection")
        data += piece
    return data
