"""Decides which sequences go to the next engine, and when: none may kill engine after engine.

Sequences that ran when an engine died are suspects. So are those that the engine was just adding to
its queue. The next engine gets one suspect at a time, and the next suspect once the one before has
a new token. If that engine dies too, the suspect on trial is to blame. So a sequence that kills
every engine is found out, and the others continue. If something else kills the engines, nobody is
blamed as long as a token fits in between.

A sequence may get some tokens each time before it kills the engine, in another one's trial. So
trials last longer once one was blamed often: then it kills the engine in its own trial.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from server.engine.sequence_stream import SequenceStream

MAX_BLAMED = 2
"""A sequence is given up once it is blamed for this many deaths in a row."""

MAX_DEATHS = 20
"""A sequence is given up once it is blamed for this many deaths, even with new tokens in between.
"""

OFTEN = 4
"""Once a sequence is blamed for so many deaths, trials last longer."""

TOKENS_PER_DEATH = 16
"""Tokens of such a trial for each of these deaths."""


class Recovery:
    """Pure policy: which streams go to the engine, given what has happened."""

    def __init__(self) -> None:
        self._suspects: deque[SequenceStream] = deque()
        self._on_trial: SequenceStream | None = None

    @property
    def is_over(self) -> bool:
        """Whether there are no suspects, so that all streams may go to the engine."""
        return self._on_trial is None and not self._suspects

    def engine_died(self, streams: Iterable[SequenceStream]) -> list[SequenceStream]:
        """Note the suspects; returns the streams to give up."""
        submitted = [stream for stream in streams if stream.is_submitted]
        # An engine that died before it reported anything may have died of any of them.
        running = [s for s in submitted if s.is_running or s.is_being_added] or submitted
        on_trial = [self._on_trial] if self._on_trial in submitted else []
        blamed = [stream for stream in on_trial if stream in running] or running
        for stream in running:
            _note_death(stream, is_blamed=stream in blamed)
        for stream in submitted:
            stream.is_submitted = stream.is_running = stream.is_being_added = False
        guilty = [stream for stream in running if _is_guilty(stream)]
        # The least blamed come first: they get tokens before the likely culprit runs.
        suspects = sorted(running, key=lambda stream: (stream.num_blamed, stream.num_deaths))
        suspects += [s for s in [*on_trial, *self._suspects] if s not in suspects]
        self._suspects = deque(stream for stream in suspects if stream not in guilty)
        self._on_trial = None
        return guilty

    def next(self, streams: Iterable[SequenceStream]) -> list[SequenceStream]:
        """The streams that are to be submitted now."""
        alive = list(streams)
        on_trial = self._on_trial
        if on_trial in alive and not _has_advanced(on_trial, _trial_tokens(alive)):
            return []
        self._on_trial = None
        while self._suspects:
            suspect = self._suspects.popleft()
            if suspect in alive:
                self._on_trial = suspect
                return [suspect]
        return [stream for stream in alive if not stream.is_submitted]


def _note_death(stream: SequenceStream, *, is_blamed: bool) -> None:
    if _has_advanced(stream):
        stream.num_blamed = 0
    stream.num_blamed += is_blamed
    stream.num_deaths += is_blamed
    stream.num_tokens_at_death = len(stream.tokens)


def _has_advanced(stream: SequenceStream, num_tokens: int = 1) -> bool:
    """Whether the stream has new tokens since the last death of an engine that ran it."""
    return len(stream.tokens) >= stream.num_tokens_at_death + num_tokens


def _trial_tokens(streams: Iterable[SequenceStream]) -> int:
    """How many new tokens end a trial."""
    most = max(stream.num_deaths for stream in streams)
    return 1 if most < OFTEN else TOKENS_PER_DEATH * most


def _is_guilty(stream: SequenceStream) -> bool:
    return stream.num_blamed >= MAX_BLAMED or stream.num_deaths >= MAX_DEATHS
