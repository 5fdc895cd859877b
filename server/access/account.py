"""What one key has used of its limits."""

from __future__ import annotations

import math

from server.access.key import KeyQuota
from server.access.token_bucket import TokenBucket
from server.errors import Forbidden, Overloaded

RETRY_WHEN_BUSY = 1
"""Seconds after which to retry when too many requests run at once: one may end any moment."""


class Account:
    """The limits of one key and how far they are used up. Pure; time is passed in."""

    def __init__(self, limits: KeyQuota, now: float) -> None:
        self.limits = limits
        self.requests = _bucket(None, limits.requests_per_minute, now)
        self.tokens = _bucket(None, limits.tokens_per_minute, now)
        self.running = 0

    def change(self, limits: KeyQuota, now: float) -> None:
        """Other limits from now on; what was used stays used."""
        self.limits = limits
        self.requests = _bucket(self.requests, limits.requests_per_minute, now)
        self.tokens = _bucket(self.tokens, limits.tokens_per_minute, now)

    def begin(self, now: float) -> None:
        """Count one more request, which `end` must follow. Raises `Overloaded`."""
        most = self.limits.max_concurrent
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
        """A request that began is over."""
        self.running -= 1

    def check_tokens(self, amount: int, now: float) -> None:
        """Raise `Overloaded`, or `Forbidden` if there can never be so many at once."""
        limit = self.limits.tokens_per_minute
        if limit is not None and amount > limit:
            raise Forbidden(
                f"the prompt has {amount} tokens, but this key may use {limit} a minute",
                param="prompt",
            )
        _require(self.tokens, amount, now, "tokens")

    def use_tokens(self, amount: int, now: float) -> None:
        """Count tokens of a prompt or an answer; answers may run into debt."""
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
