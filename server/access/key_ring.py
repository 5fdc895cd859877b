"""All keys that open the server, and the accounts that go with them."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from config import ConfigError, ServeSettings, file_settings
from server.access.account import Account
from server.access.key import ApiKey, digest_of
from server.access.keys_file import UNNAMED, parse_keys


@dataclass(frozen=True, slots=True)
class KeyAccount:
    """A key and what was used with it."""

    key: ApiKey
    account: Account


class KeyRing:
    """Finds the holder of a key. Without any key the server is open to all."""

    def __init__(self, keys: Sequence[ApiKey] = (), now: float = 0.0) -> None:
        self._holders: tuple[KeyAccount, ...] = ()
        self.replace(keys, now)

    @property
    def is_empty(self) -> bool:
        """Whether everybody may come in."""
        return not self._holders

    def __len__(self) -> int:
        return len(self._holders)

    def find(self, given: bytes) -> KeyAccount | None:
        """Whose key this is; how long it takes tells nothing about the keys."""
        digest = digest_of(given)
        found: KeyAccount | None = None
        for holder in self._holders:
            # No way out of the loop: all keys are compared, each in constant time.
            if hmac.compare_digest(digest, holder.key.digest):
                found = holder
        return found

    def replace(self, keys: Sequence[ApiKey], now: float) -> None:
        """Other keys from now on; accounts go on under the names that stay."""
        accounts = {holder.key.name: holder.account for holder in self._holders}
        holders = []
        for key in keys:
            account = accounts.get(key.name)
            if account is None:
                account = Account(key.limits, now)
            else:
                account.change(key.limits, now)
            holders.append(KeyAccount(key, account))
        self._holders = tuple(holders)


def read_keys(settings: ServeSettings) -> list[ApiKey]:
    """The keys of flags and files, the unnamed ones without limits.

    Raises `ConfigError`, one line, for a file that can't be read or a key that occurs twice.
    """
    plain: dict[bytes, ApiKey] = {}
    lines = file_settings.api_key_lines(settings)
    for source, texts in ((UNNAMED, settings.api_key), (f"{UNNAMED}file-", lines)):
        for number, text in enumerate(texts, 1):
            key = ApiKey(name=f"{source}{number}", digest=digest_of(text.encode()))
            plain.setdefault(key.digest, key)
    keys = list(plain.values())
    if settings.api_keys_toml is not None:
        keys += parse_keys(file_settings.api_keys_toml(settings), settings.api_keys_toml)
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
