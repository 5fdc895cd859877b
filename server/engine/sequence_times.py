"""When a sequence waited, started and answered, and what it got from the cache."""

from __future__ import annotations

import time

from protocol.cache_lookup import CacheLookup
from protocol.events import Generated, Started


class SequenceTimes:
    """Filled while events come; times are monotonic seconds."""

    __slots__ = (
        *("first_token", "lookup", "num_accepted_tokens", "num_draft_tokens"),
        *("queued", "slot", "started"),
    )

    def __init__(self) -> None:
        self.queued = time.monotonic()
        self.started: float | None = None
        self.first_token: float | None = None
        self.slot: int | None = None
        self.lookup: CacheLookup | None = None
        self.num_draft_tokens = 0
        self.num_accepted_tokens = 0

    def note_start(self, event: Started, begin: float) -> None:
        """The sequence got its first slot in a step that began at `begin`."""
        self.started, self.slot, self.lookup = begin, event.slot, event.lookup

    def note_tokens(self, event: Generated, end: float) -> None:
        """A step that ended at `end` gave tokens of the answer."""
        if self.first_token is None:
            self.first_token = end
        self.num_draft_tokens += event.num_draft_tokens
        self.num_accepted_tokens += event.num_accepted_tokens
