"""A server that is started for one client, and ends with it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from config import ServeSettings
from server.launch.errors import LaunchError
from server.launch.remote import wait_ready

END_SECONDS = 10.0
"""What the server has to end by itself."""

_PROGRAM = """
import sys
from server.launch.lifeline import hold
hold()
from server.cli import main
sys.exit(main(sys.argv[1:]))
"""
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
"""What a client calls a server that listens on all addresses."""


def url_of(settings: ServeSettings) -> str:
    """Where clients find a server with these settings. Raises `LaunchError`."""
    hosts = [host for host in settings.host if not host.endswith(".sock")]
    if not hosts:
        raise LaunchError("clients can't use a UNIX socket: give --host an address too")
    host = _ANY.get(hosts[0], hosts[0])
    shown = f"[{host}]" if ":" in host else host
    scheme = "http" if settings.ssl_cert_file is None else "https"
    return f"{scheme}://{shown}:{settings.port}{settings.api_prefix}"


def placed(settings: ServeSettings) -> ServeSettings:
    """The settings with a free port, unless they name a port. Raises `LaunchError`."""
    if "port" in settings.model_fields_set:
        if not settings.port:
            raise LaunchError("leave out --port instead of giving 0, to get a free one")
        return settings
    return settings.model_copy(update={"port": _free_port()})


@contextmanager
def own_server(
    options: Sequence[str], settings: ServeSettings, environment: Mapping[str, str]
) -> Iterator[str]:
    """The URL of a server with these options, which is ready. Raises `LaunchError`.

    `settings` are what the options add up to, with the port to listen on. The server is a session
    of its own, so that the terminal's signals are the client's alone.
    """
    url = url_of(settings)
    handle, name = tempfile.mkstemp(prefix="llamapack-", suffix=".log")
    with os.fdopen(handle, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, "serve", *options],
            # A variable, because a flag would clash with the flag of a user who names the port.
            env={**environment, "LLAMA_ARG_PORT": str(settings.port)},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    print(f"llamapack: starting a server; its log is {name}", file=sys.stderr)

    def check() -> None:
        if process.poll() is not None:
            raise LaunchError(f"the server did not start: {_last_line(Path(name))}")

    try:
        wait_ready(url, check)
        yield url
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let go of the server, and kill it if that does not end it."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), f"see {log}")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
