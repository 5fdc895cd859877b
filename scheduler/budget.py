"""How many prompt tokens a step may compute while answers are streaming."""

from __future__ import annotations

MIN_CHUNK = 16
"""Tokens of prefill that every step may do, so that a slow machine still gets through a prompt."""

SMOOTHING = 0.2
"""Weight of the newest step in the running means."""


class PrefillBudget:
    """Sizes prefill so that a step takes about `itl_target` seconds.

    Learns two numbers from the steps that ran: the seconds of a step that only decodes, and the
    seconds that each prompt token adds. Until it knows them it allows `initial` tokens.
    """

    def __init__(self, itl_target: float, n_batch: int, initial: int = 128) -> None:
        self._target = itl_target
        self._n_batch = n_batch
        self._initial = initial
        self._decode_seconds = 0.0
        self._seconds_per_token = 0.0

    def tokens(self, num_decoding: int) -> int:
        """Prompt tokens for the next step, which also has `num_decoding` tokens of answers."""
        room = self._n_batch - num_decoding
        if num_decoding == 0:
            return room
        if self._seconds_per_token == 0.0:
            return min(self._initial, room)
        spare = self._target - self._decode_seconds
        return min(room, max(MIN_CHUNK, int(spare / self._seconds_per_token)))

    def observe(self, num_decode: int, num_prefill: int, seconds: float) -> None:
        """Learn from a step of so many rows that took `seconds` to decode."""
        if num_prefill == 0:
            self._decode_seconds = _smoothed(self._decode_seconds, seconds)
        elif num_prefill >= MIN_CHUNK:
            decoding = self._decode_seconds if num_decode else 0.0
            per_token = max(seconds - decoding, 0.1 * seconds) / num_prefill
            self._seconds_per_token = _smoothed(self._seconds_per_token, per_token)


def _smoothed(mean: float, value: float) -> float:
    return value if mean == 0.0 else mean + SMOOTHING * (value - mean)
