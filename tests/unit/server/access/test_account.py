"""The quota of one key, and the headers that show it."""

from __future__ import annotations

import pytest

from server.access.account import Account
from server.access.key import KeyQuota
from server.access.rate_headers import NAMES, duration, rate_headers
from server.errors import Forbidden, Overloaded


def test_requests_are_limited() -> None:
    account = Account(KeyQuota(requests_per_minute=2), now=0)
    account.begin(0)
    account.begin(0)
    with pytest.raises(Overloaded, match="2 requests a minute") as caught:
        account.begin(0)
    assert caught.value.retry_after == 30
    assert account.running == 2
    account.begin(30)


def test_a_refused_request_uses_nothing_up() -> None:
    account = Account(KeyQuota(requests_per_minute=5, max_concurrent=1), now=0)
    account.begin(0)
    with pytest.raises(Overloaded, match="1 requests at once"):
        account.begin(0)
    assert rate_headers(account, 0)["x-ratelimit-remaining-requests"] == "4"
    account.end()
    account.begin(0)


def test_tokens_are_limited_before_the_queue_and_counted_after() -> None:
    account = Account(KeyQuota(tokens_per_minute=60), now=0)
    account.check_tokens(60, 0)
    account.use_tokens(50, 0)
    with pytest.raises(Overloaded, match="60 tokens a minute") as caught:
        account.check_tokens(20, 0)
    assert caught.value.retry_after == 10
    account.use_tokens(70, 0)
    with pytest.raises(Overloaded) as caught:
        account.begin(0)
    assert caught.value.retry_after == 61


def test_a_prompt_above_a_minutes_worth_can_never_come() -> None:
    account = Account(KeyQuota(tokens_per_minute=60), now=0)
    with pytest.raises(Forbidden, match="61 tokens, but this key may use 60") as caught:
        account.check_tokens(61, 0)
    assert caught.value.param == "prompt"


def test_without_limits_nothing_is_refused_or_told() -> None:
    account = Account(KeyQuota(), now=0)
    for _ in range(1000):
        account.begin(0)
    account.check_tokens(10**9, 0)
    account.use_tokens(10**9, 0)
    assert rate_headers(account, 0) == {}


def test_limits_can_change_while_requests_run() -> None:
    account = Account(KeyQuota(requests_per_minute=2), now=0)
    account.begin(0)
    account.change(KeyQuota(requests_per_minute=3, tokens_per_minute=9), 0)
    headers = rate_headers(account, 0)
    assert set(headers) == set(NAMES)
    assert headers["x-ratelimit-remaining-requests"] == "2"
    assert headers["x-ratelimit-remaining-tokens"] == "9"
    assert headers["x-ratelimit-reset-requests"] == "20s"
    account.change(KeyQuota(), 0)
    assert rate_headers(account, 0) == {}
    assert account.running == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.0004, "1ms"),
        (0.02, "20ms"),
        (1.0, "1s"),
        (1.5, "1.5s"),
        (59.9999, "1m0s"),
        (360, "6m0s"),
        (3725.25, "62m5.25s"),
    ],
)
def test_durations_look_like_openais(seconds: float, text: str) -> None:
    assert duration(seconds) == text
