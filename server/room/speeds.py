"""How fast each slot works, from its counts at two moments."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.messages import SlotState

SMOOTHING = 0.5
"""Share of the latest interval in a speed."""


@dataclass(frozen=True, slots=True)
class _Mark:
    request: int
    num_tokens: int
    time: float
    speed: float


class Speeds:
    """Tokens per second of each slot, prompt and answer alike. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._marks: dict[int, _Mark] = {}

    def of(self, state: SlotState, now: float) -> float:
        """The speed of a slot; 0 while idle, and when its request is seen for the first time."""
        if state.request_id is None:
            self._marks.pop(state.slot, None)
            return 0.0
        done = state.num_prompt_tokens_computed + state.num_generated_tokens
        last = self._marks.get(state.slot)
        speed = 0.0
        if last is not None and last.request == state.request_id and now > last.time:
            latest = max(done - last.num_tokens, 0) / (now - last.time)
            speed = latest if not last.speed else _mean(last.speed, latest)
        self._marks[state.slot] = _Mark(state.request_id, done, now, speed)
        return round(speed, 1)


def _mean(before: float, latest: float) -> float:
    return (1 - SMOOTHING) * before + SMOOTHING * latest
