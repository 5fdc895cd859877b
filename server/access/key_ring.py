"""All API keys of the server, and what was used with each."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from config import ConfigError, ServeSettings, file_settings
from server.access import cache_owner
from server.access.account import Account
from server.access.key import ApiKey, digest_of
from server.access.keys_file import UNNAMED, parse_keys


@dataclass(frozen=True, slots=True)
class KeyAccount:
    """A key and what was used with it."""

    key: ApiKey
    account: Account


class KeyRing:
    """Finds a key and its account. Without any key the server is open to everybody."""

    def __init__(self, keys: Sequence[ApiKey] = (), now: float = 0.0) -> None:
        self._accounts: tuple[KeyAccount, ...] = ()
        self.replace(keys, now)

    @property
    def is_empty(self) -> bool:
        """Whether there are no keys, so that everybody may use the server."""
        return not self._accounts

    def __len__(self) -> int:
        return len(self._accounts)

    def find(self, given: bytes) -> KeyAccount | None:
        """The key with these bytes. The time that this takes tells nothing about the keys."""
        digest = digest_of(given)
        found: KeyAccount | None = None
        for entry in self._accounts:
            # The loop has no early exit: all keys are compared, each in constant time.
            if hmac.compare_digest(digest, entry.key.digest):
                found = entry
        return found

    def replace(self, keys: Sequence[ApiKey], now: float) -> None:
        """Set other keys. A key keeps the account of the earlier key of its name."""
        before = {entry.key.name: entry.account for entry in self._accounts}
        entries = []
        for key in keys:
            account = before.get(key.name)
            if account is None:
                account = Account(key.quota, now)
            else:
                account.change(key.quota, now)
            entries.append(KeyAccount(key, account))
        self._accounts = tuple(entries)


def read_keys(settings: ServeSettings) -> list[ApiKey]:
    """The keys of flags and files; unnamed keys have no quota.

    Raises `ConfigError`, one line, for a file that can't be read or a key that occurs twice.
    """
    plain: dict[bytes, ApiKey] = {}
    lines = file_settings.api_key_lines(settings)
    shares = settings.cache_sharing == "all"
    owner = cache_owner.EVERYBODY if shares else None
    for source, texts in ((UNNAMED, settings.api_key), (f"{UNNAMED}file-", lines)):
        for number, text in enumerate(texts, 1):
            digest = digest_of(text.encode())
            name = f"{source}{number}"
            key = ApiKey(name=name, has_own_name=False, digest=digest, cache_owner=owner)
            plain.setdefault(key.digest, key)
    keys = list(plain.values())
    if settings.api_keys_toml is not None:
        content = file_settings.api_keys_toml(settings)
        keys += parse_keys(content, settings.api_keys_toml, shares=shares)
        _check_unique(keys, settings)
    return keys


def _check_unique(keys: Sequence[ApiKey], settings: ServeSettings) -> None:
    names: dict[bytes, str] = {}
    for key in keys:
        other = names.setdefault(key.digest, key.name)
        if other != key.name:
            raise ConfigError(
                f"{settings.api_keys_toml}: keys.{key.name}: is the same key as {other}"
            )
