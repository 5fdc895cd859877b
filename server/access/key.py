"""An API key as the server knows it: its digest, its name and its rights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from server.access import cache_owner
from server.errors import Forbidden

DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class KeyQuota:
    """The limits of one key; None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """Prompt and generated tokens together."""
    max_concurrent: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key's name, which logs may show, and its rights."""

    name: str
    has_own_name: bool = True
    """Whether the operator named it; other names are numbers of lines, which may change."""
    digest: bytes = field(repr=False)
    quota: KeyQuota = KeyQuota()
    weight: float = 1.0
    """Share of a full server: a key of weight 2 gets twice as much as one of weight 1."""
    max_priority: int | None = None
    """The highest `priority` that its requests may ask for; None is any."""
    models: frozenset[str] | None = None
    """Names of models that it may generate with; None is all."""
    is_admin: bool = True
    cache_owner: str | None = None
    """Keys with the same owner share cached prefixes. None is the key alone, told by its secret."""

    def check_admin(self) -> None:
        """Raise `Forbidden` unless this key may change the server."""
        if not self.is_admin:
            raise Forbidden(f"the key {self.name!r} may not change the server; an admin's key may")

    def check_priority(self, priority: int) -> None:
        """Raise `Forbidden` if the priority is above the key's highest."""
        if self.max_priority is not None and priority > self.max_priority:
            raise Forbidden(
                f"'priority' must be at most {self.max_priority} for the key {self.name!r} "
                f"(got {priority})",
                param="priority",
            )

    def may_use(self, names: frozenset[str]) -> bool:
        """Whether one of the names of a model is allowed."""
        return self.models is None or bool(self.models & names)

    def check_model(self, names: frozenset[str]) -> None:
        """Raise `Forbidden` unless one of the names of the served model is allowed."""
        if not self.may_use(names):
            raise Forbidden(f"the key {self.name!r} may not use this model", param="model")

    @property
    def owner(self) -> str:
        """Whose this key's own things are, over restarts and changes of the keys."""
        return cache_owner.of_key(self.name) if self.has_own_name else self._secret_owner

    @property
    def _secret_owner(self) -> str:
        return cache_owner.of_secret(self.digest)

    def salt(self, given: str) -> str:
        """The salt of the key's cached prefixes; `given` is the salt of the request."""
        owner = self.cache_owner
        if owner is None:
            owner = self._secret_owner
        return cache_owner.salt_of(owner, given)


def digest_of(key: bytes) -> bytes:
    """A digest has one length for all keys, so comparing digests tells no key's length."""
    return hashlib.sha256(key).digest()
