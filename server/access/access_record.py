"""One HTTP request as far as access goes: who came, and what it cost."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

from server.access.account import Account
from server.access.key import ApiKey

_STATE_KEY = "visit"


@dataclass(slots=True)
class AccessRecord:
    """Filled by the middleware and by the generator on its way; times are monotonic seconds."""

    started: float = field(default_factory=time.monotonic)
    is_audited: bool = False
    """Whether somebody will read the counts."""
    key: ApiKey | None = None
    account: Account | None = None
    holds_place: bool = False
    """Whether it counts among the requests that the key has at once."""
    model: str = ""
    prompts: list[tuple[int, ...]] = field(default_factory=list)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    first_token: float | None = None
    causes: list[str] = field(default_factory=list)
    """How its answers ended, in the words of `StopCause` and of error types."""

    def prompt_cost(self, prompt: tuple[int, ...]) -> int:
        """Tokens to charge for a prompt: several answers to one prompt share its very tuple, and
        the prompt costs once."""
        return 0 if any(prompt is charged for charged in self.prompts) else len(prompt)

    def enter(self, now: float) -> None:
        """Take one of the places that the key has. Raises `Overloaded`."""
        if self.account is not None:
            self.account.begin(now)
            self.holds_place = True

    def leave(self) -> None:
        """Give the place back."""
        if self.account is not None and self.holds_place:
            self.account.end()
            self.holds_place = False


def access_record(scope: MutableMapping[str, Any]) -> AccessRecord:
    """The visit of an ASGI scope, which is made when first asked for."""
    state: dict[str, Any] = scope.setdefault("state", {})
    visit: AccessRecord = state.get(_STATE_KEY) or state.setdefault(_STATE_KEY, AccessRecord())
    return visit
