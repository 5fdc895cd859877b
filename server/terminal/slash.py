"""The commands of a chat, such as /set; each is a line that begins with a slash."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from server.startup import CommandError
from server.terminal.conversation import Conversation
from server.terminal.stats import Stats

_DEFAULT = "is the server's default"


@dataclass
class Chat:
    """What commands can see and change."""

    conversation: Conversation
    say: Callable[[str], None]
    """Shows a line of ours."""
    stats: Stats | None = None
    """Those of the last answer."""
    has_ended: bool = False
    asks_again: bool = False
    """Whether the last question is to be asked again."""


@dataclass(frozen=True, slots=True)
class _Slash:
    usage: str
    summary: str
    run: Callable[[Chat, str], None]


def obey(chat: Chat, line: str) -> None:
    """Carry out a line that begins with a slash. Raises `CommandError`."""
    word, _, rest = line.strip().partition(" ")
    command = _COMMANDS.get(_SAME.get(word, word))
    if command is None:
        raise CommandError(f"there is no {word}; /help lists what there is")
    command.run(chat, rest.strip())


def words() -> Sequence[str]:
    """All commands."""
    return [*_COMMANDS, *_SAME]


def _help(chat: Chat, _: str) -> None:
    width = max(len(command.usage) for command in _COMMANDS.values())
    for command in _COMMANDS.values():
        chat.say(f"{command.usage:<{width}}  {command.summary}")
    chat.say("")
    chat.say('Several lines: begin with """ and end with """, or end a line with \\.')
    chat.say("Ctrl-C stops an answer, Ctrl-D ends the chat.")


def _set(chat: Chat, text: str) -> None:
    name, _, value = text.partition(" ")
    fields = chat.conversation.fields
    if value.strip():
        chat.conversation.set_field(name, value.strip())
    if not name:
        shown = [f"{key} {_shown(fields[key])}" for key in sorted(fields)]
        for line in shown or ["nothing is set: the server's defaults hold"]:
            chat.say(line)
    else:
        chat.say(f"{name} {_shown(fields[name]) if name in fields else _DEFAULT}")


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _system(chat: Chat, text: str) -> None:
    if text:
        chat.conversation.system = "" if text == '""' else text
        chat.say("the system prompt is set" if chat.conversation.system else "no system prompt")
    else:
        chat.say(chat.conversation.system or "no system prompt")


def _clear(chat: Chat, _: str) -> None:
    chat.conversation.messages.clear()
    chat.say("the conversation is forgotten")


def _file(text: str) -> Path:
    if not text:
        raise CommandError("name a file")
    return Path(text).expanduser()


def _save(chat: Chat, text: str) -> None:
    path = _file(text)
    chat.conversation.save(path)
    chat.say(f"saved to {path}")


def _load(chat: Chat, text: str) -> None:
    path = _file(text)
    chat.conversation.load(path)
    count = len(chat.conversation.messages)
    chat.say(f"loaded {count} messages from {path}")


def _stats(chat: Chat, _: str) -> None:
    chat.say(chat.stats.line() if chat.stats else "there was no answer yet")


def _retry(chat: Chat, _: str) -> None:
    question = chat.conversation.take_back()
    if not question:
        raise CommandError("there is no question to ask again")
    chat.conversation.ask(question)
    chat.asks_again = True


def _bye(chat: Chat, _: str) -> None:
    chat.has_ended = True


_COMMANDS = {
    "/help": _Slash("/help", "this list", _help),
    "/set": _Slash("/set [NAME [VALUE]]", "a field of the requests, such as temperature", _set),
    "/system": _Slash("/system [TEXT]", 'the system prompt; "" removes it', _system),
    "/clear": _Slash("/clear", "forget the conversation", _clear),
    "/retry": _Slash("/retry", "ask the last question again", _retry),
    "/save": _Slash("/save FILE", "write the conversation to a file", _save),
    "/load": _Slash("/load FILE", "go on with a saved conversation", _load),
    "/stats": _Slash("/stats", "what the last answer took", _stats),
    "/bye": _Slash("/bye", "end the chat", _bye),
}
_SAME = {"/?": "/help", "/exit": "/bye", "/quit": "/bye"}
