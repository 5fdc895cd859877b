"""The subcommand `llamapack launch`: a client, set up for a server that runs or that is started."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from config import load_settings
from server.client.addresses import base_url, url_of
from server.client.found_server import add_flags, running_server, with_key
from server.client.own_server import own_server
from server.client.server_client import ServerClient
from server.launch import client_process
from server.launch.clients import CLIENTS, Client, Setup, Target
from server.launch.environment import completed, variables
from server.launch.target import find_target
from server.startup import CommandError

NOT_FOUND = 127
"""Exit code for a client that is not installed, as shells have it."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """The command line, taken apart."""

    client: Client
    url: str | None
    key: str | None
    model: str | None
    shows: bool
    options: tuple[str, ...]
    """Options of `llamapack serve`, for a server that is started."""
    arguments: tuple[str, ...]
    """For the client."""


def run(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the subcommand. Returns the client's exit code. Raises `CommandError`, `ConfigError`."""
    asked = _asked(argv, environment)
    program = shutil.which(asked.client.program, path=environment.get("PATH"))
    if program is None and not asked.shows:
        print(
            f"llamapack: error: there is no {asked.client.program} here; install it with: "
            f"{asked.client.install}",
            file=sys.stderr,
        )
        return NOT_FOUND
    with _server(asked, environment) as client:
        target = find_target(client, asked.model)
        _warn(asked.client, target)
        setup = completed(asked.client, target, environment)
        if asked.shows:
            print(_shown(asked, setup))
            return 0
        command = [program or asked.client.program, *setup.arguments, *asked.arguments]
        return client_process.run(command, variables(setup, environment))


def _asked(argv: Sequence[str], environment: Mapping[str, str]) -> _Asked:
    own, arguments = _split(argv)
    parser = _parser()
    own = ["--help"] if own in (["-h"], []) else own
    parsed, options = parser.parse_known_args(own)
    model = None
    if parsed.url is not None:
        named = argparse.ArgumentParser(prog=parser.prog, add_help=False, allow_abbrev=False)
        named.add_argument("--model")
        known, others = named.parse_known_args(options)
        if others:
            parser.error(f"{others[0]} is for a server that is started; leave out --url")
        model, options = known.model, []
    url = None if parsed.url is None else base_url(parsed.url)
    client = CLIENTS[parsed.client]
    return _Asked(
        client, url, parsed.api_key, model, parsed.print, tuple(options), tuple(arguments)
    )


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is ours, and what follows `--` for the client."""
    at = argv.index("--") if "--" in argv else len(argv)
    return list(argv[:at]), list(argv[at + 1 :])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llamapack launch",
        usage="llamapack launch CLIENT [--url URL] [--api-key KEY] [--print] [OPTIONS] [-- ARGS]",
        description="Start a client that uses a server of llamapack. Its own settings are neither "
        "read as to the server nor changed.",
        epilog="With OPTIONS of `llamapack serve`, such as -m model.gguf -c 65536, a server is "
        "started for the client and ends with it. Without, the one at --url or on port 8080 "
        "is used, or one with the default model is started.",
        add_help=False,  # its -h would take -hf REPO
        allow_abbrev=False,
    )
    parser.add_argument("--help", action="help", help="print this help")
    parser.add_argument("client", metavar="CLIENT", choices=CLIENTS, help=", ".join(CLIENTS))
    add_flags(parser)
    parser.add_argument(
        "--print", action="store_true", help="print the variables and the command for a shell"
    )
    return parser


@contextmanager
def _server(asked: _Asked, environment: Mapping[str, str]) -> Iterator[ServerClient]:
    """A server that is ready: the named one, the running one, or a new one."""
    running = running_server(asked.url, asked.key, asked.options, environment)
    if running is not None:
        yield running
        return
    keyed = with_key(asked.key, environment)
    settings = load_settings(asked.options, keyed)
    if asked.shows:
        raise CommandError(f"no server runs at {url_of(settings)}; start one, or give --url")
    with own_server(asked.options, settings, keyed) as started:
        yield started


def _warn(client: Client, target: Target) -> None:
    if target.context < client.instructions * 2:
        print(
            f"llamapack: warning: a slot of {target.model} has {target.context:,} tokens, and the "
            f"instructions of {client.program} take some {client.instructions:,}: serve it with a "
            "larger -c, or a smaller -np",
            file=sys.stderr,
        )


def _shown(asked: _Asked, setup: Setup) -> str:
    """Lines for a shell that do the same."""
    command = [asked.client.program, *setup.arguments, *asked.arguments]
    return "\n".join(
        [
            *(f"unset {name}" for name in setup.unset),
            *(f"export {name}={shlex.quote(value)}" for name, value in setup.variables.items()),
            shlex.join(command),
        ]
    )
