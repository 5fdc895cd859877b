"""`llamapack rpc-server`: lends this machine's devices to engines of others, by llama.cpp's RPC.

It starts the RPC server of the llama.cpp that the engine uses, so that both are of one build.
"""

from __future__ import annotations

import argparse
import ctypes
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from llama_cpp import llama_cpp as lib

from scheduler.backends.base import LoadError
from scheduler.backends.cpus import usable_cores
from scheduler.backends.llama.devices import Device, devices, load_backends
from scheduler.backends.llama.remote import procedure

PORT = 50052
EXIT_FAILURE, EXIT_USAGE = 1, 2

WARNING = (
    "llamapack: warning: whoever reaches {0} can use it, crash it, and perhaps take this machine "
    "over: llama.cpp's RPC has no keys and no encryption. Never put it on an open network."
)

_DEVICE_HELP = (
    "devices to lend, as `llamapack serve --list-devices` names them, or CPU; by default all GPUs, "
    "or else the CPU"
)
_CACHE_HELP = "keep weights in a folder, so that a model crosses the network once"


def main(arguments: Sequence[str]) -> int:
    """Serve until a signal ends the process; returns the exit status."""
    given = _parser().parse_args(arguments)
    lib.llama_backend_init()
    try:
        load_backends()
        start = procedure("ggml_backend_rpc_start_server")
        chosen = _chosen(given.device)
        _check_free(given.host, given.port)
    except (LoadError, OSError) as error:
        print(f"llamapack: error: {error}".replace("--rpc: ", ""), file=sys.stderr)
        return EXIT_FAILURE
    if not _is_loopback(given.host):
        print(WARNING.format(f"{given.host}:{given.port}"), file=sys.stderr, flush=True)
    # Python would note a signal, and wait for a function that never returns.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _serve(start, f"{given.host}:{given.port}", given.cache, given.threads, chosen)
    return EXIT_FAILURE  # it returns only if it can't go on


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("llamapack rpc-server", description=__doc__)
    add = parser.add_argument
    add("-H", "--host", type=_host, default="127.0.0.1", help="address (%(default)s)")
    add("-p", "--port", type=_port, default=PORT, help="port (%(default)s)")
    add("-d", "--device", type=_names, default=[], metavar="NAMES", help=_DEVICE_HELP)
    add("-t", "--threads", type=_threads, default=usable_cores(), help="threads of the CPU")
    add("-c", "--cache", action="store_true", help=_CACHE_HELP)
    return parser


def _chosen(names: Sequence[str]) -> list[Device]:
    """The devices to lend. Raises `LoadError` for a name that no device has."""
    known = {device.name: device for device in devices()}
    if unknown := [name for name in names if name not in known]:
        raise LoadError(f"--device: there is no device {unknown[0]}; there are: {', '.join(known)}")
    if names:
        return [known[name] for name in names]
    found = [device for device in known.values() if device.is_gpu]
    return found or [device for device in known.values() if device.is_cpu]


def _check_free(host: str, port: int) -> None:
    """Raises `OSError`, which says more than ggml, if the address can't be listened on."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            raise OSError(f"can't listen on {host}:{port}: {error.strerror}") from None


def _serve(
    start: int, endpoint: str, has_cache: bool, threads: int, chosen: Sequence[Device]
) -> None:
    serve = ctypes.CFUNCTYPE(
        None,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_size_t,
        ctypes.POINTER(ctypes.c_void_p),
    )(start)
    addresses = (ctypes.c_void_p * len(chosen))(*(device.address for device in chosen))
    folder = os.fsencode(_cache_folder()) if has_cache else None
    sys.stdout.flush()
    serve(endpoint.encode(), folder, threads, len(chosen), addresses)


def _cache_folder() -> Path:
    """The folder of weights, which is made here."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "llamapack" / "rpc"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _names(text: str) -> list[str]:
    return [name for name in text.replace("/", ",").split(",") if name]


def _host(text: str) -> str:
    """An IPv4 address: ggml takes no other."""
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no IPv4 address") from None


def _is_loopback(host: str) -> bool:
    return ipaddress.IPv4Address(host).is_loopback


def _port(text: str) -> int:
    return _whole(text, 1, 65535)


def _threads(text: str) -> int:
    return _whole(text, 1, 512)


def _whole(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"must be a number from {least} to {most}, got {text}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
