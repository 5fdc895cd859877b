"""The `llamapack` command and its subcommands.

Heavy modules are imported when the subcommand is known, so that `--version` and a mistyped flag
are answered at once.
"""

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Command:
    """A subcommand: its line in the help, and the function that runs it with its arguments."""

    summary: str
    run: Callable[[Sequence[str]], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 2 for wrong usage, 1 for a failure."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output, such as `head`, has ended: nobody reads what is still buffered.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE


def serve(argv: Sequence[str]) -> int:
    """Read the settings and serve until a signal stops the server. Returns the exit code."""
    from config import ConfigError, ModelSources, load_settings
    from config.actions import asked_action
    from server.startup import StartupError

    try:
        if (action := asked_action(argv)) is not None:
            return _act(action, argv)
        notices: list[str] = []
        settings = load_settings(argv, os.environ, notices.append)
        sources = ModelSources(argv, os.environ)
        _start_confined()
        from server.runtime import serve

        return serve(settings, notices, sources) if sources.need_pool else serve(settings, notices)
    except ConfigError as error:
        return fail(str(error), EXIT_USAGE)
    except StartupError as error:
        return fail(str(error), EXIT_FAILURE)


def fail(message: str, code: int) -> int:
    """Print one line on standard error and return `code`."""
    print(f"llamapack: error: {message}", file=sys.stderr)
    return code


def grammar(argv: Sequence[str]) -> int:
    """List the shipped grammars, or check one. Returns the exit code."""
    from grammars.cli import run

    return run(argv)


def launch(argv: Sequence[str]) -> int:
    """Start a client that uses a server. Returns the client's exit code."""
    from config import ConfigError
    from server.launch.command import run
    from server.launch.errors import LaunchError

    try:
        return run(argv, os.environ)
    except ConfigError as error:
        return fail(str(error), EXIT_USAGE)
    except LaunchError as error:
        return fail(str(error), EXIT_FAILURE)


def run(argv: Sequence[str]) -> int:
    """Talk to a model in the terminal. Returns the exit code."""
    from server.terminal.run import run

    return _talk(run, argv)


def ps(argv: Sequence[str]) -> int:
    """Show what a running server has loaded. Returns the exit code."""
    from server.terminal.models import ps

    return _talk(ps, argv)


def load(argv: Sequence[str]) -> int:
    """Have a running server load a model. Returns the exit code."""
    from server.terminal.models import load

    return _talk(load, argv)


def unload(argv: Sequence[str]) -> int:
    """Have a running server unload a model. Returns the exit code."""
    from server.terminal.models import unload

    return _talk(unload, argv)


def fit(argv: Sequence[str]) -> int:
    """Say what fits a machine's memory. Returns the exit code."""
    from server.commands.fit import run

    return _talk(run, argv)


def _talk(command: Callable[[Sequence[str], Mapping[str, str]], int], argv: Sequence[str]) -> int:
    """Run a command whose errors are one line each."""
    from config import ConfigError
    from server.fit.errors import FitError
    from server.launch.errors import LaunchError
    from server.startup import StartupError
    from server.terminal.errors import TerminalError

    try:
        return command(argv, os.environ)
    except ConfigError as error:
        return fail(str(error), EXIT_USAGE)
    except (FitError, LaunchError, StartupError, TerminalError) as error:
        return fail(str(error), EXIT_FAILURE)


def pull(argv: Sequence[str]) -> int:
    """Download a model. Returns the exit code."""
    from server.commands.pull import run

    return _about_models(run, argv)


def import_file(argv: Sequence[str]) -> int:
    """Take a file into the store. Returns the exit code."""
    from server.commands.imported import run

    return _about_models(run, argv)


def list_models(argv: Sequence[str]) -> int:
    """List the stored models. Returns the exit code."""
    from server.commands.listed import run

    return _about_models(run, argv)


def show(argv: Sequence[str]) -> int:
    """Describe a model. Returns the exit code."""
    from server.commands.shown import run

    return _about_models(run, argv)


def remove(argv: Sequence[str]) -> int:
    """Remove models. Returns the exit code."""
    from server.commands.removed import run

    return _about_models(run, argv)


def rpc_server(argv: Sequence[str]) -> int:
    """Become llama.cpp's RPC server."""
    path = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-P", "-m", "scheduler.backends.llama.rpc_server", *argv]
    os.execve(command[0], command, {**os.environ, "PYTHONPATH": path})


COMMANDS = {
    "serve": Command("serve a GGUF model over HTTP (see `llamapack serve --help`)", serve),
    "run": Command("talk to a model in the terminal", run),
    "ps": Command("show the models that a running server has loaded", ps),
    "load": Command("have a running server load a model", load),
    "unload": Command("have a running server unload a model", unload),
    "fit": Command("say what fits this machine's memory, or another's", fit),
    "launch": Command("start Claude Code, Codex, opencode or aider on a server", launch),
    "pull": Command("download a model: USER/REPO[:QUANT], an address or a file", pull),
    "import": Command("take a GGUF file into the store, under a name", import_file),
    "list": Command("list the models on this machine", list_models),
    "show": Command("say what a model is: shape, template, sizes by part", show),
    "rm": Command("remove models from this machine", remove),
    "rpc-server": Command("lend this machine's devices to a server elsewhere", rpc_server),
    "grammar": Command("list the shipped grammars, or check one against a text", grammar),
}


def _about_models(
    run: Callable[[Sequence[str], Mapping[str, str]], int], argv: Sequence[str]
) -> int:
    from server.startup import StartupError

    try:
        return run(argv, os.environ)
    except StartupError as error:
        return fail(str(error), EXIT_FAILURE)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if arguments[0] in ("-V", "--version", "version"):
        return _print_version()
    command = COMMANDS.get(arguments[0])
    if command is None:
        return fail(f"unknown command {arguments[0]}{_hint(arguments[0])}", EXIT_USAGE)
    return command.run(arguments[1:])


def _overview() -> str:
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: llamapack COMMAND [flags]",
            "",
            "Serve GGUF models: llama-server's API, with continuous batching.",
            "",
            "Commands",
            *lines,
            "",
            "Try `llamapack serve` for the embedded demo model on http://127.0.0.1:8080,",
            "or `llamapack serve -m model.gguf` for your own. `llamapack --version` prints",
            "the version.",
        ]
    )


