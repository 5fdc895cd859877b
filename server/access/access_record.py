"""The record of one HTTP request: whose key it has, and what its answers cost."""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.access.account import Account
from server.access.key import ApiKey

_STATE_KEY = "access_record"


@dataclass(slots=True)
class AccessRecord:
    """Filled by the middleware and while answers stream; times are monotonic seconds."""

    started: float = field(default_factory=time.monotonic)
    is_audited: bool = False
    """Whether an audit line is written from the record."""
    key: ApiKey | None = None
    account: Account | None = None
    holds_place: bool = False
    """Whether the request counts against the key's `max_concurrent`."""
    model: str = ""
    prompt_text: Callable[[Sequence[int]], str] | None = None
    """Makes text of the tokens of the prompts."""
    charged: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """The tokens of each prompt that was charged, by the tuple's identity."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    first_token: float | None = None
    """When the first token of any answer came."""
    causes: list[str] = field(default_factory=list)
    """How each answer ended: a `StopCause` or the type of an error."""
    num_users: int = 1
    """The request itself, and work that goes on after its end."""
    on_over: Callable[[], None] = lambda: None
    """Called when nothing is left to record."""

    @property
    def tenant(self) -> str:
        """Whose request it is, in queues: the key's name, or "" without a key."""
        return "" if self.key is None else self.key.name

    @property
    def is_admin(self) -> bool:
        """Whether the request may change the server. Without keys, all may."""
        return self.key is None or self.key.is_admin

    def check_admin(self) -> None:
        """Raise `Forbidden` unless the request may change the server."""
        if self.key is not None:
            self.key.check_admin()

    def check_model(self, names: frozenset[str]) -> None:
        """Raise `Forbidden` unless the request may use the model with these names."""
        if self.key is not None:
            self.key.check_model(names)

    def may_use(self, names: frozenset[str]) -> bool:
        """Whether the request may use the model with these names."""
        return self.key is None or self.key.may_use(names)

    def prompt_cost(self, prompt: tuple[int, ...]) -> int:
        """Tokens to charge for a prompt; 0 if the prompt was charged already.

        Several answers to one prompt share the same tuple, so identity tells.
        """
        return 0 if id(prompt) in self.charged else len(prompt)

    def salt(self, given: str) -> str:
        """The salt of the request's cached prefixes; `given` is the salt of its body."""
        return given if self.key is None else self.key.salt(given)

    def enter(self, now: float) -> None:
        """Count the request against the key's quota. Raises `Overloaded`."""
        if self.account is not None:
            self.account.begin(now)
            self.holds_place = True

    def stay(self) -> None:
        """Go on when the request ends, for work that has one more `leave`."""
        self.num_users += 1

    def leave(self) -> None:
        """End the request, or work that has stayed. The last one frees the key's place."""
        self.num_users -= 1
        if self.num_users:
            return
        if self.account is not None and self.holds_place:
            self.account.end()
            self.holds_place = False
        self.on_over()


def access_record(scope: MutableMapping[str, Any]) -> AccessRecord:
    """The record of an ASGI scope; the first call makes the record."""
    state: dict[str, Any] = scope.setdefault("state", {})
    record: AccessRecord = state.get(_STATE_KEY) or state.setdefault(_STATE_KEY, AccessRecord())
    return record
