"""A server that is started for one command, and ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from config import ServeSettings
from server.client.addresses import placed, url_of
from server.client.server_client import ServerClient
from server.startup import CommandError

END_SECONDS = 10.0
"""What the server has to end by itself."""

_PROGRAM = """
import sys
from server.client.lifeline import hold
hold()
from server.cli import main
sys.exit(main(sys.argv[1:]))
"""


@contextmanager
def own_server(
    options: Sequence[str], settings: ServeSettings, environment: Mapping[str, str]
) -> Iterator[ServerClient]:
    """A server with these options, which is ready. Raises `CommandError`.

    `settings` are what the options add up to; without a port of theirs the server gets a free
    one. The server is a session of its own, so that the terminal's signals are the client's alone.
    The server's log stays if something failed, and is named then.
    """
    settings = placed(settings)
    client = ServerClient(url_of(settings), settings.api_key[0] if settings.api_key else "")
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
            raise CommandError(f"the server did not start: {_last_line(Path(name))}")

    is_good = False
    try:
        client.wait_ready(check)
        yield client
        is_good = process.poll() is None
    except (KeyboardInterrupt, SystemExit):
        is_good = process.poll() is None
        raise
    finally:
        _end(process)
        if is_good:
            Path(name).unlink(missing_ok=True)
        else:
            print(f"llamapack: the server's log is {name}", file=sys.stderr)


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