def _hint(word: str) -> str:
    if word.startswith("-"):
        return f"; did you mean llamapack serve {word}?"
    return f"; there are: {', '.join(COMMANDS)}"


def _act(action: str, argv: Sequence[str]) -> int:
    """Print what a flag asks for instead of serving. Returns the exit code.

    Raises `ConfigError` if the list of devices is asked for with flags that are wrong.
    """
    if action == "help":
        return _print_serve_help()
    if action == "version":
        return _print_version()
    from server.commands.listings import print_completion, print_devices, print_models

    if action == "devices":
        return print_devices(_rpc_servers(argv))
    return {"models": print_models, "completion": print_completion}[action]()


def _rpc_servers(argv: Sequence[str]) -> Sequence[str]:
    """The RPC servers whose devices are listed."""
    from config import load_settings
    from config.actions import flags_of

    others = [argument for argument in argv if argument not in flags_of("devices")]
    return load_settings(others, os.environ).rpc


def _print_version() -> int:
    from config.version import version

    print(f"llamapack {version()}")
    return 0


def _start_confined() -> None:
    """Start the processes that read what isn't trusted, while our own heavy modules load."""
    from server.model.inspection import inspector
    from server.templates.rendering import renderers

    inspector.start()
    renderers.start()


def _print_serve_help() -> int:
    from config.help import render_help

    bold = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(render_help(shutil.get_terminal_size().columns, bold))
    return 0
