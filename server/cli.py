"""The `llamapack` command: which subcommands there are, and what becomes of their errors."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from server.startup import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_USAGE, CommandError


@dataclass(frozen=True)
class Command:
    """A subcommand: its line in the help, and the function that runs it, as `MODULE:FUNCTION`.

    The module is imported when the subcommand is known, so that a mistyped one is answered at once.
    """

    summary: str
    target: str

    def run(self, argv: Sequence[str], environ: Mapping[str, str]) -> int:
        """Run the subcommand. Returns the exit code."""
        module, _, name = self.target.partition(":")
        function: Callable[[Sequence[str], Mapping[str, str]], int]
        function = getattr(import_module(module), name)
        return function(argv, environ)


COMMANDS = {
    "serve": Command(
        "serve a GGUF model over HTTP (see `llamapack serve --help`)", "server.commands.serve:run"
    ),
    "run": Command("talk to a model in the terminal", "server.terminal.run:run"),
    "ps": Command("show the models that a running server has loaded", "server.commands.loaded:ps"),
    "load": Command("have a running server load a model", "server.commands.loaded:load"),
    "unload": Command("have a running server unload a model", "server.commands.loaded:unload"),
    "fit": Command("say what fits this machine's memory, or another's", "server.commands.fit:run"),
    "launch": Command(
        "start Claude Code, Codex, opencode or aider on a server", "server.launch.command:run"
    ),
    "pull": Command(
        "download a model: USER/REPO[:QUANT], an address or a file", "server.commands.pull:run"
    ),
    "import": Command(
        "take a GGUF file into the store, under a name", "server.commands.import_file:run"
    ),
    "list": Command("list the models on this machine", "server.commands.list_models:run"),
    "show": Command(
        "say what a model is: shape, template, sizes by part", "server.commands.show_model:run"
    ),
    "rm": Command("remove models from this machine", "server.commands.remove_models:run"),
    "rpc-server": Command(
        "lend this machine's devices to a server elsewhere", "server.commands.rpc_server:run"
    ),
    "grammar": Command(
        "list the shipped grammars, or check one against a text", "server.commands.grammar:run"
    ),
}


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
    except CommandError as error:
        return _fail(str(error), EXIT_FAILURE)
    except Exception as error:
        from config import ConfigError

        if not isinstance(error, ConfigError):
            raise
        return _fail(str(error), EXIT_USAGE)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if arguments[0] in ("-V", "--version", "version"):
        return _print_version()
    command = COMMANDS.get(arguments[0])
    if command is None:
        return _fail(f"unknown command {arguments[0]}{_hint(arguments[0])}", EXIT_USAGE)
    return command.run(arguments[1:], os.environ)


def _fail(message: str, code: int) -> int:
    """Print one line on standard error and return `code`."""
    print(f"llamapack: error: {message}", file=sys.stderr)
    return code


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


def _print_version() -> int:
    from config.version import version

    print(f"llamapack {version()}")
    return 0
