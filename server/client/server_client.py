"""A server that runs, as its clients see it: what they ask over HTTP, and what goes wrong."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from server.client.addresses import is_loopback
from server.client.errors import AnswerError
from server.startup import CommandError

TIMEOUT = 30.0
"""Seconds that a short question may take."""

HEALTH_TIMEOUT = 10.0
"""Seconds that the question may take whether a server is there."""

PATIENCE_SECONDS = 900.0
"""Seconds without a byte after which an answer, or a model that loads, is given up."""

POLL_SECONDS = 0.1
"""Time between two questions whether the server is ready."""

_READY, _LOADING = 200, 503
_REFUSED = (401, 403)
_LATEST = ":latest"

Entry = Mapping[str, Any]
"""A model as `/v1/models` lists it."""
_Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ServerClient:
    """A server that runs at `url`, without a slash at its end and without `/v1`."""

    url: str
    key: str = ""

    def is_there(self) -> bool:
        """Whether a server answers, ready or not."""
        try:
            return self._health() is not None
        except CommandError:
            return False

    def wait_ready(self, check: Callable[[], None] | None = None) -> None:
        """Return when the server's model is loaded.

        `check` raises if there is no hope; by default it does if nobody answers. Raises
        `CommandError`, also if something else than a server of models answers.
        """
        check = self._check_there if check is None else check
        while self._health() != _READY:
            check()
            time.sleep(POLL_SECONDS)

    def models(self) -> list[Entry]:
        """The models that the server knows. Raises `CommandError`."""
        try:
            data = self._json("/v1/models")["data"]
            return [entry for entry in data if isinstance(entry["id"], str)]
        except (LookupError, TypeError):
            raise CommandError(f"{self.url}/v1/models lists no models: no llamapack?") from None

    def find(self, model: str) -> Entry | None:
        """The model that has this name, with or without `:latest`. Raises `CommandError`."""
        entries = self.models()
        for name in (model, model.removesuffix(_LATEST), f"{model}{_LATEST}"):
            for entry in entries:
                if name == entry["id"] or name in entry.get("aliases", ()):
                    return entry
        return None

    def get(self, model: str) -> Entry:
        """The same. Raises `CommandError` with the names that there are, if none has the name."""
        entry = self.find(model)
        if entry is None:
            raise self.unknown(model)
        return entry

    def unknown(self, model: str | None) -> CommandError:
        """The error of a model that the server has not got."""
        names = ", ".join(entry["id"] for entry in self.models())
        known = f"it has: {names or 'none'}"
        return CommandError(f"the server at {self.url} has no model {model}; {known}")

    def context_of(self, model: str) -> int | None:
        """Tokens of a slot of the model, which is loaded for this answer. Raises `CommandError`."""
        path = f"/props?model={quote(model, safe='')}"
        try:
            context = self._json(path, timeout=PATIENCE_SECONDS)["default_generation_settings"]
            return int(context["n_ctx"])
        except (LookupError, TypeError, ValueError):
            return None

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

    def _health(self) -> int | None:
        """200 if the model is loaded, 503 if not yet, None if nobody listens."""
        try:
            with self._send("/health", None, HEALTH_TIMEOUT):
                return _READY
        except urllib.error.HTTPError as error:
            if error.code == _LOADING:
                return _LOADING
            raise CommandError(f"{self.url}/health answers {error.code}: no llamapack?") from None
        except http.client.HTTPException:
            raise CommandError(f"what listens on {self.url} does not speak HTTP") from None
        except OSError:
            return None

    def _check_there(self) -> None:
        if not self.is_there():
            raise CommandError(f"no server answers at {self.url}")

    def _json(
        self, path: str, body: Mapping[str, Any] | None = None, timeout: float = TIMEOUT
    ) -> _Json:
        with self._open(path, body, timeout) as answer:
            try:
                content: _Json = json.load(answer)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise CommandError(f"{self.url}{path} can't be read: {error}") from None
        return content

    def _open(self, path: str, body: Mapping[str, Any] | None, timeout: float) -> Any:
        try:
            return self._send(path, body, timeout)
        except urllib.error.HTTPError as error:
            raise self._refusal(error, path) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise CommandError(f"no server answers at {self.url}: {reason}") from None

    def _send(self, path: str, body: Mapping[str, Any] | None, timeout: float) -> Any:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers)
        # Proxies are for other machines.
        proxies: dict[str, str] | None = {} if is_loopback(self.url) else None
        opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
        return opener.open(request, timeout=timeout)

    def _refusal(self, error: urllib.error.HTTPError, path: str) -> CommandError:
        with error:
            if error.code in _REFUSED:
                return CommandError(f"the server at {self.url} wants another key: see --api-key")
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
