"""A conversation: what was said, the system prompt, and the fields of the requests."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server.startup import CommandError

_RESERVED = ("model", "messages", "stream", "stream_options", "n")
"""Fields that belong to the conversation itself."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass
class Conversation:
    """Grows by a question and its answer at a time."""

    model: str
    system: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    """Fields of a chat completion's body besides the messages, such as `temperature`."""
    messages: list[dict[str, str]] = field(default_factory=list)

    def ask(self, text: str) -> None:
        """Add a question."""
        self.messages.append({"role": "user", "content": text})

    def answer(self, text: str) -> None:
        """Add the answer to the last question."""
        self.messages.append({"role": "assistant", "content": text})

    def take_back(self) -> str:
        """Remove the last question and its answer. Returns the question; "" if there is none."""
        while self.messages:
            last = self.messages.pop()
            if last["role"] == "user":
                return last["content"]
        return ""

    def body(self) -> dict[str, Any]:
        """The body that asks for the next answer."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return {"model": self.model, **self.fields, "messages": [*system, *self.messages]}

    def set_field(self, name: str, text: str) -> None:
        """Set a field to a value in JSON, or to the text itself.

        The text "default" leaves the field to the server. Raises `CommandError`.
        """
        if name in _RESERVED or not _NAME.fullmatch(name):
            raise CommandError(f"{name} can't be set; try temperature, top_p, seed or max_tokens")
        if text == "default":
            self.fields.pop(name, None)
            return
        try:
            self.fields[name] = json.loads(text)
        except ValueError:
            self.fields[name] = text

    def save(self, path: Path) -> None:
        """Write the conversation. Raises `CommandError`."""
        content = {
            "model": self.model,
            "system": self.system,
            "fields": self.fields,
            "messages": self.messages,
        }
        try:
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
        except OSError as error:
            raise CommandError(f"can't write {path}: {error.strerror}") from None

    def load(self, path: Path) -> None:
        """Replace all but the model by a saved conversation. Raises `CommandError`."""
        try:
            content = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise CommandError(f"can't read {path}: {error.strerror}") from None
        except ValueError:
            raise CommandError(f"{path} is no conversation") from None
        if not _is_conversation(content):
            raise CommandError(f"{path} is no conversation")
        self.system = content["system"]
        self.fields = content["fields"]
        self.messages = content["messages"]


def _is_conversation(content: Any) -> bool:
    if not isinstance(content, dict):
        return False
    messages, fields = content.get("messages"), content.get("fields")
    return (
        isinstance(content.get("system"), str)
        and isinstance(fields, dict)
        and not any(name in _RESERVED for name in fields)
        and isinstance(messages, list)
        and all(_is_message(message) for message in messages)
    )


def _is_message(message: Any) -> bool:
    return (
        isinstance(message, dict)
        and set(message) == {"role", "content"}
        and message["role"] in ("user", "assistant")
        and isinstance(message["content"], str)
    )
