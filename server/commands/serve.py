"""`llamapack serve`: serves models, or prints what a flag asks for instead."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence

from config import ModelSources, load_settings
from config.actions import asked_action, flags_of
from config.help import render_help
from config.version import version


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Read the settings and serve until a signal stops the server. Returns the exit code.

    Raises `ConfigError` and `CommandError`. Heavy modules are imported once the settings are right,
    so that a mistyped flag is answered at once.
    """
    if (action := asked_action(argv)) is not None:
        return _act(action, argv, environ)
    notices: list[str] = []
    settings = load_settings(argv, environ, notices.append)
    sources = ModelSources(argv, environ)
    _start_confined()
    from server.runtime import serve

    return serve(settings, notices, sources) if sources.need_pool else serve(settings, notices)


def _act(action: str, argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print what a flag asks for instead of serving. Returns the exit code.

    Raises `ConfigError` if the list of devices is asked for with flags that are wrong.
    """
    if action == "help":
        return _print_help()
    if action == "version":
        print(f"llamapack {version()}")
        return 0
    from server.commands.serve_actions import print_completion, print_devices, print_models

    if action == "devices":
        return print_devices(_rpc_servers(argv, environ))
    return {"models": print_models, "completion": print_completion}[action]()


def _rpc_servers(argv: Sequence[str], environ: Mapping[str, str]) -> Sequence[str]:
    """The RPC servers whose devices are listed."""
    others = [argument for argument in argv if argument not in flags_of("devices")]
    return load_settings(others, environ).rpc


def _start_confined() -> None:
    """Start the processes that read what isn't trusted, while our own heavy modules load."""
    from server.model.inspection import inspector
    from server.templates.rendering import renderers

    inspector.start()
    renderers.start()


def _print_help() -> int:
    bold = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(render_help(shutil.get_terminal_size().columns, bold))
    return 0
