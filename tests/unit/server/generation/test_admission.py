"""Which requests are admitted, and when refused ones should come back."""

from __future__ import annotations

import pytest

from server.errors import Overloaded
from server.generation.admission import MAX_RETRY_SECONDS, Admission


def ask(
    admission: Admission,
    in_flight: int,
    *,
    tokens: int = 10,
    queued_tokens: int = 0,
    now: float = 0.0,
    **kinds: bool,
) -> None:
    admission.check(
        tokens, in_flight=in_flight, n_slots=4, queued_tokens=queued_tokens, now=now, **kinds
    )


def test_slots_and_queue_fill_up_and_no_more() -> None:
    admission = Admission(max_queue=2)
    for in_flight in range(6):
        ask(admission, in_flight)
    with pytest.raises(Overloaded):
        ask(admission, 6)


def test_without_a_queue_the_slots_can_still_be_used() -> None:
    admission = Admission(max_queue=0)
    ask(admission, 3)
    with pytest.raises(Overloaded):
        ask(admission, 4)


def test_a_key_of_which_nothing_waits_may_wait_in_a_full_queue() -> None:
    ask(Admission(max_queue=2), 6, is_first=True)
    ask(Admission(max_queue=2, max_queue_tokens=10), 5, queued_tokens=10, is_first=True)


def test_without_a_queue_no_key_has_a_place_in_it() -> None:
    with pytest.raises(Overloaded):
        ask(Admission(max_queue=0), 4, is_first=True)


def test_who_was_let_in_before_is_only_asked_for_its_tokens() -> None:
    admission = Admission(max_queue=2, max_queue_tokens=1000)
    ask(admission, 6, tokens=400, queued_tokens=600, holds_place=True)
    with pytest.raises(Overloaded):
        ask(admission, 6, tokens=401, queued_tokens=600, holds_place=True)


def test_waiting_prompts_are_bounded_by_their_tokens() -> None:
    admission = Admission(max_queue=100, max_queue_tokens=1000)
    ask(admission, 5, tokens=400, queued_tokens=600)
    with pytest.raises(Overloaded):
        ask(admission, 5, tokens=401, queued_tokens=600)


def test_a_prompt_larger_than_the_bound_may_wait_alone() -> None:
    ask(Admission(max_queue=100, max_queue_tokens=1000), 4, tokens=5000, queued_tokens=0)


def test_retry_after_follows_the_rate_at_which_requests_end() -> None:
    admission = Admission(max_queue=2)
    for second in range(0, 20, 2):  # one every two seconds
        admission.finished(float(second))
    with pytest.raises(Overloaded) as refusal:
        ask(admission, 6, now=20.0)
    assert refusal.value.retry_after == 4  # two wait
    assert refusal.value.headers["Retry-After"] == "4"


def test_retry_after_is_bounded() -> None:
    admission = Admission(max_queue=2)
    assert admission.retry_after(5, now=0.0) == 1
    admission.finished(0.0)
    admission.finished(1.0)
    assert admission.retry_after(5, now=1e9) == MAX_RETRY_SECONDS
