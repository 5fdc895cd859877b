"""What one key has used of its quota."""

from __future__ import annotations

import math

from server.access.key import KeyQuota
from server.access.token_bucket import TokenBucket
from server.errors import Forbidden, Overloaded

RETRY_WHEN_BUSY = 1
"""Told to a key with too many requests at once: one of them may end at any moment."""


class Account:
    """The quota of one key and what is left of it. Pure; times are monotonic seconds."""

    def __init__(self, quota: KeyQuota, now: float) -> None:
        self.quota = quota
        self.requests = _bucket(None, quota.requests_per_minute, now)
        self.tokens = _bucket(None, quota.tokens_per_minute, now)
        self.running = 0

    def change(self, quota: KeyQuota, now: float) -> None:
        """Set another quota; what was used stays used."""
        self.quota = quota
        self.requests = _bucket(self.requests, quota.requests_per_minute, now)
        self.tokens = _bucket(self.tokens, quota.tokens_per_minute, now)

    def begin(self, now: float) -> None:
        """Count one more request; `end` must follow. Raises `Overloaded`."""
        most = self.quota.max_concurrent
        if most is not None and self.running >= most:
            raise Overloaded(
                f"this key may have {most} requests at once, and has them",
                retry_after=RETRY_WHEN_BUSY,
            )
        _require(self.requests, 1, now, "requests")
        _require(self.tokens, 1, now, "tokens")
        if self.requests is not None:
            self.requests.take(1, now)
        self.running += 1

    def end(self) -> None:
        """Count one request less."""
        self.running -= 1

    def check_tokens(self, amount: int, now: float) -> None:
        """Raise `Overloaded` unless `amount` tokens are left.

        Raises `Forbidden` if the quota of a minute is less than `amount`.
        """
        limit = self.quota.tokens_per_minute
        if limit is not None and amount > limit:
            raise Forbidden(
                f"the prompt has {amount} tokens, but this key may use {limit} a minute",
                param="prompt",
            )
        _require(self.tokens, amount, now, "tokens")

    def use_tokens(self, amount: int, now: float) -> None:
        """Count tokens of a prompt or an answer. An answer may use more than is left."""
        if self.tokens is not None:
            self.tokens.take(amount, now)


def _bucket(old: TokenBucket | None, per_minute: int | None, now: float) -> TokenBucket | None:
    if per_minute is None:
        return None
    if old is None:
        return TokenBucket(per_minute, now)
    old.resize(per_minute, now)
    return old


def _require(bucket: TokenBucket | None, amount: int, now: float, what: str) -> None:
    seconds = 0.0 if bucket is None else bucket.seconds_until(amount, now)
    if bucket is not None and seconds > 0:
        raise Overloaded(
            f"this key may use {bucket.per_minute} {what} a minute, and has used them",
            retry_after=max(math.ceil(seconds), 1),
        )
