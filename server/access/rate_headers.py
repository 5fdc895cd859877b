"""The `x-ratelimit-*` headers, as OpenAI's clients read them."""

from __future__ import annotations

import math

from server.access.account import Account

NAMES = tuple(
    f"x-ratelimit-{fact}-{what}"
    for what in ("requests", "tokens")
    for fact in ("limit", "remaining", "reset")
)


def rate_headers(account: Account, now: float) -> dict[str, str]:
    """Each limit of the account, what is left of it, and when all of it is back."""
    headers: dict[str, str] = {}
    for what, bucket in (("requests", account.requests), ("tokens", account.tokens)):
        if bucket is None:
            continue
        headers[f"x-ratelimit-limit-{what}"] = str(bucket.per_minute)
        headers[f"x-ratelimit-remaining-{what}"] = str(bucket.remaining(now))
        headers[f"x-ratelimit-reset-{what}"] = duration(bucket.seconds_until_full(now))
    return headers


def duration(seconds: float) -> str:
    """`6m0s`, `1.5s` or `20ms`, rounded up to milliseconds."""
    milliseconds = math.ceil(round(seconds * 1000, 3))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:g}s"
    return f"{minutes}m{text}" if minutes else text
