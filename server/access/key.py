"""An API key as the server knows it: never the key itself, only its digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from server.errors import Forbidden

DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class KeyQuota:
    """What one key may use; None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """Prompt and generated tokens together."""
    max_concurrent: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key's name, which logs may show, and its rights."""

    name: str
    digest: bytes = field(repr=False)
    limits: KeyQuota = KeyQuota()
    weight: float = 1.0
    """Share of a full server: 2 gets twice as much as 1."""
    max_priority: int | None = None
    """The highest `priority` that its requests may ask for; None is any."""
    models: frozenset[str] | None = None
    """Names of models that it may generate with; None is all."""
    is_admin: bool = True
    is_isolated: bool = False
    """Whether its cached prefixes are kept apart from everybody else's."""

    def check_admin(self) -> None:
        """Raise `Forbidden` unless this key may change the server."""
        if not self.is_admin:
            raise Forbidden(f"the key {self.name!r} may not change the server; an admin's key may")

    def check_priority(self, priority: int) -> None:
        """Raise `Forbidden` if a request of this key asks to be served too early."""
        if self.max_priority is not None and priority > self.max_priority:
            raise Forbidden(
                f"'priority' must be at most {self.max_priority} for the key {self.name!r} "
                f"(got {priority})",
                param="priority",
            )

    def check_model(self, names: frozenset[str]) -> None:
        """Raise `Forbidden` unless one of the names of the served model is allowed."""
        if self.models is not None and not self.models & names:
            raise Forbidden(f"the key {self.name!r} may not use this model", param="model")

    def salt(self, given: str) -> str:
        """What keeps its prefixes apart; no client can give a salt with such characters."""
        return f"\0{self.name}\0{given}" if self.is_isolated else given


def digest_of(key: bytes) -> bytes:
    """Of one length for all keys, so that comparing doesn't tell theirs."""
    return hashlib.sha256(key).digest()
