"""What the scripted engine says: its orders, and the tokens of each stream. Pure."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from protocol.sampling import SamplingParams

VARIABLE = "RECEPTION_ORDERS"
"""The environment variable that brings the orders to the engine process."""

AS_TAKEN = 0.0
"""The pace of an engine that sends whenever the socket takes it."""

STEP_BY_STEP = -1.0
"""The pace of an engine that sends a step once the API process has read the step before it."""

STREAMS_PER_DEGREE = 8
"""A stream's number by this is its request's temperature."""

SMALL_SEED = 4096
"""Seeds below are given, not drawn."""

MAX_WORDS = 251
_PERIOD = 16


class Orders(msgspec.Struct, frozen=True):
    """What the engine does with the requests that it gets."""

    num_streams: int
    """It begins when so many requests wait."""
    pace: float
    """Tokens a second of all streams together, `AS_TAKEN` or `STEP_BY_STEP`."""
    words: tuple[int, ...]
    """Tokens with whole characters."""
    halves: tuple[int, ...] = ()
    """Tokens that make one character together, if the vocabulary has such."""

    def tokens(self, stream: int, count: int) -> list[int]:
        """The answer of a stream. Neighbours differ, and so do streams: what is lost, doubled or
        mixed up shows in the text."""
        tokens = [
            self.words[(7919 * stream + 104729 * place) % len(self.words)] for place in range(count)
        ]
        for end in range(_PERIOD, count, _PERIOD):
            tokens[end - len(self.halves) : end] = self.halves
        return tokens


def orders(num_streams: int, pace: float, pieces: Sequence[bytes], normal: Sequence[int]) -> Orders:
    """Orders in the words of a vocabulary: `pieces` by token, and the tokens that are `normal`.

    Raises `ValueError` for a vocabulary without words.
    """
    words = tuple(token for token in normal if _is_word(pieces[token]))[:MAX_WORDS]
    if len(words) < 2:
        raise ValueError("the vocabulary has no words")
    known = {piece: token for token, piece in enumerate(pieces)}
    character = [bytes([byte]) for byte in "é".encode()]
    halves = tuple(known[byte] for byte in character if byte in known)
    return Orders(num_streams, pace, words, halves if len(halves) == len(character) else ())


def stream_number(sampling: SamplingParams) -> int:
    """Which stream a request is: its temperature tells, which every dialect has.

    Small seeds are added: they tell the choices of one request apart.
    """
    return round(STREAMS_PER_DEGREE * sampling.temperature) + (
        sampling.seed if sampling.seed < SMALL_SEED else 0
    )


def logprob_at(place: int) -> float:
    """The log-probability of the token at this place, which any float holds exactly."""
    return -place / 8


def given_orders() -> Orders:
    """The orders in this process's environment."""
    return msgspec.json.decode(os.environ[VARIABLE], type=Orders)


def _is_word(piece: bytes) -> bool:
    try:
        return piece.decode().isalnum()
    except UnicodeDecodeError:
        return False
