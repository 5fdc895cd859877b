"""Numbers and lists of a request that cost memory or time without bound."""

from __future__ import annotations

import asyncio

from loadtests.trials.attacks.attack import (
    CHAT,
    MESSAGES,
    NATIVE,
    Attack,
    Setting,
    Target,
    chat,
    completion,
    posts,
)

NUMBER = 4
_MANY_SLOTS = Setting(("-np", "32", "-c", "16384"))
LARGEST = 2**31 - 1


def _biases(count: int) -> list[list[float]]:
    return [[token % 4000, 1.0 / (1 + token)] for token in range(count)]


_BREAKERS = [chr(0x4E00 + number) * 20 for number in range(256)]

_EVERYTHING = {
    "logprobs": True,
    "top_logprobs": 20,
    "logit_bias": {str(token): 1 for token in range(4000)},
    "stop": [f"stop {n}" for n in range(16)],
    "repeat_penalty": 1.1,
    "dry_multiplier": 1.0,
    "xtc_probability": 0.5,
    "mirostat": 2,
    "n": 16,
    "ignore_eos": True,
}
"""What costs time at each token, all at once."""


async def _many_long_stops(target: Target) -> None:
    """Stop strings that nearly match all the time."""
    stops = ["a" * 4000 + str(n) for n in range(256)]
    body = completion(prompt="a" * 200, stop=stops, n_predict=200, ignore_eos=True)
    await asyncio.gather(*(target.post(NATIVE, body) for _ in range(4)))


ATTACKS = (
    Attack(
        NUMBER,
        "dry_penalty_last_n of 2147483647",
        posts(NATIVE, completion(dry_penalty_last_n=LARGEST, dry_multiplier=1.0)),
    ),
    Attack(
        NUMBER,
        "repeat_last_n of 2147483647",
        posts(NATIVE, completion(repeat_last_n=LARGEST, repeat_penalty=1.1)),
    ),
    Attack(
        NUMBER,
        "256 sequence breakers, 20 samplers",
        posts(
            NATIVE,
            completion(dry_multiplier=1.0, dry_sequence_breakers=_BREAKERS, samplers="d" * 20),
        ),
    ),
    Attack(
        NUMBER,
        "49,152 biases for 128 answers",
        posts(CHAT, chat(logit_bias={str(n): 1 for n in range(49_152)}, n=128)),
    ),
    Attack(
        NUMBER,
        "4,000 biases for 128 answers, reported",
        posts(NATIVE, completion(logit_bias=_biases(4000), n=128, verbose=True), 8),
    ),
    Attack(
        NUMBER,
        "a bias for a text of 1 MiB",
        posts(NATIVE, completion(logit_bias={"a b " * 262_144: 1.0}), 4),
    ),
    Attack(
        NUMBER,
        "biases for 4,000 texts of 4 KB",
        posts(NATIVE, completion(logit_bias=[[f"{n} " * 800, 1] for n in range(4000)])),
    ),
    Attack(
        NUMBER,
        "1,024 probabilities for 8 answers of 200 tokens",
        posts(NATIVE, completion(n_probs=1024, n=8, n_predict=200, ignore_eos=True)),
        _MANY_SLOTS,
    ),
    Attack(
        NUMBER,
        "everything that costs time, in 16 answers",
        posts(CHAT, chat(**_EVERYTHING, max_tokens=100), 2),
        _MANY_SLOTS,
    ),
    Attack(NUMBER, "256 long stop strings that nearly match", _many_long_stops),
    Attack(
        NUMBER,
        "1,000 prompts in one body",
        posts(NATIVE, completion(prompt=["Once upon a time"] * 1000, n_predict=50)),
    ),
    Attack(
        NUMBER,
        "windows of 2147483647 as the chat says them",
        posts(
            CHAT,
            {
                "messages": MESSAGES,
                "max_tokens": 16,
                "repeat_last_n": LARGEST,
                "dry_penalty_last_n": LARGEST,
                "dry_multiplier": 1,
                "n_keep": LARGEST,
                "min_keep": LARGEST,
                "top_k": LARGEST,
            },
            4,
        ),
    ),
)
