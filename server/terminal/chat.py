"""A chat: questions that are typed or given, and answers that are shown as they come."""

from __future__ import annotations

import time
from collections.abc import Callable

from server.client.server_client import ServerClient
from server.startup import CommandError
from server.terminal.screen import Screen
from server.terminal.slash import Chat, obey
from server.terminal.stats import stats_of
from server.terminal.typed_lines import TypedLines


def talk(client: ServerClient, chat: Chat, lines: TypedLines, screen: Screen) -> None:
    """Ask what is typed until the user ends the chat.

    Ctrl-C stops the answer that is being shown, and drops a line that is being typed.
    """
    while not chat.has_ended:
        try:
            text = lines.read()
        except EOFError:
            chat.say("")
            return
        except KeyboardInterrupt:
            chat.say("\n/bye or Ctrl-D ends the chat")
            continue
        try:
            _take(client, chat, screen, text)
        except CommandError as error:
            screen.note(f"error: {error}")
        except KeyboardInterrupt:  # between two pieces of work of ours
            screen.note("stopped")


def _take(client: ServerClient, chat: Chat, screen: Screen, text: str) -> None:
    """Obey a command, or ask. Raises `CommandError`."""
    if text.startswith("/"):
        obey(chat, text)
        if not chat.asks_again:
            return
        chat.asks_again = False
    elif text.strip():
        chat.conversation.ask(text)
    else:
        return
    try:
        if not ask(client, chat, screen):
            screen.note("stopped")
    except CommandError:
        chat.conversation.take_back()  # it can be typed again, differently
        raise


def ask(client: ServerClient, chat: Chat, screen: Screen) -> bool:
    """Show the answer to the conversation's last question, and add it to the conversation.

    Returns whether the answer came to its end; Ctrl-C stops it. Raises `CommandError`.
    """
    content: list[str] = []
    watch = _Watch(time.monotonic)
    is_whole = False
    try:
        for chunk in client.chat(chat.conversation.body()):
            delta = _delta(chunk)
            if reasoning := delta.get("reasoning_content"):
                watch.see()
                screen.thinking(reasoning)
            if piece := delta.get("content"):
                watch.see()
                content.append(piece)
                screen.content(piece)
            if chunk.get("usage"):
                chat.stats = stats_of(chunk, watch.first, watch.now)
        is_whole = True
    except KeyboardInterrupt:
        pass
    finally:
        screen.end()
    chat.conversation.answer("".join(content))
    return is_whole


class _Watch:
    """Seconds since a question was asked."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begin = clock()
        self.first = 0.0
        """Until the first piece of the answer."""

    @property
    def now(self) -> float:
        return self._clock() - self._begin

    def see(self) -> None:
        self.first = self.first or self.now


def _delta(chunk: dict[str, object]) -> dict[str, str]:
    """What a chunk adds to the answer."""
    choices = chunk.get("choices")
    delta = choices[0].get("delta") if isinstance(choices, list) and choices else None
    return delta if isinstance(delta, dict) else {}
