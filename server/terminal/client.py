"""Asks a server over HTTP, as any client does."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from server.launch.remote import opener
from server.terminal.errors import AnswerError, TerminalError

TIMEOUT = 30.0
"""Seconds that a short question may take."""

PATIENCE_SECONDS = 900.0
"""Seconds without a byte after which an answer, or a model that loads, is given up."""

_REFUSED = (401, 403)
_Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ServerClient:
    """A server that runs at `url`, without a slash at its end and without `/v1`."""

    url: str
    key: str = ""

    def models(self) -> list[_Json]:
        """The models that the server knows. Raises `TerminalError`."""
        try:
            data = self._json("/models")["data"]
            return [entry for entry in data if isinstance(entry["id"], str)]
        except (LookupError, TypeError):
            raise TerminalError(f"{self.url}/models lists no models: no llamapack?") from None

    def load(self, model: str) -> None:
        """Ask for a model to be loaded. Some servers answer before it is."""
        self._json("/models/load", {"model": model}, PATIENCE_SECONDS)

    def unload(self, model: str) -> None:
        """Ask for a model to be unloaded. Some servers answer before it is."""
        self._json("/models/unload", {"model": model}, PATIENCE_SECONDS)

    def chat(self, body: Mapping[str, Any]) -> Iterator[_Json]:
        """The chunks of a streamed answer, as they come.

        To close the iterator is to leave: the server stops computing. Raises `AnswerError`.
        """
        asked = {"stream": True, "stream_options": {"include_usage": True}, **body}
        with self._open("/v1/chat/completions", asked, PATIENCE_SECONDS) as answer:
            try:
                yield from _events(answer)
            except (OSError, http.client.HTTPException) as error:
                raise AnswerError(f"the answer broke off: {error}") from None

    def _json(
        self, path: str, body: Mapping[str, Any] | None = None, timeout: float = TIMEOUT
    ) -> _Json:
        with self._open(path, body, timeout) as answer:
            try:
                content: _Json = json.load(answer)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise TerminalError(f"{self.url}{path} can't be read: {error}") from None
        return content

    def _open(self, path: str, body: Mapping[str, Any] | None, timeout: float) -> Any:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers)
        try:
            return opener(self.url).open(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            raise self._refusal(error, path) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise TerminalError(f"no server answers at {self.url}: {reason}") from None

    def _refusal(self, error: urllib.error.HTTPError, path: str) -> TerminalError:
        with error:
            if error.code in _REFUSED:
                return TerminalError(f"the server at {self.url} wants another key: see --api-key")
            if message := _message(error.read()):
                return AnswerError(message)
        return AnswerError(f"{self.url}{path} answers {error.code}")


def _events(answer: Any) -> Iterator[_Json]:
    """The data of server-sent events, until the last one. Raises `AnswerError` for an error."""
    for line in answer:
        name, _, text = line.decode("utf-8", "replace").partition(":")
        if name not in ("data", "error"):
            continue
        if text.strip() == "[DONE]":
            return
        try:
            event = json.loads(text)
        except ValueError:
            raise AnswerError("the server sends what is no JSON") from None
        if name == "error" or "error" in event:
            raise AnswerError(_message(text.encode()) or "the server broke off the answer")
        yield event


def _message(body: bytes) -> str:
    """The text of an error, or an empty one."""
    try:
        content = json.loads(body)
        error = content.get("error", content)
        return str(error if isinstance(error, str) else error["message"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
