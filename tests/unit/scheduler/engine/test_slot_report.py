"""What an operator sees of the slots."""

from __future__ import annotations

from scheduler.engine.slot_report import slot_report
from tests.support.scheduling import make_request, make_scheduler, prompt, run_step


def test_every_slot_is_shown() -> None:
    scheduler = make_scheduler()
    scheduler.add_request(make_request(5, prompt(40), max_tokens=7))
    run_step(scheduler)
    report = slot_report(8, scheduler.cache.slots, num_waiting=3)
    assert (report.query_id, report.num_waiting) == (8, 3)
    busy, idle = report.slots
    assert (busy.request_id, busy.num_prompt_tokens, busy.num_prompt_tokens_computed) == (5, 40, 32)
    assert busy.num_generated_tokens == 0
    assert (idle.request_id, idle.num_cache_tokens) == (None, 0)
