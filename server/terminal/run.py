"""`llamapack run MODEL [PROMPT]`: a chat in the terminal, or one answer for a script."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from config import load_settings
from server.client.found_server import add_flags, client_of, running_server, with_key
from server.client.own_server import own_server
from server.client.server_client import ServerClient
from server.startup import EXIT_INTERRUPTED, CommandError
from server.store.errors import UnknownModel
from server.store.folders import folders_of
from server.store.names import find
from server.store.resolve import resolve_model
from server.store.stored_models import stored_models
from server.terminal.chat import ask, talk
from server.terminal.conversation import Conversation
from server.terminal.screen import Screen
from server.terminal.slash import Chat, words
from server.terminal.typed_lines import TypedLines, history_file, set_up_readline


@dataclass(frozen=True, slots=True)
class _Streams:
    """What the user types into and reads."""

    source: TextIO
    out: TextIO

    @property
    def are_terminals(self) -> bool:
        return self.source.isatty() and self.out.isatty()


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Talk to a model. Returns the exit code.

    Raises `CommandError` and `ConfigError`.
    """
    own, options = _split(argv)
    asked = _parser().parse_intermixed_args(own)
    streams = _Streams(sys.stdin, sys.stdout)
    prompt = _prompt(asked.prompt, streams)
    conversation = Conversation("", system=asked.system or "")
    for name, value in asked.set or ():
        conversation.set_field(name, value)
    with _server(asked, options, environ) as (client, model):
        conversation.model = model
        chat = Chat(conversation, say=lambda text: print(text, flush=True))
        screen = Screen(
            streams.out,
            is_terminal=streams.out.isatty(),
            colors=not environ.get("NO_COLOR") and environ.get("TERM") != "dumb",
            thinking=not asked.hide_thinking,
        )
        if prompt is not None:
            return _answer_once(client, chat, screen, prompt, with_stats=asked.stats)
        _talk(client, chat, screen, environ)
    return 0


def _answer_once(
    client: ServerClient, chat: Chat, screen: Screen, prompt: str, *, with_stats: bool
) -> int:
    chat.conversation.ask(prompt)
    is_whole = ask(client, chat, screen)
    if with_stats and chat.stats is not None:
        print(chat.stats.line(), file=sys.stderr)
    return 0 if is_whole else EXIT_INTERRUPTED


def _talk(client: ServerClient, chat: Chat, screen: Screen, environ: Mapping[str, str]) -> None:
    keep_history = set_up_readline(history_file(environ), words())
    chat.say(f"{chat.conversation.model} at {client.url}; /help lists commands, /bye ends")
    try:
        talk(client, chat, TypedLines(), screen)
    finally:
        keep_history()


def _prompt(given: Sequence[str], streams: _Streams) -> str | None:
    """What is asked once: the words of the command line and a piped text; None for a chat."""
    texts = [" ".join(given)] if given else []
    if not streams.source.isatty():
        texts.append(streams.source.read().rstrip("\n"))
    elif not given and streams.are_terminals:
        return None
    elif not given:  # typed into a command whose output goes elsewhere
        texts.append(streams.source.read().rstrip("\n"))
    prompt = "\n\n".join(text for text in texts if text)
    if not prompt.strip():
        raise CommandError("there is nothing to ask: give a PROMPT, or pipe one in")
    return prompt


# --- the server ---


@contextmanager
def _server(
    asked: argparse.Namespace, options: Sequence[str], environ: Mapping[str, str]
) -> Iterator[tuple[ServerClient, str]]:
    """A server that has the model, and the model's name there: one that runs, or our own."""
    running = running_server(asked.url, asked.api_key, options, environ)
    if running is not None and (name := _name_there(running, asked.model)) is not None:
        yield running, name
        return
    is_named = bool(asked.model) or running is not None
    if asked.url or (is_named and _origin(asked.model, environ) is None):
        raise _unknown(running, asked, environ)
    with _own(asked, options, environ) as own:
        yield own, str(own.models()[0]["id"])


@contextmanager
def _own(
    asked: argparse.Namespace, options: Sequence[str], environ: Mapping[str, str]
) -> Iterator[ServerClient]:
    """A server of our own, which ends with us."""
    keyed = with_key(asked.api_key, environ)
    options = [*(_origin(asked.model, environ) or ()), *options]
    settings = load_settings(options, keyed)
    resolve_model(settings, keyed)  # a download shows its progress here, and not in a log
    with own_server(options, settings, keyed) as client:
        yield client


def _origin(model: str | None, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The option of `serve` for a model that can be opened or downloaded; None for another name."""
    if not model:
        return None
    if Path(model).expanduser().is_file():
        return "-m", str(Path(model).expanduser())
    if model.startswith(("http://", "https://")):
        return "--model-url", model
    try:
        return "-m", str(find(model, stored_models(folders_of(environ))).path)
    except UnknownModel:
        is_repository = model.count("/") == 1 and not model.startswith((".", "/"))
        return ("-hf", model) if is_repository else None


def _name_there(client: ServerClient, model: str | None) -> str | None:
    """The model's name on the server; the first model if none was named; None if it has not got
    the model."""
    if model is None:
        return next((str(entry["id"]) for entry in client.models()), None)
    return None if client.find(model) is None else model


def _unknown(
    running: ServerClient | None, asked: argparse.Namespace, environ: Mapping[str, str]
) -> CommandError:
    """The error of a model that neither a server has nor this machine."""
    if running is not None:
        return running.unknown(asked.model)
    url = client_of(asked.url, asked.api_key, environ).url
    return CommandError(
        f"no server runs at {url}, and {asked.model} is no file, URL, repository or "
        "stored model (llamapack list --all)"
    )


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is ours, and what follows `--` for a server of our own."""
    at = argv.index("--") if "--" in argv else len(argv)
    return list(argv[:at]), list(argv[at + 1 :])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llamapack run",
        usage="llamapack run [MODEL] [PROMPT] [flags] [-- OPTIONS]",
        description="Talk to a model in the terminal. MODEL is a name that a running server knows, "
        "or one of `llamapack list --all`, a GGUF file, a URL or a repository of the Hugging "
        "Face hub, for which a server is started that ends with the chat. With PROMPT or a piped "
        "text, print one answer.",
        epilog="OPTIONS are those of `llamapack serve`, such as -c 16384, for a server of its own.",
        allow_abbrev=False,
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="[the server's first model]")
    parser.add_argument("prompt", nargs="*", metavar="PROMPT", help="what to ask")
    parser.add_argument("--system", metavar="TEXT", help="the system prompt")
    parser.add_argument(
        "--set", nargs=2, action="append", metavar=("NAME", "VALUE"), help="a field of the requests"
    )
    parser.add_argument("--hide-thinking", action="store_true", help="show the answer alone")
    parser.add_argument("--stats", action="store_true", help="with PROMPT: print what it took")
    add_flags(parser)
    return parser
